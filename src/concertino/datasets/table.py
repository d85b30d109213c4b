"""A file of examples, or a folder of documents, as rows of fields, and which field could be the text or the label."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from concertino.documents import FOLDER, Documents, Problem, Record, find_files, suffixes
from concertino.errors import DataRefused
from concertino.template import TEXT

MOST_ROWS = 50_000
"""Rows that are looked at; a longer file is judged by its first ones."""
_MOST_LABELS = 1_000
_CLOSED_SHARE = 0.2
"""Distinct values, as a share of rows, up to which a field is a closed set."""
_LONGEST = 1_000_000
PASSAGE = 1_000
"""Characters of a passage of a document: about what an encoder reads of a text."""
_MUCH = 0.1
"""Share of all passages from which one document is said to give many..."""
_OFTEN = 2
"""...if it gives as many times more than the mean one, too: of few documents each gives a large share."""
_DEEPEST, _ITEMS = 6, 3
"""How far fields are looked for inside of others, and in how many items of a list."""
_TEXT_NAMES = ("text", "message", "question", "sentence", "body", "content", "input", "query", "prompt", "description")
_LABEL_NAMES = ("label", "labels", "category", "class", "intent", "answer", "target", "output", "completion")


class Column(Struct, frozen=True):
    """One field over all rows."""

    name: str
    filled: int
    """Rows in which it is there and not empty."""
    distinct: int
    words: float
    """Mean words of a value."""
    numeric: bool
    example: str

    @property
    def described(self) -> str:
        """The field as a person would tell it from the others."""
        return f"{self.name} ({self.distinct} values, {self.words:.0f} words, such as {self.example[:40]!r})"


class Table(Struct, frozen=True):
    """A file as rows of fields."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    unreadable: int
    because: str
    """Why the first of the unreadable rows is one, and where; else empty."""
    more: bool
    """True where the file goes on beyond the rows that were looked at."""
    columns: tuple[Column, ...]
    documents: int = 0
    """How many documents the rows are passages of; 0 for rows of a table."""
    notes: tuple[str, ...] = ()
    """What of a folder was not read."""

    def column(self, name: str) -> Column:
        """Raises DataRefused for a field that the file does not have."""
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            known = ", ".join(column.name for column in self.columns)
            more = " A template of several is written into the recipe, as data.sources[0].text." if "{" in name else ""
            raise DataRefused(f"{self.path} has no field {name!r}. Its fields: {known}.{more}", param=name)
        return found


def read_table(path: Path) -> Table:
    """The rows of a file, or the passages of the documents in a folder. Raises DataRefused for a path that is missing,
    has no rows, or is a document by itself."""
    try:
        found = path.exists()
    except OSError as error:
        raise DataRefused(f"{str(path)[:80]}... cannot be looked for: {error.strerror}.", param="from") from error
    if not found:
        raise DataRefused(f"There is no file or folder {path}.", param="from")
    notes: list[str] = []
    with Documents(PASSAGE if path.is_dir() else _LONGEST) as documents:
        files = _files(path, documents, notes)
        rows: list[dict[str, Any]] = []
        unreadable, because, more = 0, "", False
        passages: Counter[Path] = Counter()
        for file in files:
            for event in documents.read(file):
                if isinstance(event, Record):
                    rows.append(event.fields)
                    passages[file] += 1
                elif isinstance(event, Problem):
                    unreadable += 1
                    place = file.relative_to(path).as_posix() if file != path else f"line {event.place}"
                    because = because or (f"{place}: " if event.place or file != path else "") + event.because
                if more := len(rows) > MOST_ROWS:
                    rows.pop()
                    break
            if more:
                break
    if not rows:
        raise DataRefused(f"{path} has no row that can be read ({because or 'it is empty'}).", param="from")
    documents_read = len(passages) if path.is_dir() and FOLDER in rows[0] else 0
    (largest, most), *_ = passages.most_common(1)
    if documents_read > 1 and most > max(_MUCH, _OFTEN / documents_read) * len(rows):
        notes.append(
            f"{largest.relative_to(path).as_posix()} alone gives {most} of the {len(rows)} passages, which will all be "
            "in one part: shorten it, or leave it out, if it is not typical."
        )
    return Table(path, tuple(rows), unreadable, because, more, tuple(_columns(rows)), documents_read, tuple(notes))


