"""Paragraphs -> passages: as many whole paragraphs as fit, and a long paragraph cut between sentences."""

import re
from collections.abc import Iterator

_HEADING = 10
"""What is shorter than a passage divided by this stands with what follows it, which is cut to fit."""
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+")


def passages(paragraphs: Iterator[tuple[str, str]], longest: int) -> Iterator[tuple[str, str]]:
    """(place of its first paragraph, text) of each passage. No passage has more than `longest` characters."""
    start, kept, size = "", list[str](), 0
    for place, paragraph in paragraphs:
        first = longest - size - 2 if 0 < size <= longest // _HEADING else longest
        for piece in _pieces(paragraph.strip(), first, longest):
            if kept and size + 2 + len(piece) > longest:
                yield start, "\n\n".join(kept)
                kept, size = [], 0
            if not kept:
                start = place
            size += len(piece) + (2 if kept else 0)
            kept.append(piece)
    if kept:
        yield start, "\n\n".join(kept)


def _pieces(paragraph: str, first: int, longest: int) -> Iterator[str]:
    """A paragraph that fits, or its sentences joined while they fit; a sentence that does not is cut at a blank.

    The first piece has at most `first` characters, all others at most `longest`.
    """
    if len(paragraph) <= first:
        if paragraph:
            yield paragraph
        return
    kept, room = "", first
    for sentence in _SENTENCE.split(paragraph):
        if kept and len(kept) + 1 + len(sentence) > room:
            yield kept
            kept, room = "", longest
        while len(sentence) > room:
            cut = sentence.rfind(" ", room // 2, room + 1)
            cut = cut if cut > 0 else room
            yield sentence[:cut].strip()
            sentence, room = sentence[cut:].strip(), longest
        kept = f"{kept} {sentence}".strip() if kept else sentence
    if kept:
        yield kept
