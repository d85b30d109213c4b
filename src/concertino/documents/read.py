"""Files and folders -> records with their provenance, whatever the format."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from concertino import plugins
from concertino.documents.base import Event, Problem, Reader, Record
from concertino.documents.limited import LimitedReader
from concertino.documents.passages import passages
from concertino.errors import DataRefused


def suffixes() -> tuple[str, ...]:
    """File name endings, without the dot, that some installed reader reads."""
    return tuple(sorted(point.name for point in metadata.entry_points(group=plugins.READERS)))


def find_files(folder: Path, pattern: str) -> list[Path]:
    """The files that a path, a folder or a glob pattern below `folder` names, sorted; in folders only readable kinds.

    Raises DataRefused where it names nothing that can be read, or leads out of the folder.
    """
    root = folder.resolve()
    known = suffixes()
    if any(sign in pattern for sign in "*?["):
        named = sorted(folder.glob(pattern))
    else:
        named = [folder / pattern]
        if not named[0].exists():
            raise DataRefused(f"{named[0]} does not exist. Check the path in the recipe and --data-dir.", param=pattern)
    found: list[Path] = []
    for path in named:
        found += sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [path for path in found if path.is_file() and path.suffix[1:].lower() in known]
    if not files:
        listed = ", ".join(known)
        raise DataRefused(f"{pattern} names no file of a kind that can be read ({listed}).", param=pattern)
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise DataRefused(f"{path} leads out of the data folder {folder}.", param=pattern)
    return files


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
        if not path.stat().st_size:
            yield Problem("empty file", "the file has no bytes")
            return
        reader = self._reader(path)
        suffix = path.suffix[1:].lower()
        events = iter(self._limited.read(path, suffix)) if reader.limited else _guarded(reader, path)
        yield from self._passages(events) if reader.paragraphs else events

    def _reader(self, path: Path) -> Reader:
        reader: Reader = plugins.load(plugins.READERS, path.suffix[1:].lower(), str(path))()
        return reader

    def _passages(self, events: Iterator[Event]) -> Iterator[Event]:
        others: list[Event] = []

        def paragraphs() -> Iterator[tuple[str, str]]:
            for event in events:
                if isinstance(event, Record):
                    yield event.place, str(event.fields["text"])
                else:
                    others.append(event)

        number = 0
        for number, (start, text) in enumerate(passages(paragraphs(), self._longest), 1):
            yield Record(str(number), {"text": text, "start": start})
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
