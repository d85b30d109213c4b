"""A version: a folder with an adapter and everything that says what it is, named by the hash of its content."""

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.config import SkillCard
from concertino.errors import RegistryCorrupt
from concertino.models.file_hash import file_sha256

MANIFEST = "version.json"
ADAPTER = "adapter"
"""The adapter's folder in a version's folder."""
SHORT = 12
"""Digits of a content hash that name a folder."""

_LATER = ("template", "calculate", "scope_threshold", "text_temperature", "beams")
"""Fields of a card that count for a version's name only where they are set."""
_BARE = SkillCard("", "", "")


class SourceFile(Struct, frozen=True):
    """A file whose rows taught or tested the skill."""

    path: str
    sha256: str
    licence: str = ""
    origin: str = ""


class Lineage(Struct, frozen=True):
    """The way back from the weights to the bytes of their data."""

    recipe: str
    """Digest of the recipe."""
    dataset: str
    """Content hash of the dataset."""
    run: str
    """Name of the training's folder."""
    sources: tuple[SourceFile, ...] = ()


class Figures(Struct, frozen=True):
    """What the version was measured to do on the test part, in short; evaluation.json has all of it."""

    metric: str
    value: float
    lower: float
    upper: float
    rows: int
    against: str = ""
    """What the gain is over: the incumbent version, or the prompted generalist."""
    gain: float | None = None
    gain_lower: float | None = None
    cpu_ratio: float | None = None
    """Median CPU seconds a request, as a share of the generalist's."""
    coverage: float | None = None
    """Share of the test part that is answered at the threshold."""
    risk: float | None = None
    """Share of those answers that is wrong."""


class Version(Struct, frozen=True):
    """The content of version.json. In `card`, `backend` is a backend type, and `adapter` a path in the folder."""

    name: str
    """`specialist/skill`."""
    card: SkillCard
    base: str
    base_sha256: str
    figures: Figures
    lineage: Lineage
    files: dict[str, str]
    """Every other file of the folder, by its path -> SHA-256."""
    accepted: str = ""
    """Why it was promoted though a classical baseline does as well."""
    version: str = ""
    """The content hash: over `files` and over this record without `version` and `created`."""
    created: str = ""
    """ISO 8601, UTC."""
    licence: str = ""
    """Of the base model."""
    datasets: tuple[str, ...] = field(default_factory=tuple)
    """Where the public data came from."""

    @property
    def short(self) -> str:
        return self.version[:SHORT]


def content_hash(version: Version) -> str:
    """The name that a version's content gives it: SHA-256 over its files' paths and hashes, in order."""
    bare = msgspec.structs.replace(version, version="", created="")
    record = msgspec.to_builtins(bare, order="deterministic")
    for later in _LATER:  # versions of before these fields keep their names
        if getattr(version.card, later) == getattr(_BARE, later):
            del record["card"][later]
    own = hashlib.sha256(msgspec.json.encode(record)).hexdigest()
    lines = sorted(f"{path} {digest}\n" for path, digest in (*version.files.items(), (MANIFEST, own)))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def named(version: Version, created: str) -> Version:
    """The version with its content hash."""
    return msgspec.structs.replace(version, version=content_hash(version), created=created)


def read_version(folder: Path) -> Version:
    """The version in a folder, after every file was hashed.

    Raises RegistryCorrupt where a file is missing, too many, or not the one that the version is named by.
    """
    path = folder / MANIFEST
    try:
        version = msgspec.json.decode(path.read_bytes(), type=Version)
        present = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
        present.pop(MANIFEST)
        odd = sorted(present.keys() ^ version.files.keys())
        if not odd:
            odd = [name for name, file in present.items() if file_sha256(file) != version.files[name]]
    except (OSError, msgspec.MsgspecError) as error:
        raise RegistryCorrupt(f"The version in {folder} cannot be read: {error}.") from error
    if odd:
        raise RegistryCorrupt(f"The version in {folder} is damaged: {odd[0]} is not as it was when it was made.")
    if content_hash(version) != version.version:
        raise RegistryCorrupt(f"The version in {folder} is damaged: {MANIFEST} is not as it was when it was made.")
    return version
