"""A turn of a user's -> what it asks for, one segment for each thing. Reads the words alone; no model has a say.

A segment is a stretch of the turn with one thing that is asked (a question, or an order such as "write") and the
statements, code and choices that belong to it. Every rule here is for English.
"""

import itertools
from collections.abc import Iterator

from msgspec import Struct, structs

from concertino.orchestrator import segment_words as english
from concertino.orchestrator.segment_marks import announces
from concertino.orchestrator.segment_pieces import Piece, pieces_of

LONGEST = 12_000
"""Characters. A longer turn brings material to work on, and is one request."""

MOST_CONTEXT = 1_000
"""Characters that a segment is given from before others."""
MOST_WITH_CONTEXT = 24
"""Segments; a turn with more has more than is carried out."""


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
    context: str = ""
    """What stands before other segments and is said for this one too: how to answer, and the facts of the case."""

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


def segment(text: str) -> Segments:
    """The things that a turn asks for; fewer than two where it is one request. Takes time in proportion to the text."""
    if len(text) > LONGEST or _is_dialogue(text) or english.GIVEN.match(text):
        return Segments(())
    pieces = pieces_of(text)
    if sum(piece.asks and not piece.material for piece in pieces) < 2:
        return Segments(())
    lead, rest, announced = _lead(text, pieces)
    if sum(piece.asks and not piece.material for piece in rest) < 2:
        return Segments(())
    found = tuple(_segments(text, _groups(rest)))
    items = [piece for piece in rest if piece.item]
    whole = [one for one in found if one.item]
    listed = (
        len(whole) > 1
        and all(one.asks and one.words >= 3 for one in whole)
        and (all(piece.numbered for piece in items) or all("?" in one.text for one in whole))
        and announced
    )
    return Segments(found, listed, lead)


def _is_dialogue(text: str) -> bool:
    """Whether the lines of speakers stand in it: then its questions are theirs."""
    speakers = english.SPEAKER.findall(text)
    return len(speakers) > len(set(speakers)) + 1


def _lead(text: str, pieces: list[Piece]) -> tuple[str, list[Piece], bool]:
    """What stands before a list and holds for all of it, the pieces that may ask for something, and whether nothing but
    a list is announced."""
    first = next((place for place, piece in enumerate(pieces) if piece.item), 0)
    before = pieces[:first]
    if not before:
        return "", pieces, True
    orders = [piece for piece in before if _orders(text, piece)]
    if orders:
        own = orders[-1] is before[-1] and english.CONTENT_FOLLOWS.search(text[before[-1].start : before[-1].end])
        about = any(english.ABOUT_LIST.search(text, piece.start, piece.end) for piece in orders)
        return "", _as_content(pieces, first) if own or about else pieces, False
    said = text[before[0].start : before[-1].end].strip()
    short = len(english.WORD.findall(said)) <= english.ANNOUNCING_WORDS
    telling = _telling(text, before)
    announced = not telling or (short and english.ANNOUNCES.match(said) is not None)
    lead = text[telling[0].start : telling[-1].end].strip() if telling else ""
    return lead, pieces[first:], announced


def _orders(text: str, piece: Piece) -> bool:
    """Whether it asks for something of its own, or tells of a list as a whole; not just for what the list says."""
    own = piece.asks or english.ABOUT_LIST.search(text, piece.start, piece.end) is not None
    how = _says_how(text, piece) or english.ANNOUNCING_ORDER.match(text, piece.begins) is not None
    return own and not how and not announces(text, piece.begins, piece.end)


def _telling(text: str, pieces: list[Piece]) -> list[Piece]:
    """From the first to the last that says more than that a list or a question follows."""
    told = [place for place, piece in enumerate(pieces) if not announces(text, piece.begins, piece.end)]
    return pieces[told[0] : told[-1] + 1] if told else []


def _as_content(pieces: list[Piece], first: int) -> list[Piece]:
    """The pieces with a list, up to the end of its last item's paragraph, as material of the order before it."""
    last = max(piece.paragraph for piece in pieces if piece.item)
    return [
        structs.replace(piece, asks=False, item=False, material=True)
        if place >= first and piece.paragraph <= last
        else piece
        for place, piece in enumerate(pieces)
    ]


def _groups(pieces: list[Piece]) -> list[list[Piece]]:
    """One group of neighbours for each thing that is asked, with what belongs to it."""
    groups: list[list[Piece]] = []
    pending: list[Piece] = []
    working, ends = False, None
    for place, piece in enumerate(pieces):
        if working:
            ends = piece.delimited if ends is None else ends
            if piece.delimited or not ends:
                groups[-1].append(piece)
                continue
        working, ends = piece.works_on_rest and piece.asks and not piece.item, None
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


def _asked_later(rest: list[Piece], piece: Piece) -> bool:
    """Whether something that is asked follows a statement, so that it may lead up to that."""
    return any(other.asks for other in rest if other.paragraph - piece.paragraph <= 1)


def _segments(text: str, groups: list[list[Piece]]) -> Iterator[Segment]:
    """A segment for each group, with what statements before the questions of earlier ones say for it too."""
    heads: list[list[Piece]] = []
    for place, group in enumerate(groups):
        first = group[0]
        if place >= MOST_WITH_CONTEXT:
            heads = []
        if first.apart:
            heads = [[piece for piece in head if _says_how(text, piece)] for head in heads]
        yield _segment(text, group, _context(text, heads, _is_personal(text[first.begins : group[-1].end])))
        head = list(itertools.takewhile(lambda piece: not (piece.asks or piece.material or piece.item), group))
        if len(head) < len(group):
            heads.append(_telling(text, head))


def _context(text: str, heads: list[list[Piece]], personal: bool) -> str:
    paragraphs: list[str] = []
    for head in heads:
        said = text[head[0].begins : head[-1].end].strip() if head else ""
        if personal and _is_personal(said):
            paragraphs.append(said)
        else:
            paragraphs += [text[piece.begins : piece.end].strip() for piece in head if _says_how(text, piece)]
    return "\n\n".join(paragraphs)[:MOST_CONTEXT]


def _says_how(text: str, piece: Piece) -> bool:
    return any(rule.match(text, piece.begins, piece.end) for rule in (english.TERMS, english.AFTER_COMMA))


def _is_personal(said: str) -> bool:
    return english.PERSONAL.search(english.IMPERSONAL.sub(" ", said)) is not None


def _segment(text: str, group: list[Piece], context: str) -> Segment:
    first, start, end = group[0], group[0].start, group[-1].end
    words = text[first.begins : end].strip()
    asking = next((piece for piece in group if piece.asks), first)
    brought = english.BROUGHT_BELOW if any(piece.material for piece in group) else english.BROUGHT
    said = brought.sub(" ", text[asking.begins : asking.end])
    opening = " ".join(said.split()[: english.LEAN_WORDS + 2])
    near = english.EXPLETIVE.sub(" ", said if first.follows else opening)
    # What a statement of the same segment has named is what its "it" means.
    can_lean = start > 0 and first is asking
    leans = can_lean and bool(english.LEANS.search(near) or english.LEANS_ON_SOMEBODY.match(said))
    on_all = can_lean and english.LEANS_ON_ALL.search(said) is not None
    return Segment(
        words,
        start,
        end,
        item=first.item,
        asks=any(piece.asks for piece in group),
        follows=first.follows,
        leans=leans or on_all,
        leans_on_all=on_all,
        context="" if leans or on_all else context,
    )
