"""A dataset on disk: one JSON Lines file a part, and `dataset.json`, which names them by content hash."""

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.errors import DataRefused
from concertino.models.file_hash import file_sha256
from concertino.whole_file import write_json

MANIFEST = "dataset.json"


class Part(StrEnum):
    TRAIN = "train"
    DEV = "dev"
    CALIBRATION = "calibration"
    TEST = "test"
    BACKGROUND = "background"
    """Texts that the skill is not for; each row names the part it is meant for in `group`."""


class Row(Struct, frozen=True, omit_defaults=True):
    """One text with what it should be answered with: labels for a label skill, an answer for a free-text one."""

    id: str
    text: str
    labels: tuple[str, ...] = ()
    """Any of them is right."""
    answer: str = ""
    group: str = ""
    """Rows of one group are in one part."""
    source: str = ""
    """`path:line`, or `path:passage`."""
    tests: str = ""
    """Python that tells whether a program is right; see `concertino.programs.sandbox.run_tests`."""


class PartInfo(Struct, frozen=True):
    rows: int
    sha256: str


class SourceInfo(Struct, frozen=True):
    """A file that rows came from."""

    path: str
    sha256: str
    bytes: int
    rows: int
    licence: str = ""
    origin: str = ""


class ParaphraseCheck(StrEnum):
    """Were paraphrases of the evaluation sets looked for?"""

    UNKNOWN = ""
    """The dataset is older than this field, or its recipe names no evaluation set."""
    DONE = "done"
    LEFT_OUT = "left out"
    """There was no embedding model, or it was not wanted."""
    TOO_MANY = "too many texts"


class DatasetManifest(Struct, frozen=True):
    """What a dataset holds and where it came from."""

    name: str
    recipe_digest: str
    created: str
    """ISO 8601, UTC."""
    parts: dict[Part, PartInfo]
    labels: dict[str, int] = field(default_factory=dict)
    """Label -> rows that carry it, over train, dev, calibration and test."""
    sources: tuple[SourceInfo, ...] = ()
    paraphrases: ParaphraseCheck = ParaphraseCheck.UNKNOWN

    @property
    def content(self) -> str:
        """SHA-256 over the parts' names and hashes: equal where two datasets hold the same rows."""
        lines = (f"{name} {self.parts[name].sha256}\n" for name in sorted(self.parts))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class Dataset:
    """An opened dataset; its parts are read as streams."""

    def __init__(self, folder: Path, manifest: DatasetManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, in alphabetical order."""
        return tuple(sorted(self.manifest.labels))

    def rows(self, part: Part | str) -> Iterator[Row]:
        """The rows of a part, in the file's order; none where the dataset lacks the part."""
        name = Part(part)
        if name in self.manifest.parts:
            yield from read_rows(self.folder / f"{name}.jsonl")


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON Lines file, one at a time. Raises DataRefused with the line's number."""
    decoder = msgspec.json.Decoder(Row)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise DataRefused(f"{path}, line {number}: {error}. Curate the dataset again.") from error


def write_rows(path: Path, rows: Iterable[Row]) -> PartInfo:
    """Write rows as JSON Lines; the number and the hash of what was written."""
    encoder, digest, count = msgspec.json.Encoder(), hashlib.sha256(), 0
    with path.open("wb") as file:
        for row in rows:
            line = encoder.encode(row) + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
    return PartInfo(count, digest.hexdigest())


def write_manifest(folder: Path, manifest: DatasetManifest) -> None:
    write_json(folder / MANIFEST, manifest)


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset that `concertino curate` wrote, after hashing its parts.

    Raises DataRefused where the folder is none, or a part is not the one that the manifest names.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=DatasetManifest)
    except (OSError, msgspec.DecodeError) as error:
        raise DataRefused(f"{folder} is no dataset: {error}. Make one with `concertino curate`.") from error
    for name, info in manifest.parts.items():
        file = folder / f"{name}.jsonl"
        try:
            same = file_sha256(file) == info.sha256
        except OSError as error:
            raise DataRefused(f"{file} cannot be read: {error}. Curate the dataset again.") from error
        if not same:
            raise DataRefused(f"{file} was changed after it was curated. Curate the dataset again.")
    return Dataset(folder, manifest)
