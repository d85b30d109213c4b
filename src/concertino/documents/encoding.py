"""Lines of a file in whatever encoding they are in: UTF-8, UTF-16, or Latin-1 (read as Windows-1252, which adds to it).

Every line is tried as UTF-8 first. One that is not is read as Latin-1 where all its high bytes are letters or
signs of Western European text, and where not, as UTF-8 with each bad byte replaced and counted: a file that was pasted
together from several encodings comes out right line by line, and nothing is guessed silently.
"""

import codecs
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from concertino.documents.base import Encoding, Problem

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes; a longer line is passed over and reported, so that a file without newlines is not read into memory."""
_LATIN = frozenset({0x80, 0x85, *range(0x91, 0x98), *range(0xA0, 0xFF)} - {0xD7, 0xF7})
_PROBE = 4096
_FEWEST_ZEROS = 4
"""Zero bytes below which a file is not held to be UTF-16 without a mark."""


class LineReader:
    """Iterates over (line number, text without its newline) of a file. `report` afterwards says what was met.

    Lines end at a newline and nowhere else: texts may hold U+2028 and its like.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: Counter[str] = Counter()
        self._bad = 0
        self.problems: list[Problem] = []

    def __iter__(self) -> Iterator[tuple[int, str]]:
        with self._path.open("rb") as file:
            head = file.read(_PROBE)
            file.seek(0)
            wide = utf16(head)
            yield from self._wide(file, wide) if wide else self._narrow(file)

    @property
    def report(self) -> Encoding:
        return Encoding(dict(self._lines), self._bad)

    def drain(self) -> list[Problem]:
        """Problems met since the last call."""
        problems, self.problems = self.problems, []
        return problems

    def _narrow(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                self._too_long(number, line)
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, self.decode(line).rstrip("\r\n")

    def decode(self, line: bytes) -> str:
        """The text of some bytes, counted."""
        try:
            text = line.decode("utf-8")
            self._lines["utf-8"] += 1
            return text
        except UnicodeDecodeError:
            pass
        if _western(line):
            self._lines["latin-1"] += 1
            return line.decode("cp1252", "replace")
        text = line.decode("utf-8", "replace")
        self._lines["utf-8"] += 1
        self._bad += text.count("\ufffd") - line.count("\ufffd".encode())
        return text

    def _wide(self, file: BinaryIO, encoding: str) -> Iterator[tuple[int, str]]:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        number, rest = 0, ""
        while True:
            chunk = file.read(1 << 20)
            # Lines are cut here, since str.splitlines would also cut at U+2028.
            *lines, rest = (rest + decoder.decode(chunk, final=not chunk)).split("\n")
            if not chunk and rest:
                lines, rest = [*lines, rest], ""
            for line in lines:
                number += 1
                self._lines[encoding.removesuffix("-le").removesuffix("-be")] += 1
                self._bad += line.count("\ufffd")
                yield number, line.removeprefix("\ufeff").rstrip("\r") if number == 1 else line.rstrip("\r")
            if not chunk:
                return
            if len(rest) > LONGEST_LINE:
                self._too_long(number + 1, rest[:200].encode("utf-8", "replace"))
                rest = ""

    def _too_long(self, number: int, line: bytes) -> None:
        self.problems.append(
            Problem(
                "line too long",
                f"the line has more than {LONGEST_LINE // 1024 // 1024} MiB; put one row on a line",
                str(number),
                line[:200].decode("utf-8", "replace"),
            )
        )


def utf16(head: bytes) -> str:
    """`utf-16-le` or `utf-16-be` where the first bytes of a file say so, by their mark or by where zeros stand."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if max(even, odd) < _FEWEST_ZEROS:
        return ""
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return ""


def _western(line: bytes) -> bool:
    """Are all high bytes what Windows-1252 has for Western European text, and none part of a UTF-8 sequence?"""
    high = [byte for byte in line if byte >= 0x80]
    if not all(byte in _LATIN for byte in high):
        return False
    good = line.decode("utf-8", "ignore")
    return good.isascii()
