"""The one protocol of a backend: what runs a model."""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct, field

from concertino.types import Chunk, Message, Sampling


class Capability(StrEnum):
    """What an engine can do for one of its models."""

    CHAT = "chat"
    EMBED = "embed"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    GRAMMAR = "grammar"
    LOGPROBS = "logprobs"
    SEED = "seed"
    ADAPTERS = "adapters"


class Health(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


class Adapter(Struct, frozen=True):
    """A LoRA adapter file and the strength at which it is applied."""

    path: str
    scale: float = 1.0


class Generation(Struct, frozen=True):
    """One generation to run. `model` is the backend's own name for the model (a path, an upstream name).

    `adapter` is applied to this request alone; with None the base answers, whatever else is loaded.
    `grammar` is GBNF (llama.cpp, grammars/README.md); `json_schema` is a JSON Schema object.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    adapter: Adapter | None = None
    grammar: str | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """Runs models. One object serves every specialist that names it; it is opened once and shared."""

    capabilities: frozenset[Capability]

    async def start(self) -> None:
        """Get ready to serve. Returns when models can answer. Raises BackendUnavailable or a ModelError."""
        ...

    def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        """Stream chunks. Closing the iterator stops the engine's work. Raises BackendError, ContextTooLong."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One unit-length vector per text, in order."""
        ...

    def health(self) -> Health: ...

    async def close(self) -> None:
        """Stop everything this backend started. Safe to call twice."""
        ...
