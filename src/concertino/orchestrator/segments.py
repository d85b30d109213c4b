"""A turn of a user's -> what it asks for, one segment for each thing. Reads the words alone; no model has a say.

A segment is a stretch of the turn with one thing that is asked (a question, or an order such as "write") and the
statements, code and choices that belong to it. Every rule here is for English.
"""

import itertools
from collections.abc import Iterator

from msgspec import Struct, structs

from concertino.orchestrator import segment_words as english

LONGEST = 12_000
"""Characters. A longer turn brings material to work on, and is one request."""

_Spans = list[tuple[int, int]]


class Segment(Struct, frozen=True):
    """A stretch `[start, end)` of the turn; `text` is it without the words that tie it to what stands before."""

    text: str
    start: int
    end: int
    item: bool = False
    """It is an item of a list."""
    asks: bool = True
    """A question or an order stands in it."""
    follows: bool = False
    """It is tied to what stands before by "then" or the like."""
    leans: bool = False
    """It speaks of something that stands before it."""
    leans_on_all: bool = False

    @property
    def words(self) -> int:
        return len(english.WORD.findall(self.text))

    @property
    def own_words(self) -> int:
        """Words that say what it is about."""
        return sum(len(word) > 2 and not english.COMMON.fullmatch(word) for word in english.WORD.findall(self.text))


class Segments(Struct, frozen=True):
    """What a turn asks for, in order. `listed`: it is an explicit list of tasks. `lead`: what stands before the list
    and belongs to every item of it."""

    found: tuple[Segment, ...]
    listed: bool = False
    lead: str = ""


class _Piece(Struct, frozen=True):
    """A sentence, a part of one, or a line of material."""

    start: int
    end: int
    begins: int
    """Where its own words begin, after a connector or the mark of a list item."""
    asks: bool = False
    item: bool = False
    numbered: bool = False
    material: bool = False
    choice: bool = False
    """It is a line such as "B. neither"."""
    follows: bool = False
    continues: bool = False
    tied: bool = False
    """A connector stands before its own words."""
    works_on_rest: bool = False
    """It is an order to work on a text that follows."""
    paragraph: int = 0


def segment(text: str) -> Segments:
    """The things that a turn asks for; fewer than two where it is one request. Takes time in proportion to the text."""
    if len(text) > LONGEST or _is_dialogue(text) or english.GIVEN.match(text):
        return Segments(())
    quoted = [match.span() for match in english.QUOTED.finditer(text)]
    pieces = _with_stems(list(_pieces(text, quoted)))
    if sum(piece.asks and not piece.material for piece in pieces) < 2:
        return Segments(())
    lead, rest = _lead(text, pieces)
    found = tuple(_segment(text, group) for group in _groups(rest))
    items = [piece for piece in rest if piece.item]
    whole = [one for one in found if one.item]
    listed = (
        len(whole) > 1
        and all(one.asks and one.words >= 3 for one in whole)
        and (all(piece.numbered for piece in items) or all("?" in one.text for one in whole))
        and _announces(text, pieces)
    )
    return Segments(found, listed, lead)


def _is_dialogue(text: str) -> bool:
    """Whether the lines of speakers stand in it: then its questions are theirs."""
    speakers = english.SPEAKER.findall(text)
    return len(speakers) > len(set(speakers)) + 1


def _announces(text: str, pieces: list[_Piece]) -> bool:
    """Whether what stands before the first item, if anything, only says that a list follows."""
    first = next(piece.start for piece in pieces if piece.item)
    before = text[:first].strip()
    return len(english.WORD.findall(before)) <= english.ANNOUNCING_WORDS and bool(english.ANNOUNCES.match(before))


def _lead(text: str, pieces: list[_Piece]) -> tuple[str, list[_Piece]]:
    """What stands before a list and asks nothing itself, and the pieces after it."""
    first = next((place for place, piece in enumerate(pieces) if piece.item), 0)
    before = pieces[:first]
    if not before:
        return "", pieces
    if _announces(text, pieces):
        return "", pieces[first:]
    if any(piece.asks for piece in before):
        return "", pieces
    return text[: pieces[first].start].strip(), pieces[first:]


def _pieces(text: str, quoted: _Spans) -> Iterator[_Piece]:
    """The turn cut into sentences, parts of sentences, and lines of material."""
    paragraph, fenced, place = 0, False, 0
    inline = _inline_items(text)
    for line in text.splitlines(keepends=True):
        start, place = place, place + len(line)
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
            yield _Piece(start, place, start, material=True, paragraph=paragraph)
        elif not stripped:
            paragraph += not fenced
        elif fenced or english.CODE.match(line) or english.CHOICE.match(line):
            choice = not fenced and english.CHOICE.match(line) is not None
            yield _Piece(start, place, start, material=True, choice=choice, paragraph=paragraph)
        else:
            yield from _of_line(text, start, place, paragraph, inline, quoted)


