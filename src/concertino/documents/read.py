"""Files and folders -> records with their provenance, whatever the format."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from concertino import plugins
from concertino.documents.base import Event, Problem, Reader, Record
from concertino.documents.limited import LimitedReader
from concertino.documents.passages import passages
from concertino.errors import DataRefused

_READ_AS = {"tsv": "csv"}
"""Suffixes that a reader of another one reads, where none has their name."""
_SHOWN = 5
FOLDER = "folder"
"""The field of a passage with the name of the folder that its document lies in: its label, where folders are such."""

Note = Callable[[str], None]


def suffixes() -> tuple[str, ...]:
    """File name endings, without the dot, that some installed reader reads."""
    own = {point.name for point in metadata.entry_points(group=plugins.READERS)}
    return tuple(sorted(own | {suffix for suffix, other in _READ_AS.items() if other in own}))


def find_files(folder: Path, pattern: str, note: Note = lambda _: None) -> list[Path]:
    """The files that a path, a folder or a glob pattern below `folder` names, sorted; in folders only readable kinds.

    `note` is told which others are there. Raises DataRefused where nothing that can be read is named, or where a path
    leads out of the folder.
    """
    root = folder.resolve()
    known = suffixes()
    found: list[Path] = []
    for path in _named(folder, pattern):
        found += sorted(path.rglob("*")) if path.is_dir() else [path]
    files: list[Path] = []
    others: list[str] = []
    nameless: list[str] = []
    for path in found:
        if path.is_dir():
            continue
        if not path.is_file() or path.suffix[1:].lower() not in known:
            if not path.name.startswith("."):
                others.append(f"{path.name} (a link to nothing)" if path.is_symlink() else path.name)
        elif not _is_utf8(os.path.relpath(path, folder)):
            nameless.append(path.name)
        else:
            files.append(path)
    told = []
    if nameless:
        told.append(f"{_count(nameless, 'whose name is not UTF-8')} not read: {_listed(nameless)}. Rename them")
    if others:
        told.append(f"{_count(others, 'of other kinds')} not read: {_listed(others)}")
    if not files:
        because = "".join(f" {sentence}." for sentence in told)
        raise DataRefused(
            f"{pattern} names no file of a kind that can be read ({', '.join(known)}).{because}", param=pattern
        )
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise DataRefused(f"{path} leads out of the data folder {folder}.", param=pattern)
    for sentence in told:
        note(f"{pattern}: {sentence}.")
    return files


def _named(folder: Path, pattern: str) -> list[Path]:
    """What there is by this name; else by this pattern, since names may hold the signs of patterns."""
    literal = folder / pattern
    try:
        if literal.exists():
            return [literal]
        if not any(sign in pattern for sign in "*?["):
            raise DataRefused(f"{literal} does not exist. Check the path in the recipe and --data-dir.", param=pattern)
        if Path(pattern).is_absolute():
            raise DataRefused(
                f"{pattern}: a pattern must be relative to the data folder, which is {folder}; --data-dir names it.",
                param=pattern,
            )
        return sorted(folder.glob(pattern))
    except OSError as error:
        shown = f"{pattern[:80]}..." if len(pattern) > 80 else pattern
        because = "its name is too long" if error.errno == errno.ENAMETOOLONG else error.strerror
        raise DataRefused(f"{shown} cannot be looked for: {because}. Check the path.", param=pattern) from error
    except ValueError as error:
        raise DataRefused(
            f"{pattern} cannot be read as a pattern: {error}. Write `*` for a part of a name, and `**/` for folders.",
            param=pattern,
        ) from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _count(names: Sequence[str], which: str) -> str:
    return f"{len(names)} files {which} were" if len(names) != 1 else f"1 file {which} was"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(names[:_SHOWN]) + more
    return os.fsencode(shown).decode("utf-8", "replace")


class Documents:
    """Reads files one after the other. Use it in a with statement: complex formats are read by a child process."""

    def __init__(self, longest: int) -> None:
        """`longest` is the most characters a passage of a document may have."""
        self._longest = longest
        self._limited = LimitedReader()

    def __enter__(self) -> "Documents":
        return self

    def __exit__(self, *exception: object) -> None:
        self._limited.close()

    def is_document(self, path: Path) -> bool:
        """True where the records of a file are passages of one document, not rows."""
        return self._reader(path).paragraphs

    def read(self, path: Path) -> Iterator[Event]:
        """Records and problems of one file. The place of a passage is its number; damage ends the file, not the run."""
        try:
            empty = not path.stat().st_size
        except OSError as error:
            yield Problem("not readable", f"{error.strerror or error}")
            return
        if empty:
            yield Problem("empty file", "the file has no bytes")
            return
        reader = self._reader(path)
        suffix = path.suffix[1:].lower()
        events = iter(self._limited.read(path, suffix)) if reader.limited else _guarded(reader, path)
        yield from self._passages(events, path.absolute().parent.name) if reader.paragraphs else events

    def _reader(self, path: Path) -> Reader:
        suffix = path.suffix[1:].lower()
        own = metadata.entry_points(group=plugins.READERS, name=suffix)
        reader: Reader = plugins.load(plugins.READERS, suffix if own else _READ_AS.get(suffix, suffix), str(path))()
        return reader

    def _passages(self, events: Iterator[Event], folder: str) -> Iterator[Event]:
        others: list[Event] = []

        def paragraphs() -> Iterator[tuple[str, str]]:
            for event in events:
                if isinstance(event, Record):
                    yield event.place, str(event.fields["text"])
                else:
                    others.append(event)

        number = 0
        for number, (start, text) in enumerate(passages(paragraphs(), self._longest), 1):
            yield Record(str(number), {"text": text, "start": start, FOLDER: folder})
        if not number and not any(isinstance(event, Problem) for event in others):
            yield Problem("empty file", "the document has no text")
        yield from others


def _guarded(reader: Reader, path: Path) -> Iterator[Event]:
    try:
        yield from reader.read(path)
    except OSError as error:
        yield Problem("not readable", f"{error.strerror or error}")
    except (ValueError, LookupError, RecursionError) as error:
        yield Problem("damaged", f"{type(error).__name__}: {error}")
