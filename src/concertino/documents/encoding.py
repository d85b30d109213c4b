"""Lines of a file in whatever encoding they are in: UTF-8, UTF-16, UTF-32 or Latin-1 (read as Windows-1252, which adds
to it).

Every line is tried as UTF-8 first. One that is not is read as Latin-1 where all its high bytes are letters or
signs of Western European text (and no sign such as ³ stands inside of a word, where it would be a letter of another
encoding), and where not, as UTF-8 with each bad byte replaced and counted: a file that was pasted together from several
encodings comes out right line by line, and nothing is guessed silently.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from concertino.documents.base import Encoding, Problem

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes; a longer line is passed over and reported, so that a file without newlines is not read into memory."""
_LATIN = frozenset({0x80, 0x85, *range(0x91, 0x98), *range(0xA0, 0xFF)} - {0xD7, 0xF7})
_LETTERS = rb"A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\xff"
_SIGN_IN_WORD = re.compile(rb"[%b][\xa1\xa3\xa5\xa6\xac\xaf\xb1\xb3\xb6\xb9\xbc\xbe\xbf]+[%b]" % (_LETTERS, _LETTERS))
"""Signs of Windows-1252 that are letters in the encodings of Central Europe, where letters stand on both sides."""
_OE = rb"(?:[UuIiDdTtSs]|[Cc][Uu]|[Nn][Oo][Ll])"
"""What follows on an oe in one letter, and in Polish never on the letter that other encodings have in its place."""
_IN_PLACE = re.compile(
    rb"(?<![%b])\x84(?=[A-Z0-9\xc0-\xd6\xd8-\xde]|[^\x84]*[\x93\x94\"](?![%b]))"
    rb"|(?<![%b])(?:\x82(?=[^\x82]*[\x91\x92])|\x8b(?=[^\x8b]*\x9b))|\x9b(?![%b])"
    rb"|(?<![a-z\xdf-\xff])\x8c(?=%b)|\x9c(?=%b)|(?<![%b])\x8a(?=[aeioktpv])"
    rb"|(?<=[0-9\s])\x89(?![%b])|(?<=[%b0-9)])\x99(?![%b])|(?<![%b])[\x86\x87\xd7\xf7](?![%b])"
    % (_LETTERS, _LETTERS, _LETTERS, _LETTERS, _OE, _OE, _LETTERS, _LETTERS, _LETTERS, _LETTERS, _LETTERS, _LETTERS)
)
"""Letters and signs of Windows-1252 that other encodings have letters for, where only those of Windows-1252 stand."""
_FROM_UTF8 = re.compile(r"[^\0-\x7f\u0200-\u02bf\u07c0-\u07ff]")
"""What only UTF-8 can have meant. A sharp s and a sign, as in `Gruß…`, are two bytes of Windows-1252 and a letter of
N'Ko in UTF-8; an accented capital and a hard blank are a letter of phonetics."""
_NKO_IN_WORD = re.compile(r"[A-Za-z][\u07c0-\u07ff](?![\u07c0-\u07ff])")
_ASCII = "ascii"
_PROBE = 4096
_LINE_PROBE = 1 << 16
"""Bytes by which lines that end in a carriage return alone are told."""
_FEWEST_ZEROS = 4
"""Zero bytes below which a file is not held to be UTF-16 without a mark."""


class LineReader:
    """Iterates over (line number, text without its newline) of a file. `report` afterwards says what was met.

    Lines end at a newline and nowhere else, since texts may hold U+2028 and its like; in a file that begins with
    carriage returns and no newline, as old Macs wrote them, at those.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: Counter[str] = Counter()
        self._bad = 0
        self.problems: list[Problem] = []

    def __iter__(self) -> Iterator[tuple[int, str]]:
        with self._path.open("rb") as file:
            head = file.read(_LINE_PROBE)
            file.seek(0)
            wide = wide_encoding(head[:_PROBE])
            end = _line_end(head.decode(wide or "latin-1", "replace"))
            yield from self._wide(file, wide, end) if wide else self._narrow(file if end == "\n" else _MacLines(file))

    @property
    def report(self) -> Encoding:
        """Lines of ASCII alone count to the encoding of the others, since they are the same in all."""
        lines = self._lines.copy()
        if plain := lines.pop(_ASCII, 0):
            lines["latin-1" if lines.keys() == {"latin-1"} else "utf-8"] += plain
        return Encoding(dict(lines), self._bad)

    def drain(self) -> list[Problem]:
        """Problems met since the last call."""
        problems, self.problems = self.problems, []
        return problems

    def _narrow(self, file: "BinaryIO | _MacLines") -> Iterator[tuple[int, str]]:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                self._too_long(number, line)
                while line and not line.endswith((b"\n", b"\r")):
                    line = file.readline(LONGEST_LINE)
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, self.decode(line).rstrip("\r\n")

    def decode(self, line: bytes) -> str:
        """The text of some bytes, counted."""
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        sharp = b"\xdf" in line and _NKO_IN_WORD.search(text)
        if text and not (sharp and _western(line)):
            self._lines[_ASCII if line.isascii() else "utf-8"] += 1
            return text
        if _western(line):
            self._lines["latin-1"] += 1
            return line.decode("cp1252", "replace")
        text = line.decode("utf-8", "replace")
        self._lines["utf-8"] += 1
        self._bad += text.count("\ufffd") - line.count("\ufffd".encode())
        return text

    def _wide(self, file: BinaryIO, encoding: str, end: str) -> Iterator[tuple[int, str]]:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        number, rest = 0, ""
        while True:
            chunk = file.read(1 << 20)
            # Lines are cut here, since str.splitlines would also cut at U+2028.
            *lines, rest = (rest + decoder.decode(chunk, final=not chunk)).split(end)
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


class _MacLines:
    """`readline` for a file whose lines end in a carriage return alone."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chunk, self._at = b"", 0

    def readline(self, most: int) -> bytes:
        while True:
            end = self._chunk.find(b"\r", self._at)
            if end >= 0 or len(self._chunk) - self._at >= most:
                break
            more = self._file.read(1 << 16)
            if not more:
                break
            self._chunk, self._at = self._chunk[self._at :] + more, 0
        end = min(end + 1 if end >= 0 else len(self._chunk), self._at + most)
        line, self._at = self._chunk[self._at : end], end
        return line


def _line_end(head: str) -> str:
    """What ends the lines of a file that begins so. A carriage return at the end may be one half of an end."""
    return "\r" if "\n" not in head and "\r" in head[:-1] else "\n"


def wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32, with `-le` or `-be`, where the first bytes of a file say so; else empty.

    They say so by their mark, and UTF-16 also by where zeros stand.
    """
    if head.startswith(codecs.BOM_UTF32_LE):  # which begins as the mark of UTF-16 does
        return "utf-32-le"
    if head.startswith(codecs.BOM_UTF32_BE):
        return "utf-32-be"
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
    high = [byte for byte in _IN_PLACE.sub(b" ", line) if byte >= 0x80]
    if not all(byte in _LATIN for byte in high) or _SIGN_IN_WORD.search(line):
        return False
    return not _FROM_UTF8.search(line.decode("utf-8", "ignore"))