def _with_stems(pieces: list[_Piece]) -> list[_Piece]:
    """A sentence that choices follow asks which of them is right, whatever its words."""
    after = (*pieces[1:], None)
    return [
        structs.replace(piece, asks=True, continues=False)
        if other is not None and other.choice and not piece.material
        else piece
        for piece, other in zip(pieces, after, strict=False)
    ]


def _inline_items(text: str) -> frozenset[int]:
    """Places of "1) ... 2) ..." within lines, if they count from one."""
    marks = [(match.start(), int(match.group(1))) for match in english.INLINE.finditer(text)]
    return (
        frozenset(place for place, _ in marks)
        if len(marks) > 1 and [number for _, number in marks] == list(range(1, len(marks) + 1))
        else frozenset()
    )


def _of_line(
    text: str, start: int, end: int, paragraph: int, inline: frozenset[int], quoted: _Spans
) -> Iterator[_Piece]:
    quoted = [span for span in quoted if span[0] < end and span[1] > start]
    cuts = [start, *(mark for mark in sorted(inline) if start < mark < end), end]
    for left, right in itertools.pairwise(cuts):
        mark = english.ITEM.match(text, left, right)
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


def _asked_apart(text: str, start: int, end: int, paragraph: int, quoted: _Spans) -> Iterator[_Piece]:
    """A sentence as one piece, or as several where each asks for something."""
    left = start
    for match in english.INNER.finditer(text, start, end):
        middle = match.end()
        if _inside(quoted, middle):
            continue
        one, other = _piece(text, left, middle, paragraph), _piece(text, middle, end, paragraph)
        begun = all(english.ASK.match(text, piece.begins, piece.end) for piece in (one, other))
        if begun and one.asks and other.asks and min(_count(text, one), _count(text, other)) >= 3:
            yield one
            left = middle
    yield _piece(text, left, end, paragraph)


def _count(text: str, piece: _Piece) -> int:
    return len(english.WORD.findall(text, piece.begins, piece.end))


def _piece(text: str, start: int, end: int, paragraph: int) -> _Piece:
    begins, follows = start, False
    while (opening := english.OPENING.match(text, begins, end)) and opening.end() < end:
        begins, follows = opening.end(), follows or opening.group("then") is not None
    continues = english.CONTINUES.match(text, begins, end) is not None
    asks = not continues and (
        "?" in text[begins:end]
        or english.ASK.match(text, begins, end) is not None
        or english.ASK_AFTER_IF.search(text, begins, end) is not None
    )
    order = english.WORKS_ON.match(text, begins, end)
    return _Piece(
        start,
        end,
        begins,
        asks=asks,
        follows=follows,
        continues=continues,
        tied=begins > start,
        works_on_rest=(order is not None and _brings(text, order.end(), end))
        or english.FOLLOWING.match(text, begins, end) is not None,
        paragraph=paragraph,
    )


def _brings(text: str, start: int, end: int) -> bool:
    """Whether a text to work on follows an order: after a colon, or on the next line."""
    blank_after = text[end : end + 1] in ("", "\n")
    return english.BRINGS.search(text[start:end].rstrip() if blank_after else text[start:end]) is not None


def _groups(pieces: list[_Piece]) -> list[list[_Piece]]:
    """One group of neighbours for each thing that is asked, with what belongs to it."""
    groups: list[list[_Piece]] = []
    pending: list[_Piece] = []
    working: _Piece | None = None
    for place, piece in enumerate(pieces):
        if working is not None and not (piece.tied and piece.paragraph > working.paragraph):
            groups[-1].append(piece)
            continue
        working = piece if piece.works_on_rest and piece.asks and not piece.item else None
        inside = groups[-1] if groups and not pending else None
        in_item = inside is not None and inside[0].item and piece.paragraph == inside[0].paragraph
        if piece.item or (piece.asks and not in_item):
            groups.append([*pending, piece])
            pending = []
        elif inside is not None and (
            in_item or piece.material or piece.continues or not _asked_later(pieces[place:], piece)
        ):
            inside.append(piece)
        else:
            pending.append(piece)
    if pending and groups:
        groups[-1].extend(pending)
    return groups


def _asked_later(rest: list[_Piece], piece: _Piece) -> bool:
    """Whether something that is asked follows a statement, so that it may lead up to that."""
    return any(other.asks for other in rest if other.paragraph - piece.paragraph <= 1)


def _segment(text: str, group: list[_Piece]) -> Segment:
    first, start, end = group[0], group[0].start, group[-1].end
    words = text[first.begins : end].strip()
    asking = next((piece for piece in group if piece.asks), first)
    opening = " ".join(text[asking.begins : asking.end].split()[: english.LEAN_WORDS + 2])
    said = text[asking.begins : asking.end]
    near = said if first.follows else opening
    # What a statement of the same segment has named is what its "it" means.
    leans = start > 0 and first is asking and english.LEANS.search(english.EXPLETIVE.sub(" ", near)) is not None
    on_all = start > 0 and first is asking and english.LEANS_ON_ALL.search(said) is not None
    return Segment(
        words,
        start,
        end,
        item=first.item,
        asks=any(piece.asks for piece in group),
        follows=first.follows,
        leans=leans or on_all,
        leans_on_all=on_all,
    )
