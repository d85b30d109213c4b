"""A folder of router weights: what it says about itself, checked against what it holds."""

from pathlib import Path

import msgspec

from concertino.errors import ConfigurationError
from concertino.models.file_hash import file_sha256

MANIFEST = "router.json"
FILES = ("tokenizer.json", "tokens.npy", "tables.npz", "encoder.onnx")
"""Of the encoder, in the order in which `Encoder` takes them."""
REQUIRED = frozenset(FILES)
NEIGHBOURS = "neighbours.npz"
"""Where the folder has a second look for what its head is unsure of (`router/neighbours.py`)."""


class NeighbourSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the nearest training texts are asked, and how much they say."""

    below: float
    """Asked where the head's best probability is below this."""
    share: float
    """What the logarithm of their votes is multiplied by before it is added to that of the head's probabilities."""
    nearest: int
    width: float
    """A neighbour counts e times less for each `width` of cosine that it is farther than the nearest."""
    temperature: float
    """What the sum is divided by: the two know in part the same."""
    rows: int
    """Texts of the bank."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`router.json`: how to read the head's logits, and where the weights came from."""

    classes: tuple[str, ...]
    temperature: float
    threshold: float
    files: dict[str, str]
    """File name -> SHA-256."""
    base_model: str
    base_sha256: str
    data: dict[str, str]
    """Training set -> SHA-256 of its file."""
    recipe: dict[str, float | str]
    neighbours: NeighbourSettings | None = None
    licence: str = "Apache-2.0; tuned from all-MiniLM-L6-v2 (Apache-2.0)"


def _refused(folder: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"the router weights in {folder} {problem}; reinstall concertino or run `concertino router train`",
        param="router.options.weights",
    )


def load_manifest(folder: Path) -> Manifest:
    """Read and verify a folder of weights. Raises ConfigurationError that names the file at fault."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise _refused(folder, f"lack {MANIFEST} ({error.strerror})") from error
    except msgspec.MsgspecError as error:
        raise _refused(folder, f"have a {MANIFEST} that cannot be read ({error})") from error
    if len(manifest.classes) < 2 or not manifest.temperature > 0:
        raise _refused(folder, f"have a {MANIFEST} without two classes and a positive temperature")
    needed = REQUIRED | {NEIGHBOURS} if manifest.neighbours else REQUIRED
    if missing := needed - manifest.files.keys():
        raise _refused(folder, f"have a {MANIFEST} that does not list {', '.join(sorted(missing))}")
    for name in sorted(needed):
        try:
            digest = file_sha256(folder / name)
        except OSError as error:
            raise _refused(folder, f"lack {name} ({error.strerror})") from error
        if digest != manifest.files[name]:
            raise _refused(folder, f"are damaged: {name} has SHA-256 {digest}, {MANIFEST} says {manifest.files[name]}")
    return manifest
