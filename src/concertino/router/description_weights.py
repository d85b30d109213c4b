"""The folder of weights of the description tier: an untuned encoder, a bank of texts as vectors, a logistic function.

The encoder is all-MiniLM-L6-v2 as published: tuning it for five classes, as the head's was, made it forget what the
others are about. It shares token table and tokenizer with the head's encoder, whose tuning left them as they were;
the manifest holds their hashes too, so that a head with other tables is refused rather than misread.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from concertino.errors import ConfigurationError
from concertino.router.encoder import Encoder

SHIPPED = Path(__file__).with_name("weights_descriptions")
SHARED = Path(__file__).with_name("weights")
MANIFEST = "descriptions.json"
OWN_FILES = ("encoder.onnx", "tables.npz", "bank.npz")
SHARED_FILES = ("tokenizer.json", "tokens.npy")


class DescriptionManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`descriptions.json`."""

    coefficients: tuple[float, ...]
    """One for each of `descriptions.FEATURES`."""
    intercept: float
    threshold: float
    """From this probability on a described specialist is chosen, where any card of the tier has examples."""
    threshold_alone: float
    """The same where none has: with nothing to say whose a text is, a described specialist takes too much."""
    advantage: float
    """Added to the log-odds of a specialist without examples where it is compared with those that have some, and less
    the more it has: what they are given is not spoken against by examples that it lacks."""
    files: dict[str, str]
    """File name -> SHA-256, those shared with the head's weights included."""
    base_model: str
    base_sha256: str
    data: dict[str, str]
    """Data set -> SHA-256 of its file."""
    recipe: dict[str, float]
    licence: str = "Apache-2.0; all-MiniLM-L6-v2 (Apache-2.0)"


class DescriptionWeights(msgspec.Struct, frozen=True):
    """Verified weights. `bank` is float32 `[texts, width]`."""

    folder: Path
    manifest: DescriptionManifest
    bank: np.ndarray

    def open_encoder(self) -> Encoder:
        """The encoder. Raises ConfigurationError when its files cannot be read."""
        return open_encoder(self.folder)


def open_encoder(folder: Path) -> Encoder:
    """The untuned encoder of a folder of weights. Raises ConfigurationError when its files cannot be read."""
    names = ("tokenizer.json", "tokens.npy", "tables.npz", "encoder.onnx")
    try:
        return Encoder(*(_path(folder, name) for name in names))
    except Exception as error:  # the three readers share no base class
        raise ConfigurationError(f"the description weights in {folder} cannot be read: {error}") from error


def _path(folder: Path, name: str) -> Path:
    return (SHARED if name in SHARED_FILES else folder) / name


def digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that the tier reads."""
    return {name: digest(_path(folder, name)) for name in (*OWN_FILES, *SHARED_FILES)}


def load_description_weights(folder: str | Path | None = None) -> DescriptionWeights:
    """Read and verify a folder; None means the package's. Raises ConfigurationError that names the file at fault."""
    folder = SHIPPED if folder is None else Path(folder)
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=DescriptionManifest)
        found = file_hashes(folder)
    except OSError as error:
        raise _refused(folder, f"lack {Path(str(error.filename)).name} ({error.strerror})") from error
    except msgspec.MsgspecError as error:
        raise _refused(folder, f"have a {MANIFEST} that cannot be read ({error})") from error
    for name, value in found.items():
        if manifest.files.get(name) != value:
            said = manifest.files.get(name)
            raise _refused(folder, f"do not fit: {name} has SHA-256 {value}, {MANIFEST} says {said}")
    try:
        with np.load(folder / "bank.npz", allow_pickle=False) as arrays:
            bank = arrays["vectors"].astype(np.float32) / 127.0
    except (OSError, ValueError, KeyError) as error:
        raise _refused(folder, f"have a bank.npz that cannot be read ({error})") from error
    return DescriptionWeights(folder, manifest, bank / np.linalg.norm(bank, axis=1, keepdims=True))


def _refused(folder: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"the description weights in {folder} {problem}; reinstall concertino or run "
        "`concertino router train-descriptions`",
        param="router.descriptions",
    )
