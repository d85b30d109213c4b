"""Comma-separated values with a header line; also semicolons, tabs and bars, whichever the header has most of.

A quote that never closes would take the rest of the file for its field. Where a row cannot be read, reading goes on at
the line after the one that it began on.
"""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from concertino.documents.base import Event, Problem, Record
from concertino.documents.encoding import LONGEST_LINE, LineReader

_DELIMITERS = ",;\t|"
_NAMED = re.compile(r'"?sep=(.)"?')
"""Excel's first line, which names the delimiter."""
_QUOTED = re.compile(r'"[^"]*("|$)')
_HEADER_LINES = 20
"""Most lines of a header, whose quotes may hold newlines."""
_SAMPLE = 200


class CsvReader:
    paragraphs = False
    limited = False

    def read(self, path: Path) -> Iterator[Event]:
        lines = LineReader(path)
        feed = _Lines(lines)
        csv.field_size_limit(LONGEST_LINE)
        delimiter = _delimiter(feed, "\t" if path.suffix.lower() == ".tsv" else "")
        rows = csv.reader(feed, delimiter=delimiter, strict=True)
        feed.begin()
        try:
            header = [name.strip() for name in next(rows, [])]
        except csv.Error as error:
            because = f"{error}; write each name without quotes, or with one at its beginning and one at its end"
            yield Problem("header not usable", because, feed.place, feed.sample)
            return
        width = len(header)
        while len(header) > 1 and not header[-1]:
            header.pop()
        twice = [name for name, count in Counter(header).items() if count > 1 or not name]
        if twice:
            because = f"column {twice[0]!r} is empty or stands twice in the header"
            yield Problem("header not usable", because, feed.place, feed.sample)
            return
        yield from _records(rows, feed, lines, header, width)
        yield lines.report


def _records(
    rows: Iterator[list[str]], feed: "_Lines", lines: LineReader, header: list[str], width: int
) -> Iterator[Event]:
    """The rows below the header, whose lines all have `width` fields, those beyond the header's names empty."""
    names = len(header)
    while True:
        feed.begin()
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Problem("not valid CSV", str(error), feed.place, feed.sample)
            feed.again_from_second()
            continue
        yield from lines.drain()
        if row is None:
            return
        if not row:
            continue
        if len(row) != width or any(row[names:]):
            because = f"the row has {len(row)} fields, the header {width}"
            if len(row) == width:
                because = f"the row has {next(filter(None, row[names:]))[:40]!r} where the header names no column"
            yield Problem("wrong number of fields", because, feed.place, feed.sample)
            if len(row) < width:
                feed.again_from_second()  # a quote may have taken the lines below for its own
            continue
        yield Record(feed.place, dict(zip(header, row[:names], strict=True)))


class _Lines:
    """The lines of a file for csv.reader, of which those of the present row can be read again."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines = iter(lines)
        self._again: deque[tuple[int, str]] = deque()
        self._row: list[tuple[int, str]] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        return line[1] + "\n"

    def begin(self) -> None:
        """The next line begins a row."""
        self._row = []

    @property
    def place(self) -> str:
        """The number of the row's first line."""
        return str(self._row[0][0]) if self._row else "1"

    @property
    def sample(self) -> str:
        """The row's first line, as far as it is shown."""
        return self._row[0][1][:_SAMPLE] if self._row else ""

    def again_from_second(self) -> None:
        """Read the row's lines again, but for its first."""
        self.again(1)

    def again(self, first: int = 0) -> None:
        """Read the row's lines again, from the one of this number on."""
        self._again.extendleft(reversed(self._row[first:]))
        self._row = []


def _delimiter(feed: _Lines, known: str) -> str:
    """The delimiter, with what stands before the header read away."""
    for first in feed:
        if first.strip():
            break
        feed.begin()
    else:
        return known or ","
    if named := _NAMED.fullmatch(first.rstrip("\r\n")):
        return named[1]
    head = first
    for _ in range(_HEADER_LINES):
        if head.count('"') % 2 == 0:
            break
        head += next(feed, "")
    else:
        head = first
    feed.again()
    outside = _QUOTED.sub("", head)
    return known or max(_DELIMITERS, key=outside.count)