def _files(path: Path, documents: Documents, notes: list[str]) -> list[Path]:
    """What is read of a path. Raises DataRefused where it cannot be, or where labels could not be told."""
    if path.is_dir():
        files = find_files(path, ".", lambda note: notes.append(note.removeprefix(".: ")))
        kinds = {documents.is_document(file) for file in files}
        if len(kinds) > 1:
            table = next(file for file in files if not documents.is_document(file))
            raise DataRefused(
                f"{path} holds documents and tables (such as {table.name}), which are read in different ways. Keep "
                "them in folders of their own, and name one of these.",
                param="from",
            )
        return files
    suffix, known = path.suffix[1:].lower(), suffixes()
    if suffix not in known:
        how = f", as with `jq -c '.[]' {path} > {path.with_suffix('.jsonl')}`" if suffix == "json" else ""
        raise DataRefused(
            f"{path} is of no kind that can be read ({', '.join(known)}). Save it as CSV or JSON lines{how}.",
            param="from",
        )
    if documents.is_document(path):
        raise DataRefused(
            f"{path} is running text, which has no labels to learn. Put examples into a CSV or jsonl file, one a "
            "row, with a field for the text and one for its label, or documents into a folder for each label, and name "
            f"the folder above these. To let a specialist quote {path.name}, use `concertino ingest`.",
            param="from",
        )
    return [path]


def _columns(rows: Iterable[Mapping[str, Any]]) -> Iterator[Column]:
    values: dict[str, list[str]] = {}
    for row in rows:
        for name, value in _leaves(row):
            shown = _shown(value)
            if shown:
                values.setdefault(name, []).append(shown)
    for name, found in values.items():
        counted = Counter(found)
        words = sum(len(value.split()) * count for value, count in counted.items()) / len(found)
        yield Column(name, len(found), len(counted), words, all(_number(value) for value in counted), found[0])


def _leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The fields of a row with the way to each, also those inside of others, as far as the first items of lists."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict) and depth < _DEEPEST:
        inner = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value) and depth < _DEEPEST:
        inner = enumerate(value[:_ITEMS])
    elif name:
        yield name, value
    for key, item in inner:
        yield from _leaves(item, f"{name}.{key}" if name else str(key), depth + 1)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return "" if value is None else msgspec.json.encode(value).decode()


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def text_candidates(table: Table) -> list[Column]:
    """Fields that could be the text, the likeliest first; one alone where it is clear."""
    found = [
        column
        for column in table.columns
        if not column.numeric and column.words >= 1.5 and column.distinct >= 0.3 * len(table.rows)
    ]
    if table.documents:
        return [column for column in table.columns if column.name == TEXT]
    named = _said_by("user", table) or [column for column in found if last(column.name).lower() in _TEXT_NAMES]
    if len(named) == 1:
        return named
    return sorted(found, key=lambda column: -column.words)


def label_candidates(table: Table, text: str) -> list[Column]:
    """Fields that could be the label or the answer, the likeliest first; one alone where it is clear."""
    others = [column for column in table.columns if column.name != text and column.filled >= 0.5 * len(table.rows)]
    if table.documents:
        return [column for column in others if column.name == FOLDER]
    named = _said_by("assistant", table) or [column for column in others if last(column.name).lower() in _LABEL_NAMES]
    if len(named) == 1:
        return named
    closed = [column for column in others if is_closed(column) and not (column.numeric and column.distinct > 20)]
    if closed:
        telling = [column for column in closed if column.distinct > 1] or closed
        return sorted(telling, key=lambda column: (column.numeric, column.distinct))
    return [column for column in others if column.words >= 1.5]


def _said_by(who: str, table: Table) -> list[Column]:
    """The first `content` of a conversation that always stands beside the `role` of `who`; none where there is none."""
    roles = (
        each.name for each in table.columns if last(each.name) == "role" and (each.distinct, each.example) == (1, who)
    )
    beside = {name.removesuffix("role") + "content" for name in roles}
    return [column for column in table.columns if column.name in beside][:1]


def last(name: str) -> str:
    """The name of a field without the way to it; one that is a sentence stays whole."""
    end = name.rpartition(".")[2]
    return end if end and " " not in name else name


def is_closed(column: Column) -> bool:
    """Whether a field's values come from a closed set."""
    return column.distinct <= max(2, min(_MOST_LABELS, _CLOSED_SHARE * column.filled))
