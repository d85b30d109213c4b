"""How alike two texts in prose are, 0 to 1: what answers are graded by where hardly one is word for word the row's.

Three measures that the field knows, in few lines each. sacreBLEU and rouge-score have two of them, but bring lxml and
NLTK along; the tests hold these against their values. None of them knows meaning: another way to say a thing costs
what its words cost.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from concertino.recipe import Metric

ORDER, BETA = 6, 2.0
"""chrF: character n-grams of up to so many, and recall counts so much more than precision."""
_ARTICLES = frozenset({"a", "an", "the"})
_ASCII_SYMBOLS = frozenset("$+<=>^`|~")
"""What SQuAD's script drops beside what Unicode calls punctuation."""


def token_f1(answer: str, expected: str) -> float:
    """F1 of the words of two texts as bags: SQuAD's (Rajpurkar et al. 2016), with its script's normalisation.

    Case, punctuation and the articles a, an, the do not count. Other than in the script, punctuation is that of all
    scripts. Where one of the two has no word left, 1 if the other has none either.
    """
    mine, theirs = _squad_words(answer), _squad_words(expected)
    if not mine or not theirs:
        return float(mine == theirs)
    return _f1(sum((Counter(mine) & Counter(theirs)).values()), len(mine), len(theirs))


def rouge_l(answer: str, expected: str) -> float:
    """F1 of the longest common subsequence of words: ROUGE-L (Lin 2004), as in rouge-score without stemming.

    Words are letters and digits without case, of any script, with the signs that stand on them, as the vowels of Hindi
    do; rouge-score knows those of ASCII.
    """
    mine, theirs = _words(answer), _words(expected)
    return _f1(_common(mine, theirs), len(mine), len(theirs)) if mine and theirs else 0.0


def chrf(answer: str, expected: str) -> float:
    """chrF2 (Popović 2015): F2 of the mean precision and recall of character 1- to 6-grams, as in sacreBLEU 2.

    White space does not count, case does. Orders for which one of the texts is too short are left out.
    """
    mine, theirs = "".join(answer.split()), "".join(expected.split())
    orders = range(1, min(ORDER, len(mine), len(theirs)) + 1)
    if not orders:
        return 0.0
    precision = recall = 0.0
    for order in orders:
        first, second = _grams(mine, order), _grams(theirs, order)
        hits = (first & second).total()
        precision += hits / first.total()
        recall += hits / second.total()
    if not precision + recall:
        return 0.0
    precision, recall = precision / len(orders), recall / len(orders)
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


MEASURES: dict[Metric, Callable[[str, str], float]] = {
    Metric.TOKEN_F1: token_f1,
    Metric.ROUGE_L: rouge_l,
    Metric.CHRF: chrf,
}


def grade(metric: Metric, answer: str | None, expected: str) -> float:
    """An answer's score by a graded metric; an empty one, or none, has 0."""
    return MEASURES[metric](answer, expected) if answer and answer.strip() else 0.0


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _words(text: str) -> list[str]:
    kept = (sign if sign.isalnum() or unicodedata.category(sign).startswith("M") else " " for sign in _plain(text))
    return "".join(kept).split()


def _squad_words(text: str) -> list[str]:
    kept = "".join(
        sign for sign in _plain(text) if sign not in _ASCII_SYMBOLS and not unicodedata.category(sign).startswith("P")
    )
    return [word for word in kept.split() if word not in _ARTICLES]


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[at : at + order] for at in range(len(text) - order + 1))


def _f1(common: int, first: int, second: int) -> float:
    return 2 * common / (first + second)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    before = [0] * (len(second) + 1)
    for word in first:
        now = [0]
        for place, other in enumerate(second):
            now.append(before[place] + 1 if word == other else max(before[place + 1], now[place]))
        before = now
    return before[-1]
