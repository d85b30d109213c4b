"""Whether a text is one that a language model's adapter is for.

A language model is sure of its labels whatever it reads, and free text has no confidence at all. So beside such an
adapter lies `scope.json`: a logistic function over a text's vector by a sentence encoder, fitted by `concertino
evaluate` on the skill's training texts and texts of all kinds. Encoder adapters have a scope head of their own.
"""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from concertino.backends.base import BackendContext, Generation
from concertino.errors import ConcertinoError, ConfigurationError
from concertino.models.file_hash import file_sha256
from concertino.types import Role
from concertino.whole_file import write_whole

if TYPE_CHECKING:
    from concertino.backends.encoder.session import Encoder

FILE = "scope.json"

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
    write_whole(folder / FILE, msgspec.json.encode(scope) + b"\n")


class Scopes:
    """The scopes of a backend's adapters, each with the encoder that it reads with."""

    def __init__(self, context: BackendContext) -> None:
        adapters = {path for use in context.uses for path in use.adapters}
        found = {path: scope for path in adapters if (scope := read_scope(Path(path).parent)) is not None}
        self._found: dict[str, tuple[Scope, Encoder]] = {}
        for name in {scope.encoder for scope in found.values()}:
            try:
                encoder, sha256 = _open(context, name)
            except (ConcertinoError, OSError) as error:
                log.warning("%s Until then no skill of %s can say that a text is not for it.", error, context.name)
                continue
            for path, scope in found.items():
                if (scope.encoder, scope.encoder_sha256) == (name, sha256):
                    self._found[path] = (scope, encoder)
                elif scope.encoder == name:
                    log.warning("%s was fitted with another %s; it is not used", Path(path).parent / FILE, name)

    def __contains__(self, adapter: str | None) -> bool:
        return adapter in self._found

    def of(self, generation: Generation) -> float:
        """The probability for the last user turn of a generation with one of these adapters."""
        assert generation.adapter is not None
        scope, encoder = self._found[generation.adapter]
        text = next((message.text for message in reversed(generation.messages) if message.role is Role.USER), "")
        return scope.probability(text, encoder)


def _open(context: BackendContext, name: str) -> "tuple[Encoder, str]":
    """An encoder, and the SHA-256 of its weights. Raises ModelMissing."""
    # Here, because most adapters have no scope, and an encoder's libraries take their time.
    from concertino.backends.encoder.session import EncoderFiles, shared_encoder

    files = EncoderFiles.found(lambda file: context.file(name, file))
    return shared_encoder(files), file_sha256(files.weights)
