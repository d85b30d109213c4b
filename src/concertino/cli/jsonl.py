"""A text per line: `{"text": ...}`, or the fields that a skill's template names. Read in batches, so that a file of any
size fits in memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from concertino.errors import InvalidRequest
from concertino.template import TEXT, FieldsProblem, id_in, names, text_of

LONGEST_LINE = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_FIELDS = msgspec.json.Decoder(dict[str, Any])


class Row(Struct, frozen=True):
    """A line that is not blank: its text, or what is wrong with it. `line` counts from 1."""

    line: int
    text: str | InvalidRequest
    id: str | int | None = None
    """What the row itself calls its `id`, where that is text or a whole number."""


class Batch(Struct, frozen=True):
    """Some rows in order. `consumed` counts bytes."""

    rows: list[Row]
    consumed: int


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, or stdin for `-`."""
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


def read_batches(file: BinaryIO, name: str, size: int, template: str = TEXT) -> Iterator[Batch]:
    """Batches of up to `size` rows, each with what `template` makes of its line. Blank lines are passed over.

    Lines end at a newline byte and nowhere else: texts may hold U+2028 and its like.
    """
    rows: list[Row] = []
    number = consumed = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        consumed += len(line)
        too_long = len(line) > LONGEST_LINE
        while too_long and not line.endswith(b"\n") and (line := file.readline(LONGEST_LINE)):
            consumed += len(line)
        if too_long or line.strip():
            rows.append(_row(line, number, too_long, name, template))
        if len(rows) == size:
            yield Batch(rows, consumed)
            rows, consumed = [], 0
    if rows or consumed:
        yield Batch(rows, consumed)


def _row(line: bytes, number: int, too_long: bool, name: str, template: str) -> Row:
    known: str | int | None = None
    try:
        if too_long:
            raise ValueError(f"it is longer than {LONGEST_LINE // 1024 // 1024} MiB")
        fields = _FIELDS.decode(line.removeprefix(_BOM) if number == 1 else line)
        known = id_in(fields)
        return Row(number, text_of(fields, template), known)
    except (msgspec.DecodeError, ValueError, FieldsProblem) as error:
        said = f"{name}, line {number}: {error}. {_wanted(template)}"
        return Row(number, InvalidRequest(said, param="text"), known)


def _wanted(template: str) -> str:
    if template == TEXT:
        return 'Each line must be a JSON object with a string "text".'
    fields = ", ".join(f'"{name}"' for name in names(template))
    return f'Each line must be a JSON object with {fields}, or with the whole text as "text" alone.'


def name_of(path: Path) -> str:
    """What errors call the file."""
    return "stdin" if str(path) == "-" else str(path)
