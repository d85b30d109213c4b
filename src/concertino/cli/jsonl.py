"""A text per line: `{"text": ...}`, or the fields that a skill's template names. Read in batches, so that a file of any
size fits in memory."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from concertino.errors import InvalidRequest
from concertino.template import TEXT, FieldsProblem, names, text_of

LONGEST_LINE = 16 * 1024 * 1024


class Line(Struct):
    """What is read of a line; other fields are left alone."""

    text: str


class Batch(Struct, frozen=True):
    """Some texts in order, and what is wrong with the line after them, if anything. `consumed` counts bytes."""

    texts: list[str]
    numbers: list[int]
    consumed: int
    problem: InvalidRequest | None = None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, or stdin for `-`."""
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


def read_batches(file: BinaryIO, name: str, size: int, template: str = TEXT) -> Iterator[Batch]:
    """Batches of up to `size` texts, each what `template` makes of a line. Reading ends after a batch with a problem.
    Blank lines are passed over.

    Lines end at a newline byte and nowhere else: texts may hold U+2028 and its like.
    """
    read = _reader(template)
    texts: list[str] = []
    numbers: list[int] = []
    number = consumed = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        consumed += len(line)
        if not line.strip():
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError(f"it is longer than {LONGEST_LINE // 1024 // 1024} MiB")
            texts.append(read(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line))
        except (msgspec.DecodeError, ValueError, FieldsProblem) as error:
            said = f"{name}, line {number}: {error}. {_wanted(template)}"
            yield Batch(texts, numbers, consumed, InvalidRequest(said, param="text"))
            return
        numbers.append(number)
        if len(texts) == size:
            yield Batch(texts, numbers, consumed)
            texts, numbers, consumed = [], [], 0
    if texts:
        yield Batch(texts, numbers, consumed)


def _reader(template: str) -> Callable[[bytes], str]:
    """A line -> its text."""
    if template == TEXT:
        plain = msgspec.json.Decoder(Line)
        return lambda line: plain.decode(line).text
    decoder = msgspec.json.Decoder(dict[str, Any])
    return lambda line: text_of(decoder.decode(line), template)


def _wanted(template: str) -> str:
    if template == TEXT:
        return 'Each line must be a JSON object with a string "text".'
    fields = ", ".join(f'"{name}"' for name in names(template))
    return f'Each line must be a JSON object with {fields}, or with the whole text as "text" alone.'


def name_of(path: Path) -> str:
    """What errors call the file."""
    return "stdin" if str(path) == "-" else str(path)
