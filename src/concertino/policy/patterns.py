"""A pattern with what must be there before it is worth trying, and a window of text to try it in.

Most windows of most texts lack the word that a pattern turns on, and finding a word is far cheaper than matching.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from concertino.policy.base import Finding

_DIGITS = re.compile(r"\d+")
_BEFORE = 110
_AFTER = 110


def _always(match: re.Match[str]) -> bool:
    return True


class Window:
    """`text[start:end]`, with what is known of it. What stands before `start` still counts as context."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.start = start
        self.end = end

    @cached_property
    def lower(self) -> str:
        return self.text[self.start : self.end].lower()

    @cached_property
    def has_digit(self) -> bool:
        return bool(self.around_digits)

    @cached_property
    def around_digits(self) -> list[tuple[int, int]]:
        """Merged spans about every digit, wide enough for the words before and after that belong to it."""
        spans: list[tuple[int, int]] = []
        for match in _DIGITS.finditer(self.text, self.start, self.end):
            start, end = max(self.start, match.start() - _BEFORE), min(self.end, match.end() + _AFTER)
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return spans

    @cached_property
    def has_capital(self) -> bool:
        return self.lower != self.text[self.start : self.end]


@dataclass(frozen=True)
class Pattern:
    """`group` is what is found; `needs` are lower-case strings of which one must be in the window."""

    type: str
    regex: re.Pattern[str]
    needs: tuple[str, ...] = ()
    group: str | int = 0
    valid: Callable[[re.Match[str]], bool] = _always
    digit: bool = False
    capital: bool = False

    def find(self, window: Window) -> Iterator[Finding]:
        if (self.digit and not window.has_digit) or (self.capital and not window.has_capital):
            return
        if self.needs and not any(need in window.lower for need in self.needs):
            return
        for start, end in window.around_digits if self.digit else ((window.start, window.end),):
            for match in self.regex.finditer(window.text, start, end):
                if self.valid(match):
                    yield Finding(self.type, *match.span(self.group))
