"""Word documents: paragraphs and tables, in order."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from concertino.documents.base import Event, Problem, Record
from concertino.documents.readers.library import require

_LARGEST = 256 * 1024 * 1024
"""Bytes that a document may unpack to. More is an archive bomb, or needs more memory than a document gets."""


class DocxReader:
    paragraphs = True
    limited = True

    def read(self, path: Path) -> Iterator[Event]:
        docx = require("docx")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _LARGEST:
            because = f"{path.stat().st_size} bytes unpack to {unpacked}, more than {_LARGEST}"
            yield Problem("archive bomb", because)
            return
        document = docx.Document(str(path))
        for number, block in enumerate(document.iter_inner_content(), 1):
            text = "\n".join(_rows(block)) if hasattr(block, "rows") else block.text
            if text.strip():
                yield Record(str(number), {"text": text})


def _rows(table: object) -> Iterator[str]:
    for row in table.rows:  # type: ignore[attr-defined]
        cells = [cell.text.strip() for cell in row.cells]
        yield " | ".join(dict.fromkeys(filter(None, cells)))
