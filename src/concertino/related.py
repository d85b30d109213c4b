"""The rows of a table, or the sentences of a text, that share most words with a question.

Small models read a few hundred tokens well and pay for each. Units are ranked by the inverse document frequency of the
words that they share with the question (Spärck Jones 1972), the units of the one field being the documents, and kept in
their order while they fit.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=\S)")
_YEAR = re.compile(r"\(?(?:19|20)\d\d\)?")
_NUMBER = re.compile(r"[-\u2012-\u2014\u2212($€£\s]*\d[\d,.]*[%)\s]*")
_MOST_HEADERS = 4
_COMMON_WORDS = """
a an and are as at be by did do does for from how in is it its of on or that the their this to was were what which with
"""
_COMMON = frozenset(_COMMON_WORDS.split())


class Unit(Struct, frozen=True):
    """A row or a sentence."""

    text: str
    header: bool = False
    """Kept whatever the question is."""
    under: int | None = None
    """The place of the row that stands above it as a heading, and is kept with it."""


def sentences(text: str) -> list[Unit]:
    """The sentences of a text, or what ends in a semicolon, in order, each once."""
    return [Unit(piece) for piece in dict.fromkeys(_SENTENCE.split(text)) if piece.strip()]


def table_rows(rows: Sequence[Sequence[str]]) -> list[Unit]:
    """A table's rows as lines of cells between bars.

    Headers are the first rows without a number beyond the first column, years aside, four at most. A row with nothing
    beyond its first column is, after a header that has something there, a heading of the rows that follow.
    """
    units: list[Unit] = []
    heading: int | None = None
    in_header, named = True, False
    for row in rows:
        line = "|".join(row).rstrip("|")
        beyond = any(row[1:])
        in_header = in_header and len(units) < _MOST_HEADERS and (beyond or not named)
        in_header = in_header and not any(map(_is_number, row[1:]))
        named = named or beyond
        if in_header:
            units.append(Unit(line, header=True))
        elif beyond:
            units.append(Unit(line, under=heading))
        else:
            heading = len(units)
            units.append(Unit(line))
    return units


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell)) and not _YEAR.fullmatch(cell)


def most_related(units: Sequence[Unit], question: str, characters: int) -> list[str]:
    """The texts of the units that share most words with the question, in the units' order.

    Headers first, then as many as `characters` hold, one more counted for each unit; among equals the first.
    """
    if sum(map(_length, units)) <= characters:
        return [unit.text for unit in units]
    bags = [_terms(unit.text if unit.under is None else f"{units[unit.under].text} {unit.text}") for unit in units]
    spread = Counter(term for bag in bags for term in bag)
    asked = _terms(question)
    scores = [math.fsum(math.log(1 + len(units) / spread[term]) for term in bag & asked) for bag in bags]
    kept = {place for place, unit in enumerate(units) if unit.header}
    room = characters - sum(_length(units[place]) for place in kept)
    for place in sorted(range(len(units)), key=lambda place: (-scores[place], place)):
        under = units[place].under
        wanted = {place} - kept if under is None else {place, under} - kept
        cost = sum(_length(units[each]) for each in wanted)
        if cost <= room:
            kept |= wanted
            room -= cost
    return [units[place].text for place in sorted(kept)]


def _length(unit: Unit) -> int:
    return len(unit.text) + 1


def _terms(text: str) -> frozenset[str]:
    """Words without the commonest, and without the s of a plural."""
    words = (word for word in _WORD.findall(text.casefold()) if word not in _COMMON)
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] != "s" else word for word in words)
