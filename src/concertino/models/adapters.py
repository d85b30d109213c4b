"""An adapter on disk: a folder with `adapter.json`, which names its base by content hash and its files by theirs."""

from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.errors import ConfigurationError
from concertino.models.file_hash import file_sha256
from concertino.whole_file import write_json

MANIFEST = "adapter.json"


class AdapterManifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What an adapter is, for whom, and which bytes make it up."""

    engine: str
    """`encoder` or `causal`."""
    base: str
    """Catalogue name of the base model."""
    base_sha256: str
    """SHA-256 of the base's weights file."""
    rank: int
    alpha: float
    labels: tuple[str, ...] = ()
    max_tokens: int = 256
    """What is read of a text, in tokens; longer texts lose their middle."""
    members: int = 1
    """Adapters in one, whose log-probabilities are averaged."""
    temperature: float = 1.0
    """The logits are divided by it: fitted on the calibration part."""
    scope: bool = False
    """True where the adapter also scores whether a text is one that it is for."""
    files: dict[str, str] = field(default_factory=dict)
    """File name -> SHA-256."""


def read_adapter(folder: Path) -> AdapterManifest:
    """The manifest of an adapter folder, after its files were hashed.

    Raises ConfigurationError where the manifest or a file is missing, unreadable, or not the bytes it names.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=AdapterManifest)
        for name, digest in manifest.files.items():
            if file_sha256(folder / name) != digest:
                raise ConfigurationError(
                    f"{folder / name} is not the file that {path} names. Train or promote it again.", param="adapter"
                )
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"The adapter {folder} cannot be read: {error}.", param="adapter") from error
    return manifest


def write_manifest(folder: Path, manifest: AdapterManifest) -> AdapterManifest:
    """Write the manifest with the hashes of the files that are in `folder` now, and return it."""
    files = {
        path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST
    }
    whole = msgspec.structs.replace(manifest, files=files)
    write_json(folder / MANIFEST, whole)
    return whole
