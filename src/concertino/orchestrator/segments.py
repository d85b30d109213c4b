"""A turn of a user's -> what it asks for, one segment for each thing. Reads the words alone; no model has a say.

A segment is a stretch of the turn with one thing that is asked (a question, or an order such as "write") and the
statements, code and choices that belong to it. Every rule here is for English.
"""

import itertools
import re
from collections.abc import Iterator

from msgspec import Struct, structs

LONGEST = 12_000
"""Characters. A longer turn brings material to work on, and is one request."""

_VERBS = (
    "add|advise|analy[sz]e|answer|brainstorm|build|calculate|check|clarify|classify|come up|compare|complete|compose|"
    "compute|convert|correct|create|debug|define|derive|describe|design|determine|discuss|draft|draw up|estimate|"
    "evaluate|explain|extract|find|fix|generate|give|help|identify|implement|improve|interpret|justify|list|make|"
    "name|optimi[sz]e|outline|paraphrase|plan|propose|prove|recommend|refactor|remind|rephrase|review|rewrite|"
    "shorten|show|simplify|sketch|solve|sort|suggest|summari[sz]e|teach|tell|test|translate|turn|walk|work out|write"
)
_ASKS = (
    r"(?:(?:can|could|would|will) (?:you|i|we|someone|he|she|they|it|my|the|an?)\b|"
    r"(?:i|we)(?:'d| would)? (?:need|want|like|love|wonder|am wondering|have to know)\b|i'm wondering\b|"
    r"(?:what|what's|whats|how|how's|why|who|whom|whose|when|where|which)\b|"
    r"(?:is|are|am|was|were|do|does|did|has|have|should|may|must) (?:i|we|you|he|she|they|it|there|this|that|my|the|"
    r"an?|your|our)\b)"
)
_POLITE = r"(?:please[,:]? |kindly |now,? |hi[,!.]? |hello[,!.]? |hey[,!.]? |so,? |just |maybe |ok(?:ay)?[,.]? )*"
_THEN = r"(?:and )?(?:then|afterwards?|after (?:that|this)|next|finally|lastly|in the end|once (?:that|this) is done)"
_ALSO = (
    r"(?:(?:and |oh,? (?:and )?|but )?(?:also|additionally|in addition|besides(?: that| this)?|furthermore|moreover|"
    r"separately|apart from that|on another note|on a different (?:note|topic)|unrelated(?:ly)?|"
    r"another (?:thing|question)|one (?:more|other|last) (?:thing|question)|"
    r"my (?:second|other|next|third|last) question(?: is)?|"
    r"while you(?:'re| are) at it|meanwhile|at the same time|(?:first|second|third|fourth|fifth)(?:ly)?|"
    r"to (?:begin|start) with)|oh,? and|and|plus|as well as)"
)
_OPENING = re.compile(rf"\s*(?:(?P<then>{_THEN})|{_ALSO})\b[\s,:;.\-–—]*", re.IGNORECASE)
_ASK = re.compile(rf"\s*{_POLITE}(?:(?:{_VERBS})\b|{_ASKS})", re.IGNORECASE)
_ASK_AFTER_IF = re.compile(rf",\s+{_POLITE}(?:{_VERBS})\b", re.IGNORECASE)
_INNER = re.compile(
    rf"(?:[,;:]|\s[-–—])?\s+(?={_THEN}\b|{_ALSO}\b)|;\s+|,\s+(?={_POLITE}(?:{_VERBS})\b)|\s[-–—]\s", re.IGNORECASE
)
"""Where a sentence may fall in two, if a thing is asked on either side."""
_BOUNDARY = re.compile(r"[.!?]+[\"')\]]*\s+|\n+")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs?|mr|mrs|ms|dr|prof|st|no|art|sec|cf|inc|ltd|co|u\.s|approx)|\b(?-i:[A-Z]))\.\s*$",
    re.IGNORECASE,
)
_ITEM = re.compile(r"[ \t]{0,3}(?:\(?(?P<number>\d{1,2})[.):]|[-*•–])[ \t]+(?=\S)")
_INLINE = re.compile(r"(?:(?<=\s)|^)\(?([1-9])[.)][ \t]+(?=[A-Za-z])", re.MULTILINE)
_CHOICE = re.compile(r"[ \t]*\(?[A-Ja-j][.):][ \t]+\S")
_CODE = re.compile(
    r"(?:\t| {4,})\S|[ \t]*(?:>>>|\.\.\. |\$ |#include|@\w+$|def \w+\(|class \w+[:(]|import \w+$|from [\w.]+ import|"
    r"return\b|assert\b|[{}\])]+[;,]?$|<\/?\w+[^>]*>|//|/\*)"
)
_CONTINUES = re.compile(
    r"\s*(?:please )?(?:(?:answer|reply|respond|explain|write|show|begin|start|end|finish) (?:with|in|only|as|by|"
    r"using|each|briefly|both|all|"
    r"your|step|that|this|it)\b|"
    r"use|keep|be|don't|do not|make sure|make it|include|assume|only|limit|format|no |thanks|thank you|it|it's|they|"
    r"these|"
    r"the (?:function|answers?|result|output|input|code|program|first|second|other)\b|"
    r"(?:can|could) you (?:please )?help(?: me)?(?: with (?:this|that|it))?\s*\?|any (?:ideas?|help|thoughts)|"
    r"(?:is|does) (?:that|this)\b|what do you think|for example|e\.g\.)(?:\b|(?<=\W))",
    re.IGNORECASE,
)
"""How a sentence begins that only says more about what was asked before it."""
_LEANS = re.compile(
    r"\b(?:it|its|them|their|those|both|everything|the (?:above|former|latter|previous|answers?|results?|summary)"
    r"(?! of\b)|(?:do|does|did|is|was|can|could|would|about|with|from|use|turn|make|explain|translate|summari[sz]e|"
    r"rewrite) (?:this|that)|(?:this|that)(?=\W*$|[?.,;!]))\b",
    re.IGNORECASE,
)
_LEANS_ON_ALL = re.compile(
    r"\b(?:both|everything|all (?:of (?:it|this|that|them|these|the above)|the above|three|four|answers)|"
    r"the (?:above|answers|results))\b",
    re.IGNORECASE,
)
_EXPLETIVE = re.compile(
    r"\b(?:(?:is|was|would|does|can|if|that|when|whether|how long) it|it(?:'s| is| was| would be| takes?)) "
    r"(?:\w+ ){0,2}(?:to|that|for|when|if|take|mean|rain\w*)\b|"
    r"\b(?:this|that) (?:year|month|week|morning|evening|time)\b|`[^`]*`|\"[^\"]*\"",
    re.IGNORECASE,
)
"""Words that look as if they pointed back, and do not."""
_LEAN_WORDS = 6
_ANNOUNCES = re.compile(
    r"\s*(?:$|(?:please|hi|hello|hey|help|can you|could you|would you|i need|i want|i have|i'd like|answer|do|tackle|"
    r"here|these|a few|some|several|two|three|four|five|six|my|questions?|tasks?|todo|to do|the following)\b)",
    re.IGNORECASE,
)
_ANNOUNCING_WORDS = 16
_SPEAKER = re.compile(r"^[ \t]*([A-Z][\w ]{0,24}):[ \t]", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+")
_COMMON = re.compile(
    r"the|and|for|but|not|you|your|can|could|would|will|should|shall|may|might|must|what|whats|how|why|who|whom|"
    r"whose|when|where|which|are|was|were|been|being|does|did|done|has|have|had|get|got|that|this|these|those|"
    r"they|them|their|there|then|than|his|her|him|she|its|our|out|any|all|one|two|much|many|more|most|some|such|"
    r"very|too|also|just|only|now|old|about|with|from|into|over|please|help|need|want|know|tell|think|make|made|"
    r"like|going|good|right|thing|things",
    re.IGNORECASE,
)
"""Words that say nothing of what a question is about."""


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
        return len(_WORD.findall(self.text))

    @property
    def own_words(self) -> int:
        """Words that say what it is about."""
        return sum(len(word) > 2 and not _COMMON.fullmatch(word) for word in _WORD.findall(self.text))


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
    paragraph: int = 0


def segment(text: str) -> Segments:
    """The things that a turn asks for; fewer than two where it is one request. Takes time in proportion to the text."""
    if len(text) > LONGEST or _is_dialogue(text):
        return Segments(())
    pieces = _with_stems(list(_pieces(text)))
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
    speakers = _SPEAKER.findall(text)
    return len(speakers) > len(set(speakers)) + 1


def _announces(text: str, pieces: list[_Piece]) -> bool:
    """Whether what stands before the first item, if anything, only says that a list follows."""
    first = next(piece.start for piece in pieces if piece.item)
    before = text[:first].strip()
    return len(_WORD.findall(before)) <= _ANNOUNCING_WORDS and bool(_ANNOUNCES.match(before))


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


def _pieces(text: str) -> Iterator[_Piece]:
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
        elif fenced or _CODE.match(line) or _CHOICE.match(line):
            choice = not fenced and _CHOICE.match(line) is not None
            yield _Piece(start, place, start, material=True, choice=choice, paragraph=paragraph)
        else:
            yield from _of_line(text, start, place, paragraph, inline)


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
    marks = [(match.start(), int(match.group(1))) for match in _INLINE.finditer(text)]
    return (
        frozenset(place for place, _ in marks)
        if len(marks) > 1 and [number for _, number in marks] == list(range(1, len(marks) + 1))
        else frozenset()
    )


def _of_line(text: str, start: int, end: int, paragraph: int, inline: frozenset[int]) -> Iterator[_Piece]:
    cuts = [start, *(mark for mark in sorted(inline) if start < mark < end), end]
    for left, right in itertools.pairwise(cuts):
        mark = _ITEM.match(text, left, right)
        is_item = mark is not None and (mark.group("number") is not None or left == start)
        for place, (one, other) in enumerate(_sentences(text, mark.end() if mark and is_item else left, right)):
            begins_item = is_item and place == 0
            for piece in _asked_apart(text, one, other, paragraph):
                if begins_item:
                    assert mark is not None
                    numbered = mark.group("number") is not None
                    piece = structs.replace(piece, start=left, item=True, numbered=numbered)
                    begins_item = False
                yield piece


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    left = start
    for match in _BOUNDARY.finditer(text, start, end):
        before, after = text[left : match.end()], text[match.end() : match.end() + 1]
        sure = (
            "?" in match.group()
            or after.isupper()
            or _ASK.match(text, match.end(), end)
            or _OPENING.match(text, match.end(), end)
        )
        if match.end() < end and sure and not _ABBREVIATED.search(before):
            yield left, match.end()
            left = match.end()
    if text[left:end].strip():
        yield left, end


def _asked_apart(text: str, start: int, end: int, paragraph: int) -> Iterator[_Piece]:
    """A sentence as one piece, or as several where each asks for something."""
    left = start
    for match in _INNER.finditer(text, start, end):
        middle = match.end()
        one, other = _piece(text, left, middle, paragraph), _piece(text, middle, end, paragraph)
        begun = all(_ASK.match(text, piece.begins, piece.end) for piece in (one, other))
        if begun and one.asks and other.asks and min(_count(text, one), _count(text, other)) >= 3:
            yield one
            left = middle
    yield _piece(text, left, end, paragraph)


def _count(text: str, piece: _Piece) -> int:
    return len(_WORD.findall(text, piece.begins, piece.end))


def _piece(text: str, start: int, end: int, paragraph: int) -> _Piece:
    begins, follows = start, False
    while (opening := _OPENING.match(text, begins, end)) and opening.end() < end:
        begins, follows = opening.end(), follows or opening.group("then") is not None
    continues = _CONTINUES.match(text, begins, end) is not None
    asks = not continues and (
        "?" in text[begins:end]
        or _ASK.match(text, begins, end) is not None
        or _ASK_AFTER_IF.search(text, begins, end) is not None
    )
    return _Piece(start, end, begins, asks=asks, follows=follows, continues=continues, paragraph=paragraph)


def _groups(pieces: list[_Piece]) -> list[list[_Piece]]:
    """One group of neighbours for each thing that is asked, with what belongs to it."""
    groups: list[list[_Piece]] = []
    pending: list[_Piece] = []
    for place, piece in enumerate(pieces):
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
    opening = " ".join(text[asking.begins : asking.end].split()[: _LEAN_WORDS + 2])
    said = text[asking.begins : asking.end]
    near = said if first.follows else opening
    # What a statement of the same segment has named is what its "it" means.
    leans = start > 0 and first is asking and _LEANS.search(_EXPLETIVE.sub(" ", near)) is not None
    on_all = start > 0 and first is asking and _LEANS_ON_ALL.search(said) is not None
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
