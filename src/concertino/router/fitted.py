"""A folder that `concertino router fit` wrote: a router that stands on vectors, its manifest, and their check."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from concertino.errors import ConfigurationError
from concertino.models.file_hash import file_sha256
from concertino.router import linear
from concertino.router.encoder import Encoder, tuned_encoder
from concertino.router.novelty import FEATURES, Novelty
from concertino.router.outcomes import OutcomeModel, make_model
from concertino.router.published import open_published, published_sha256

MANIFEST = "fitted.json"
ARRAYS = "arrays.npz"
EXAMPLES = "examples.jsonl"
MOST_EXAMPLES = 8_000_000
"""Bytes of texts that are kept with a router, for explaining it."""
DOMAINS, OUTCOMES = "domains", "outcomes"
HEAD, BASE, BOTH = "head", "base", "head+base"
"""Whose encoder made the vectors: the tuned one of the linear head, the untuned one of the description tier, or both
side by side."""


class FittedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fitted.json`."""

    method: str
    kind: str
    """`domains`: labels, calibrated, may abstain; `outcomes`: quality and cost, never abstains."""
    candidates: tuple[str, ...]
    encoder: str
    encoder_sha256: str
    arrays_sha256: str
    costs: tuple[float, ...] = ()
    """For outcomes: what one request costs with each candidate, in any one unit."""
    temperature: float = 1.0
    threshold: float = 0.0
    rows: int = 0
    """Texts that it was fitted on."""
    outside: int = 0
    """How many of them are nobody's."""
    outside_share: float = 0.0
    """What share of the requests was taken to be nobody's."""
    settings: dict[str, float] = {}
    """What calibration chose: neighbours, clusters, the regression's strength, pieces of a domain."""
    holes: int = 0
    """Cells of the table that nobody measured."""
    data: dict[str, str] = {}
    """File -> SHA-256."""


class Vectors(Protocol):
    """What fitted routers need of an encoder."""

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length vectors, float32 `[texts, width]`."""
        ...


class JoinedEncoder:
    """The vectors of several encoders side by side, all of the same weight."""

    def __init__(self, encoders: Sequence[Vectors]) -> None:
        self._encoders = encoders

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        """See Vectors."""
        return joined([encoder.whole(texts) for encoder in self._encoders])


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Unit-length vectors `[texts, width]` side by side, scaled so that their length stays 1."""
    return np.asarray(np.hstack(parts) / np.sqrt(len(parts)), dtype=np.float32)


class Fitted(msgspec.Struct, frozen=True):
    """A verified folder, opened."""

    manifest: FittedManifest
    encoder: Vectors
    model: OutcomeModel
    novelty: Novelty | None
    """None where nothing was learned of what is nobody's."""


def encoder_sha256(name: str) -> str:
    """SHA-256 of the weights of an encoder. Raises ConfigurationError for another name, ModelMissing."""
    if name not in (HEAD, BASE, BOTH):
        raise ConfigurationError(
            f"no encoder {name!r}; there are: {HEAD}, {BASE}, {BOTH}", param="router.options.weights"
        )
    if name == BOTH:
        return hashlib.sha256(f"{encoder_sha256(HEAD)} {encoder_sha256(BASE)}".encode()).hexdigest()
    return published_sha256() if name == BASE else file_sha256(linear.SHIPPED / "encoder.onnx")


def open_encoder(name: str) -> Encoder:
    """The encoder `head` of the package, or `base` of the model store. Raises ModelMissing."""
    if name == BASE:
        return open_published()
    return tuned_encoder(linear.SHIPPED)


def open_vectors(name: str) -> Vectors:
    """The encoder `head`, `base` or `head+base`. Raises ModelMissing."""
    if name == BOTH:
        return JoinedEncoder([open_encoder(HEAD), open_encoder(BASE)])
    return open_encoder(name)


def write_fitted(
    folder: Path, manifest: FittedManifest, arrays: dict[str, np.ndarray], examples: Sequence[tuple[str, str]] = ()
) -> FittedManifest:
    """Write the files; the manifest is returned with the arrays' hash in it.

    `examples`, texts with what they are examples of, are for `concertino router explain` alone, and are written where
    they take no more than `MOST_EXAMPLES`. Raises ConfigurationError where the folder cannot be written.
    """
    # As JSON of ASCII: a text may hold lone surrogates, which UTF-8 cannot carry.
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in examples).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / ARRAYS, **arrays)  # type: ignore[arg-type]  # numpy types its one option alone
        manifest = msgspec.structs.replace(
            manifest,
            arrays_sha256=file_sha256(folder / ARRAYS),
            encoder_sha256=encoder_sha256(manifest.encoder),
        )
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        (folder / EXAMPLES).unlink(missing_ok=True)
        if 0 < len(lines) <= MOST_EXAMPLES:
            (folder / EXAMPLES).write_bytes(lines)
    except OSError as error:
        raise ConfigurationError(f"the router cannot be written to {folder}: {error}", param="out") from error
    return manifest


def load_fitted(folder: str | Path | None, method: str) -> Fitted:
    """Open a folder for a router of `method`. Raises ConfigurationError that says what is wrong and what to do."""
    if folder is None:
        raise ConfigurationError(
            f"router.type {method} needs router.options.weights, a folder that `concertino router fit` wrote",
            param="router.options.weights",
        )
    folder = Path(folder)
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=FittedManifest)
        found = file_sha256(folder / ARRAYS)
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise _refused(folder, f"cannot be read ({error})") from error
    if found != manifest.arrays_sha256:
        raise _refused(folder, f"is damaged: {ARRAYS} has SHA-256 {found}, {MANIFEST} says {manifest.arrays_sha256}")
    if manifest.method != method:
        raise ConfigurationError(
            f"the router in {folder} holds a {manifest.method} router, not {method}; set router.type: "
            f"{manifest.method}, or make it again with `concertino router fit`",
            param="router.type",
        )
    if encoder_sha256(manifest.encoder) != manifest.encoder_sha256:
        raise _refused(folder, "was fitted on the vectors of another encoder than this version's")
    novelty = Novelty(arrays) if FEATURES in arrays else None
    return Fitted(manifest, open_vectors(manifest.encoder), make_model(method, arrays), novelty)


def _refused(folder: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"the router in {folder} {problem}; make it again with `concertino router fit`", param="router.options.weights"
    )
