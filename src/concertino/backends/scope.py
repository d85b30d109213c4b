"""Whether a text is one that a language model's adapter is for.

A language model is sure of its labels whatever it reads, and free text has no confidence at all. So beside such an
adapter lies `scope.json`: a logistic function over a text's vector by a sentence encoder, fitted by `concertino
evaluate` on the skill's training texts and texts of all kinds. Encoder adapters have a scope head of their own.
"""

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from concertino.backends.base import BackendContext, Generation
from concertino.errors import ConcertinoError, ConfigurationError
from concertino.models.adapters import file_sha256
from concertino.types import Role

FILE = "scope.json"
ENCODER = "all-MiniLM-L6-v2"
ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json")
if TYPE_CHECKING:
    from concertino.backends.encoder.session import Encoder

log = logging.getLogger("concertino.backends")


class Scope(Struct, frozen=True, forbid_unknown_fields=True):
    """`scope.json`."""

    encoder: str
    encoder_sha256: str
    """Of its weights: vectors of others mean nothing to this."""
    weights: tuple[float, ...]
    bias: float

    def probability(self, text: str, encoder: "Encoder") -> float:
        """That the text is one that the adapter is for."""
        vector, _ = encoder.embed(text)
        margin = float(vector @ self.weights) + self.bias
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, margin))))


def read_scope(folder: Path) -> Scope | None:
    """The scope of an adapter folder; None where it has none. Raises ConfigurationError for a damaged file."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Scope)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"The adapter {folder} has a {FILE} that cannot be read: {error}.") from error


def write_scope(folder: Path, scope: Scope) -> None:
    """Put the file into an adapter folder. The manifest, which names its hash, must be written after it."""
    partial = folder / f".{FILE}.partial"
    partial.write_text(json.dumps(msgspec.to_builtins(scope)) + "\n", "utf-8")
    partial.replace(folder / FILE)


class Scopes:
    """The scopes of a backend's adapters, and the encoder that they read with."""

    def __init__(self, context: BackendContext) -> None:
        self._found: dict[str, Scope] = {}
        self._encoder: Encoder | None = None
        adapters = {path for use in context.uses for path in use.adapters}
        found = {path: scope for path in adapters if (scope := read_scope(Path(path).parent)) is not None}
        if not found:
            return
        # Here, because most adapters have none, and an encoder's libraries take their time.
        from concertino.backends.encoder.session import EncoderFiles, shared_encoder

        try:
            files = EncoderFiles(*(context.file(ENCODER, name) for name in ENCODER_FILES))
            sha256 = file_sha256(files.weights)
            self._encoder = shared_encoder(files)
        except (ConcertinoError, OSError) as error:
            log.warning("%s Until then no skill of %s can say that a text is not for it.", error, context.name)
            return
        self._found = {path: scope for path, scope in found.items() if scope.encoder_sha256 == sha256}
        for path in found.keys() - self._found.keys():
            log.warning("%s was fitted with another %s; it is not used", Path(path).parent / FILE, ENCODER)

    def __contains__(self, adapter: str | None) -> bool:
        return adapter in self._found

    def of(self, generation: Generation) -> float:
        """The probability for the last user turn of a generation with one of these adapters."""
        assert self._encoder is not None and generation.adapter is not None
        text = next((message.text for message in reversed(generation.messages) if message.role is Role.USER), "")
        return self._found[generation.adapter].probability(text, self._encoder)
