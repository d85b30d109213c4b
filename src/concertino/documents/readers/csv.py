"""Comma-separated values with a header line; also semicolons, tabs and bars, whichever the header has most of."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from concertino.documents.base import Event, Problem, Record
from concertino.documents.encoding import LONGEST_LINE, LineReader

_DELIMITERS = ",;\t|"


class CsvReader:
    paragraphs = False
    limited = False

    def read(self, path: Path) -> Iterator[Event]:
        lines = LineReader(path)
        texts = (text + "\n" for _, text in lines)
        first = next(texts, "")
        delimiter = max(_DELIMITERS, key=first.count)
        csv.field_size_limit(LONGEST_LINE)
        rows = csv.reader(_before(first, texts), delimiter=delimiter, strict=True)
        header = [name.strip() for name in next(rows, [])]
        twice = [name for name, count in Counter(header).items() if count > 1 or not name]
        if twice:
            yield Problem(
                "header not usable", f"column {twice[0]!r} is empty or stands twice in the header", "1", first
            )
            return
        while True:
            start = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Problem("not valid CSV", str(error), str(start))
                continue
            yield from lines.drain()
            if row is None:
                break
            if not row:
                continue
            if len(row) != len(header):
                because = f"the row has {len(row)} fields, the header {len(header)}"
                yield Problem("wrong number of fields", because, str(start), delimiter.join(row)[:200])
                continue
            yield Record(str(start), dict(zip(header, row, strict=True)))
        yield lines.report


def _before(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
