"""Plain text and Markdown: paragraphs end at blank lines; in Markdown a heading also starts one."""

from collections.abc import Iterator
from pathlib import Path

from concertino.documents.base import Event, Record
from concertino.documents.encoding import LineReader

_LONGEST = 100_000
"""Characters after which a paragraph is handed on, so that a file without blank lines still streams."""


class TextReader:
    paragraphs = True
    limited = False

    def read(self, path: Path) -> Iterator[Event]:
        markdown = path.suffix.lower() == ".md"
        lines = LineReader(path)
        kept: list[str] = []
        start = size = 0
        for number, line in lines:
            yield from lines.drain()
            blank = not line.strip()
            heading = markdown and line.startswith("#")
            if kept and (blank or heading or size > _LONGEST):
                yield Record(str(start), {"text": "\n".join(kept)})
                kept, size = [], 0
            if blank:
                continue
            if not kept:
                start = number
            kept.append(line)
            size += len(line)
        if kept:
            yield Record(str(start), {"text": "\n".join(kept)})
        yield from lines.drain()
        yield lines.report
