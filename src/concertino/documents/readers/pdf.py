"""PDF: the text of each page, a paragraph a block of lines. Pictures of text are not read."""

import re
from collections.abc import Iterator
from pathlib import Path

from concertino.documents.base import Event, Problem, Record
from concertino.documents.readers.library import require

_BLANK = re.compile(r"\n[ \t]*\n")
_HYPHEN = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


class PdfReader:
    paragraphs = True
    limited = True

    def read(self, path: Path) -> Iterator[Event]:
        pypdf = require("pypdf")
        document = pypdf.PdfReader(path)
        if document.is_encrypted and not document.decrypt(""):
            yield Problem("encrypted", "the document needs a password; save a copy without one")
            return
        found = False
        for number, page in enumerate(document.pages, 1):
            text = _HYPHEN.sub("", page.extract_text())
            for paragraph in _BLANK.split(text):
                if paragraph.strip():
                    found = True
                    yield Record(f"page {number}", {"text": paragraph})
        if not found:
            yield Problem("no text", "the document has no text, only pictures perhaps; run OCR over it first")
