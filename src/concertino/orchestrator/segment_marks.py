"""The marks of list items within a line, and the words that only announce a list."""

from concertino.orchestrator import segment_words as english


def inline_items(text: str) -> frozenset[int]:
    """Places of "1) ... 2) ..." within lines, if they count from one; of "a) ... b) ..." if each of them asks, and
    nothing stands before them that they could be choices of."""
    numbers = [(match.start(), int(match.group(1))) for match in english.INLINE.finditer(text)]
    if _counts(numbers):
        return frozenset(place for place, _ in numbers)
    matches = list(english.LETTERED.finditer(text))
    letters = [(match.start(), ord(match.group("number").lower()) - ord("a") + 1) for match in matches]
    if not _counts(letters) or not announces(text, 0, letters[0][0]):
        return frozenset()
    ends = [*(place for place, _ in letters[1:]), len(text)]
    asking = all(
        "?" in text[match.end() : end] or english.ASK.match(text, match.end(), end)
        for match, end in zip(matches, ends, strict=True)
    )
    return frozenset(place for place, _ in letters) if asking else frozenset()


def _counts(marks: list[tuple[int, int]]) -> bool:
    return len(marks) > 1 and [number for _, number in marks] == list(range(1, len(marks) + 1))


def announces(text: str, start: int, end: int) -> bool:
    """Whether the words say nothing but that a list follows."""
    return all(english.ANNOUNCING.fullmatch(word) for word in english.WORD.findall(text, start, end))
