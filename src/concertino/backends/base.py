"""The one protocol of a backend: what runs a model."""

from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from msgspec import UNSET, Struct, UnsetType, field

from concertino.errors import ModelMissing
from concertino.types import Chunk, Embeddings, Message, Sampling


class Capability(StrEnum):
    """What an engine can do for its models."""

    EMBED = "embed"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    GRAMMAR = "grammar"
    LOGPROBS = "logprobs"
    SEED = "seed"
    ADAPTERS = "adapters"
    BEAMS = "beams"
    LABELS = "labels"
    """Answers with a label of its adapter and nothing else, so there is nothing to constrain."""
    EXTRA = "extra"
    """Takes request fields that Concertino does not know, and judges them itself."""


class Health(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


class ModelUse(Struct, frozen=True):
    """What the team will ask one model for: known before the start, so that an engine can be laid out for it."""

    model: str
    adapters: tuple[str, ...] = ()
    context_tokens: int = 4096
    embed: bool = False
    preambles: tuple[str, ...] = ()
    """System messages that many requests will begin with; an engine may read them into its prefix cache."""


def no_file(model: str, file: str) -> Path:
    """For backends that need no file but the weights. Raises ModelMissing."""
    raise ModelMissing(f"No store is at hand for {file} of {model}.", param=model)


class BackendContext(Struct, frozen=True):
    """What a backend is made from.

    `resolve` turns a catalogue name into the file that llama.cpp loads, `file` gives one of the model's own files.
    """

    name: str
    options: dict[str, Any]
    uses: tuple[ModelUse, ...]
    resolve: Callable[[str], Path]
    file: Callable[[str, str], Path] = no_file


class Generation(Struct, frozen=True):
    """One generation to run. `model` is a name from this backend's `uses`.

    With `adapter` (the path of a LoRA file named in `uses`) only that adapter shapes the answer, at `adapter_scale`;
    without, the base answers, whatever else is loaded. `grammar` is GBNF (llama.cpp, grammars/README.md).
    `response_format`, `tools` and `tool_choice` keep their OpenAI form. With `beams` the answer is the likeliest that a
    search with so many sequences finds, in place of one that is drawn; it has neither tools nor a form.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    adapter: str | None = None
    adapter_scale: float = 1.0
    grammar: str | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    beams: int | UnsetType = UNSET


class Backend(Protocol):
    """Runs models. One object serves every specialist that names it; it is started once and shared.

    Made by an entry point of the group `concertino.backends`: a callable that takes a BackendContext.
    """

    capabilities: frozenset[Capability]

    async def start(self) -> None:
        """Get ready to serve; returns when models can answer. Raises BackendUnavailable or a ModelError."""
        ...

    def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        """Stream chunks. Closing the iterator stops the engine's work. Raises BackendError, ContextTooLong."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """One unit-length vector per text, in order. Raises BackendError, UnsupportedParameter."""
        ...

    def health(self) -> Health: ...

    async def close(self) -> None:
        """Stop everything that this backend started. Safe to call twice."""
        ...
