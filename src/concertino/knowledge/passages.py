"""Passages: what the index holds and what an answer quotes. A passage is a verbatim stretch of whole sentences."""

import hashlib
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

PASSAGE_CHARACTERS = 800
OVERLAP_CHARACTERS = 200
"""A passage begins with the last sentence of the one before it, where that is no longer than this."""
TITLE_CHARACTERS = 120

_BREAK = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+(?=[\"'(\[“‘]?[A-Z0-9])|\s*\n\s*|\s+(?=[-•*] \S)")
_NOT_AN_END = re.compile(r"\b(?:[A-Z]|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Ss]t|vs|e\.g|i\.e|[Ff]ig|[Nn]o|[Aa]rt|[Ss]ec)\.\s*$")


class Passage(Struct, frozen=True):
    """A stretch of a file. `source` is what an answer cites, `place` where in it, such as `page 3` or `line 12`."""

    title: str
    text: str
    source: str
    place: str = ""

    @property
    def id(self) -> str:
        """16 hexadecimal digits of SHA-256 over title and text: the same words are one passage, wherever they stand."""
        return hashlib.sha256(f"{self.title}\0{self.text}".encode("utf-8", "replace")).hexdigest()[:16]


def sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence, line or bullet of a text begins and ends, without the blanks around it."""
    found, start = [], 0
    for gap in _BREAK.finditer(text):
        if "\n" not in gap.group() and _NOT_AN_END.search(text[max(start, gap.start() - 8) : gap.end()]):
            continue
        if text[start : gap.start()].strip():
            found.append((start, gap.end()))
        start = gap.end()
    if text[start:].strip():
        found.append((start, len(text)))
    return [_stripped(text, begin, end) for begin, end in found]


def _stripped(text: str, begin: int, end: int) -> tuple[int, int]:
    inner = text[begin:end]
    return begin + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def cut(text: str, title: str, source: str, place: str = "", characters: int = PASSAGE_CHARACTERS) -> list[Passage]:
    """Passages of about `characters`, each a verbatim stretch of whole sentences that overlaps with the one before."""
    spans = [piece for span in sentences(text) for piece in _pieces(text, span, characters)]
    stretches: list[tuple[int, int]] = []
    first = 0
    while first < len(spans):
        last = first
        while last + 1 < len(spans) and spans[last + 1][1] - spans[first][0] <= characters:
            last += 1
        stretches.append((spans[first][0], spans[last][1]))
        overlaps = last > first and spans[last][1] - spans[last][0] <= OVERLAP_CHARACTERS and last + 1 < len(spans)
        first = last if overlaps else last + 1
    return [Passage(title, text[begin:end], source, place) for begin, end in stretches]


def _pieces(text: str, span: tuple[int, int], characters: int) -> list[tuple[int, int]]:
    """A sentence that is longer than a passage, cut between words where it can be."""
    begin, end = span
    found = []
    while end - begin > characters:
        blank = text.rfind(" ", begin + characters // 2, begin + characters)
        stop = blank if blank > 0 else begin + characters
        found.append((begin, stop))
        begin = stop + 1 if blank > 0 else stop
    found.append((begin, end))
    return found


def overlapping(pieces: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(place, text) of a document's passages, each with the last sentence of the one before if that is short."""
    last = ""
    for place, text in pieces:
        yield place, f"{last}\n\n{text}" if last else text
        begin, end = (sentences(text) or [(0, 0)])[-1]
        last = text[begin:end] if 0 < end - begin <= OVERLAP_CHARACTERS and begin > 0 else ""


def title_of(text: str, otherwise: str) -> str:
    """What a document is called: its first line if that reads like a heading, else `otherwise`."""
    line = text.strip().split("\n", 1)[0].strip()
    heading = line.lstrip("#").strip()
    reads_like_one = line.startswith("#") or not heading.endswith((".", "!", ":", ";", ","))
    return heading if heading and len(heading) <= TITLE_CHARACTERS and reads_like_one else otherwise
