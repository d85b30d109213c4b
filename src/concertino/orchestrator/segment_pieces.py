"""A turn of a user's -> its pieces: sentences, parts of sentences that each ask for something, and lines of material.

What belongs together is settled afterwards, in segments.py. Every rule here is for English.
"""

import itertools
from collections.abc import Iterator

from msgspec import Struct, structs

from concertino.orchestrator import segment_nouns as nouns
from concertino.orchestrator import segment_words as english
from concertino.orchestrator.segment_marks import inline_items

_MOST_OPENINGS = 6
"""Words such as "and then, please" that are read off the front of a piece."""

_Spans = list[tuple[int, int]]


class Piece(Struct, frozen=True):
    """A sentence, a part of one, or a line of material."""

    start: int
    end: int
    begins: int
    """Where its own words begin, after a connector or the mark of a list item."""
    asks: bool = False
    item: bool = False
    numbered: bool = False
    material: bool = False
    delimited: bool = False
    """It is material whose marks show where it ends."""
    choice: bool = False
    """It is a line such as "B. neither"."""
    follows: bool = False
    apart: bool = False
    """It begins another subject."""
    continues: bool = False
    works_on_rest: bool = False
    """It is an order to work on a text that follows."""
    paragraph: int = 0


def pieces_of(text: str) -> list[Piece]:
    """The turn's pieces in order; together they are the whole of it, blank lines aside."""
    quoted = [match.span() for match in english.QUOTED.finditer(text)]
    return _with_stems(list(_cut(text, quoted)))


def _cut(text: str, quoted: _Spans) -> Iterator[Piece]:
    """The turn cut into sentences, parts of sentences, and lines of material."""
    paragraph, fenced, place = 0, False, 0
    inline = inline_items(text)
    for line in text.splitlines(keepends=True):
        start, place = place, place + len(line)
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
            yield Piece(start, place, start, material=True, delimited=True, paragraph=paragraph)
        elif not stripped:
            paragraph += not fenced
        elif fenced or stripped.startswith(">") or english.CODE.match(line):
            marked = fenced or stripped.startswith(">")
            yield Piece(start, place, start, material=True, delimited=marked, paragraph=paragraph)
        elif english.CHOICE.match(line) and start + line.index(stripped) not in inline:
            yield Piece(start, place, start, material=True, choice=True, paragraph=paragraph)
        else:
            yield from _of_line(text, start, place, paragraph, inline, quoted)


def _with_stems(pieces: list[Piece]) -> list[Piece]:
    """A sentence that choices follow asks which of them is right, whatever its words."""
    after = (*pieces[1:], None)
    return [
        structs.replace(piece, asks=True, continues=False)
        if other is not None and other.choice and not piece.material
        else piece
        for piece, other in zip(pieces, after, strict=False)
    ]


def _of_line(
    text: str, start: int, end: int, paragraph: int, inline: frozenset[int], quoted: _Spans
) -> Iterator[Piece]:
    quoted = [span for span in quoted if span[0] < end and span[1] > start]
    cuts = [start, *(mark for mark in sorted(inline) if start < mark < end), end]
    for left, right in itertools.pairwise(cuts):
        mark = english.ITEM.match(text, left, right) or (
            english.LETTERED.match(text, left, right) if left in inline else None
        )
        is_item = mark is not None and (mark.group("number") is not None or left == start)
        for place, (one, other) in enumerate(_sentences(text, mark.end() if mark and is_item else left, right, quoted)):
            begins_item = is_item and place == 0
            for piece in _asked_apart(text, one, other, paragraph, quoted):
                if begins_item:
                    assert mark is not None
                    numbered = mark.group("number") is not None
                    piece = structs.replace(piece, start=left, item=True, numbered=numbered)
                    begins_item = False
                yield piece


def _inside(quoted: _Spans, place: int) -> bool:
    return any(start < place < end for start, end in quoted)


def _sentences(text: str, start: int, end: int, quoted: _Spans) -> Iterator[tuple[int, int]]:
    left = start
    for match in english.BOUNDARY.finditer(text, start, end):
        before, after = text[left : match.end()], text[match.end() : match.end() + 1]
        sure = (
            "?" in match.group()
            or after.isupper()
            or english.ASK.match(text, match.end(), end)
            or english.OPENING.match(text, match.end(), end)
        )
        if match.end() < end and sure and not _inside(quoted, match.start()) and not english.ABBREVIATED.search(before):
            yield left, match.end()
            left = match.end()
    if text[left:end].strip():
        yield left, end


def _asked_apart(text: str, start: int, end: int, paragraph: int, quoted: _Spans) -> Iterator[Piece]:
    """A sentence as one piece, or as several where each asks for something."""
    left, noun = start, False
    for match in english.INNER.finditer(text, start, end):
        middle = match.end()
        begins = _opening(text, middle, end)[0]
        asked, named = english.ASK.match(text, begins, end) is not None, nouns.asks(text, begins, end)
        if not (asked or named) or _inside(quoted, middle):
            continue
        one, other = _piece(text, left, middle, paragraph, noun), _piece(text, middle, end, paragraph)
        if not (_has_words(text, one) and _has_words(text, other)):
            continue
        if asked and one.asks and other.asks and english.ASK.match(text, one.begins, one.end):
            yield one
            left, noun = middle, False
        elif (
            named
            and nouns.follows(text, one.begins, match.start(), begins)
            and (one.asks or (left == 0 and nouns.asks(text, one.begins, middle)))
        ):
            yield structs.replace(one, asks=True)
            left, noun = middle, True
    yield _piece(text, left, end, paragraph, noun)


def _opening(text: str, start: int, end: int) -> tuple[int, bool, bool]:
    """Where a piece's own words begin, and whether those before say that it follows, and that it is another subject."""
    begins, follows, apart = start, False, False
    for _ in range(_MOST_OPENINGS):
        opening = english.OPENING.match(text, begins, end)
        if opening is None or opening.end() >= end:
            break
        begins, follows = opening.end(), follows or opening.group("then") is not None
        apart = apart or opening.group("apart") is not None
    return begins, follows, apart


def _has_words(text: str, piece: Piece) -> bool:
    """Whether it has as many as something that is asked for takes."""
    return sum(1 for _ in itertools.islice(english.WORD.finditer(text, piece.begins, piece.end), 3)) == 3


def _piece(text: str, start: int, end: int, paragraph: int, noun: bool = False) -> Piece:
    begins, follows, apart = _opening(text, start, end)
    begun = "?" in text[begins:end] or english.ASK.match(text, begins, end) is not None
    continues = english.CONTINUES.match(text, begins, end) is not None or (
        not begun and english.AFTER_COMMA.match(text, begins, end) is not None
    )
    noun = noun or (begins > start > 0 and not continues and nouns.asks(text, begins, end))
    asks = noun or (not continues and (begun or english.ASK_AFTER_IF.search(text, begins, end) is not None))
    order = english.WORKS_ON.match(text, begins, end)
    return Piece(
        start,
        end,
        begins,
        asks=asks,
        follows=follows,
        apart=apart,
        continues=continues,
        works_on_rest=(order is not None and _brings(text, order.end(), end))
        or english.FOLLOWING.match(text, begins, end) is not None,
        paragraph=paragraph,
    )


def _brings(text: str, start: int, end: int) -> bool:
    """Whether a text to work on follows an order: after a colon, or on the next line."""
    blank_after = text[end : end + 1] in ("", "\n")
    return english.BRINGS.search(text[start:end].rstrip() if blank_after else text[start:end]) is not None
