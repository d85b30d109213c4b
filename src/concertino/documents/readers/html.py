"""HTML: the main text of a page, without its navigation; all its text where no main text is found."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from concertino.documents.base import Encoding, Event, Record
from concertino.documents.encoding import LineReader, utf16
from concertino.documents.readers.library import require

_BREAKS = frozenset(
    {"p", "div", "br", "li", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"section", "article", "title", "blockquote", "pre"}
)
_SILENT = frozenset(("script", "style", "noscript", "template"))
_ENOUGH = 0.3
"""Share of a page's text below which the extracted main text is not trusted to be all that matters."""


class HtmlReader:
    paragraphs = True
    limited = True

    def read(self, path: Path) -> Iterator[Event]:
        trafilatura = require("trafilatura")
        raw = path.read_bytes()
        page, encoding = _decode(path, raw)
        everything = _TextOf()
        everything.feed(page)
        plain = everything.text()
        main = trafilatura.extract(page, include_comments=False, favor_recall=True) or ""
        text = main if len(main) >= _ENOUGH * len(plain) else plain
        for number, paragraph in enumerate(filter(str.strip, text.split("\n")), 1):
            yield Record(str(number), {"text": paragraph})
        yield encoding


def _decode(path: Path, raw: bytes) -> tuple[str, Encoding]:
    wide = utf16(raw[:4096])
    if wide:
        return raw.decode(wide, "replace"), Encoding({"utf-16": 1})
    lines = LineReader(path)
    return lines.decode(raw), lines.report


class _TextOf(HTMLParser):
    """All text outside of scripts and styles, a line a block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in _BREAKS:
            self._pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BREAKS:
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._pieces.append(data.replace("\n", " "))

    def text(self) -> str:
        return "\n".join(" ".join(line.split()) for line in "".join(self._pieces).split("\n") if line.strip())
