"""HTML: the main text of a page, without its navigation; all its text where no main text is found."""

import codecs
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from concertino.documents.base import Encoding, Event, Record
from concertino.documents.encoding import LineReader, wide_encoding
from concertino.documents.readers.library import require

_BREAKS = frozenset(
    {"p", "div", "br", "li", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"section", "article", "title", "blockquote", "pre"}
)
_DECLARED = re.compile(rb"""<(?:meta\b[^>]*\bcharset|\?xml\b[^>]*\bencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_DECLARED_WITHIN = 4096
"""Bytes of a page in which its declaration is looked for."""
_READ_AS = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252",
    "iso-8859-9": "cp1254", "shift_jis": "cp932", "shift-jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030",
    "euc-kr": "cp949",
}  # fmt: skip
"""Encodings in whose name pages are written in larger ones (WHATWG Encoding Standard, section 4.2)."""
_CELL_ALONE = re.compile(r"\s*\|\s*([^|]*[^|\s])\s*\|\s*")
"""A row of one cell, which is no table but the frame that mail programs put a letter into."""
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
            alone = _CELL_ALONE.fullmatch(paragraph)
            yield Record(str(number), {"text": alone[1] if alone else paragraph})
        yield encoding


def _decode(path: Path, raw: bytes) -> tuple[str, Encoding]:
    """By its mark; else as UTF-8 where it is that, as pages saved anew are; else as it declares, or as lines are."""
    wide = wide_encoding(raw[:4096])
    if wide:
        return raw.decode(wide, "replace").removeprefix("\ufeff"), Encoding({wide[:6]: 1})
    declared = _DECLARED.search(raw[:_DECLARED_WITHIN])
    if declared and not _is_utf8(raw):
        name = declared[1].decode("ascii", "replace").lower()
        page = _decoded_as(_READ_AS.get(name, name), raw)
        if page is not None:
            return page, Encoding({name: 1}, page.count("\ufffd"))
    lines = LineReader(path)
    return lines.decode(raw.removeprefix(codecs.BOM_UTF8)), lines.report


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded_as(name: str, raw: bytes) -> str | None:
    """None where `name` is no encoding that a page in which it can be read may be in."""
    if name.startswith(("utf", "unicode", "raw_unicode", "idna", "punycode", "mbcs")):
        return None
    try:
        return raw.decode(name, "replace")
    except (LookupError, ValueError):
        return None


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
