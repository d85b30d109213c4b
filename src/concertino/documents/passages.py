"""Paragraphs -> passages: as many whole paragraphs as fit, and a long paragraph cut between sentences."""

import re
from collections.abc import Iterator

_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+")


def passages(paragraphs: Iterator[tuple[str, str]], longest: int) -> Iterator[tuple[str, str]]:
    """(place of its first paragraph, text) of each passage. No passage has more than `longest` characters."""
    start, kept, size = "", list[str](), 0
    for place, paragraph in paragraphs:
        for piece in _pieces(paragraph.strip(), longest):
            if kept and size + 2 + len(piece) > longest:
                yield start, "\n\n".join(kept)
                kept, size = [], 0
            if not kept:
                start = place
            size += len(piece) + (2 if kept else 0)
            kept.append(piece)
    if kept:
        yield start, "\n\n".join(kept)


def _pieces(paragraph: str, longest: int) -> Iterator[str]:
    """A paragraph that fits, or its sentences joined while they fit; a sentence that does not is cut at a blank."""
    if len(paragraph) <= longest:
        if paragraph:
            yield paragraph
        return
    kept = ""
    for sentence in _SENTENCE.split(paragraph):
        while len(sentence) > longest:
            if kept:
                yield kept
                kept = ""
            cut = sentence.rfind(" ", longest // 2, longest + 1)
            cut = cut if cut > 0 else longest
            yield sentence[:cut].strip()
            sentence = sentence[cut:].strip()
        if kept and len(kept) + 1 + len(sentence) > longest:
            yield kept
            kept = ""
        kept = f"{kept} {sentence}".strip() if kept else sentence
    if kept:
        yield kept
