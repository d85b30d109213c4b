"""The rows of one file, each with its place, as those want them who learn from a file without a recipe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from concertino.documents import Documents, Problem, Record
from concertino.errors import DataRefused

_LONGEST = 8000


class FileRow(Struct, frozen=True):
    """`fields` of a row, or the `problem` for which it could not be read."""

    place: str
    fields: dict[str, Any]
    problem: str = ""


def read_rows(path: Path, param: str) -> Iterator[FileRow]:
    """Every row of a jsonl or CSV file, or what else a reader is installed for, in order.

    Raises DataRefused, which names the option `param`, for a file that is missing or is running text.
    """
    if not path.is_file():
        raise DataRefused(f"There is no file {path}.", param=param)
    with Documents(_LONGEST) as documents:
        if documents.is_document(path):
            raise DataRefused(f"{path} is running text, where rows are needed: use jsonl or CSV.", param=param)
        for event in documents.read(path):
            if isinstance(event, Problem):
                yield FileRow(event.place, {}, event.because)
            elif isinstance(event, Record):
                yield FileRow(event.place, event.fields)
