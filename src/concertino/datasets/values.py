"""Are two answers the same values? Numbers by their size, with scale and sign; several answers in any order.

The exact match of TAT-QA (Zhu et al. 2021, arXiv:2105.07624, and its official tatqa_metric.py): numbers are rounded to
two decimals and multiplied by their scale, a share equals its percentage, words are compared without case, articles
and punctuation. A calculation (`= 3-2`) counts as its result, which is what serving sends. Beside it, how much of an
answer is right: the F1 of the same paper, which is DROP's (Dua et al. 2019, arXiv:1903.00161).
"""

import re

import numpy as np

from concertino.calculation import DECIMALS, done

_SCALES: dict[str, float] = {
    "hundred": 1e2,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "percent": 1e-2,
    "%": 1e-2,
}
_UNIT = re.compile(r"(?is)(.*?\S)\s*\b(hundred|thousand|million|billion|trillion|percent)s?|(.*?\S)\s*(%)")
_NUMBER = re.compile(r"[$£€]?(-?)[$£€]?\s*(\d[\d,]*(?:\.\d+)?|\.\d+)")
_NEGATIVE = re.compile(r"[$£€]?\((?!-)(.+)\)")
_BETWEEN = re.compile(r";\s|\n")
_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"(?<!\w)-?\d[\d,]*(?:\.\d+)?(?!\w)|[^\W_]+")
"""A number with its sign and decimals, or a word."""
_LEFT_OUT = frozenset(("a", "an", "the"))
_MINUS = re.compile("[\u2010-\u2014\u2212]")
_HALF: float = 0.51 * 10.0**-DECIMALS
"""What rounding to two decimals may part two equal numbers by."""


def same_values(given: str, expected: str) -> bool:
    """Whether an answer says the same as the expected one. A scale at the end counts for every part of the answer."""
    first, second = _parts(given), _parts(expected)
    if len(first) != len(second):
        return False
    for part in first:
        match = next((other for other in second if _same(part, other)), None)
        if match is None:
            return False
        second.remove(match)
    return True


def values_f1(given: str, expected: str) -> float:
    """How much of the expected answer an answer says, 0 to 1; 1 where `same_values` holds.

    Each part is a bag of words and numbers, numbers being equal when they are in size, sign and scale. The F1 of two
    bags is averaged over the best alignment of the parts of both answers; a part without a counterpart counts 0. A
    single number is right or wrong. The official script puts all parts of an answer into one bag, which is milder.
    """
    first, second = _parts(given), _parts(expected)
    if not first or not second:
        return float(not first and not second)
    from scipy.optimize import linear_sum_assignment

    scores = np.array([[_overlap(one, two) for two in second] for one in first])
    return float(scores[linear_sum_assignment(scores, maximize=True)].sum() / max(scores.shape))


class _Part:
    """One of the values of an answer: a number with its scale, or words."""

    def __init__(self, text: str, scale: float) -> None:
        own = _scaled(text)
        text, scale = own if own[1] else (text, scale)  # what a part says itself goes before what the answer says
        self.number = _number(text)
        self.scale: float = scale or 1.0
        self.text = text
        self.words = tuple(word for word in _WORD.findall(text.casefold()) if word not in _LEFT_OUT)


def _parts(answer: str) -> list[_Part]:
    text, scale = _scaled(_MINUS.sub("-", done(answer)).strip())
    return [_Part(piece, scale) for piece in _BETWEEN.split(text) if piece.strip()]


def _same(one: _Part, two: _Part) -> bool:
    if one.number is None or two.number is None:
        return one.number is None and two.number is None and one.words == two.words
    apart = abs(one.number * one.scale - two.number * two.scale)
    return apart <= _HALF * min(one.scale, two.scale)


def _bag(part: _Part) -> list[str | _Part]:
    """The part's words, each once, with a part of its own for each number."""
    if part.number is not None:
        return [part]
    words = dict.fromkeys(word for word in _TOKEN.findall(part.text.casefold()) if word not in _LEFT_OUT)
    return [word if _number(word) is None else _Part(word, part.scale) for word in words]


def _overlap(one: _Part, two: _Part) -> float:
    """F1 of two bags."""
    if _same(one, two):
        return 1.0
    first, second = _bag(one), _bag(two)
    left = list(second)
    for token in first:
        match = next((other for other in left if _same_token(token, other)), None)
        if match is not None:
            left.remove(match)
    shared = len(second) - len(left)
    return 2 * shared / (len(first) + len(second)) if shared else 0.0


def _same_token(one: str | _Part, two: str | _Part) -> bool:
    if isinstance(one, str) or isinstance(two, str):
        return one == two
    return _same(one, two)


def _scaled(text: str) -> tuple[str, float]:
    """A text without the scale at its end, and that scale; 0 where it has none."""
    found = _UNIT.fullmatch(text.strip().rstrip("."))
    if found is None:
        return text.strip(), 0.0
    body, unit = (found[1], found[2]) if found[2] else (found[3], found[4])
    return body, _SCALES[unit.lower()]


def _number(text: str) -> float | None:
    """The number that a text is; in parentheses it is negative, as in accounts."""
    bare = text.strip().rstrip(".")
    negative = _NEGATIVE.fullmatch(bare)
    found = _NUMBER.fullmatch(negative[1] if negative else bare)
    if found is None:
        return None
    value = float(found[2].replace(",", ""))
    return -value if negative or found[1] else value
