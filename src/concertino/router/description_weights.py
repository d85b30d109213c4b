"""The folder of weights of the description tier: a bank of texts as vectors, and a logistic function.

The vectors are those of all-MiniLM-L6-v2 as published, which is read from the model store; the manifest holds the
hash of the weights that they were made with, so that another encoder is refused rather than misread.
"""

from pathlib import Path

import msgspec
import numpy as np

from concertino.errors import ConfigurationError
from concertino.models.file_hash import file_sha256
from concertino.router.published import PublishedEncoder, open_published, published_sha256

SHIPPED = Path(__file__).with_name("weights_descriptions")
MANIFEST = "descriptions.json"
OWN_FILES = ("bank.npz",)


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which probability on a described specialist is chosen."""

    shown: float
    """Where any card of the tier has examples."""
    listed: float
    """Where none has: with nothing to say whose a text is, a described specialist takes too much."""
    titled: float
    """The same for descriptions that are no list of topics (`profile.is_title`): they make lower probabilities."""


class DescriptionManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`descriptions.json`."""

    coefficients: tuple[float, ...]
    """One for each of `profile.FEATURES`."""
    intercept: float
    thresholds: Thresholds
    advantage: float
    """Added to the log-odds of a specialist without examples where it is compared with those that have some, and less
    the more it has: what they are given is not spoken against by examples that it lacks."""
    files: dict[str, str]
    """File name -> SHA-256."""
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

    def open_encoder(self, home: Path | None = None) -> PublishedEncoder:
        """The encoder, from the model store in `home`. Raises ModelMissing, or ConfigurationError for other weights."""
        found = published_sha256(home)
        if found != self.manifest.base_sha256:
            made = self.manifest.base_sha256
            raise _refused(self.folder, f"were made with the encoder {made[:12]}, and the store has {found[:12]}")
        return open_published(home)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the folder that the tier reads."""
    return {name: file_sha256(folder / name) for name in OWN_FILES}


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
