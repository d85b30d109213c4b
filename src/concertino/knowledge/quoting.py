"""Which sentences of a passage answer the question, verbatim."""

import re

from msgspec import Struct

from concertino.knowledge.index import Index
from concertino.knowledge.passages import Passage, sentences
from concertino.knowledge.search import Hit, information
from concertino.knowledge.terms import terms

QUOTE_CHARACTERS = 500
QUOTE_SENTENCES = 4
LIST_ITEMS = 8
"""A list may be quoted for longer than prose: its items are short."""
QUOTES = 2
_AS_GOOD = 0.9
"""A second passage is quoted where it is so likely beside the first."""
_SAME = 0.6
"""Share of words that two quotes may have in common."""
_LATER = 0.05
"""What starting a sentence later costs, against covering all that was asked: what is told first matters most."""
_HANGING = 0.1
"""What it costs to begin with a word that leans on the sentence before."""
_HANGS = re.compile(r"(?:It|Its|They|Their|These|This|Those|He|She|However|Other|Another|Also|But|And)\b")


class Quote(Struct, frozen=True):
    """A verbatim stretch of a passage, its blanks made single."""

    passage: Passage
    text: str


def quotes(index: Index, question: str, hits: list[Hit]) -> list[Quote]:
    """Up to two quotes: from the likeliest passage, and from another as likely that says something else."""
    found: list[Quote] = []
    for hit in hits:
        if hit.likelihood < _AS_GOOD * hits[0].likelihood or len(found) == QUOTES:
            break
        quote = Quote(hit.passage, best_sentences(index, question, hit.passage))
        if all(_overlap(quote.text, other.text) < _SAME for other in found):
            found.append(quote)
    return found


def best_sentences(index: Index, question: str, passage: Passage) -> str:
    """The run of sentences that holds most of what the title leaves open of the question; the earlier, the better."""
    asked = {term: information(index, term) for term in terms(question)}
    total = sum(asked.values()) or 1.0
    text, spans = passage.text, sentences(passage.text)
    best, best_score = (0, len(text)), float("-inf")
    for first, (begin, _) in enumerate(spans):
        if _is_heading(text, spans, first) and first + 1 < len(spans):
            continue
        end = _run_end(text, spans, first)
        there = set(terms(text[begin:end]))
        score = sum(weight for term, weight in asked.items() if term in there) / total - _LATER * first
        score -= _HANGING if _HANGS.match(text, begin) else 0.0
        if score > best_score:
            best, best_score = (begin, end), score
    return "\n".join(" ".join(line.split()) for line in text[best[0] : best[1]].splitlines() if line.strip())


def _run_end(text: str, spans: list[tuple[int, int]], first: int) -> int:
    begin, last = spans[first][0], first
    while last + 1 < len(spans) and spans[last + 1][1] - begin <= QUOTE_CHARACTERS:
        listed = text[spans[last + 1][0]] in "-•*"
        if last + 1 - first >= (LIST_ITEMS if listed else QUOTE_SENTENCES):
            break
        last += 1
    while last > first and _is_heading(text, spans, last):
        last -= 1
    return spans[last][1]


def _is_heading(text: str, spans: list[tuple[int, int]], place: int) -> bool:
    """A line that announces what follows: a heading, or the question that the text answers."""
    begin, end = spans[place]
    sentence = text[begin:end]
    return sentence.startswith("#") or sentence.endswith("?") or (len(sentence) < 60 and sentence[-1:].isalnum())


def _overlap(one: str, two: str) -> float:
    mine, theirs = set(terms(one)), set(terms(two))
    return len(mine & theirs) / max(1, min(len(mine), len(theirs)))
