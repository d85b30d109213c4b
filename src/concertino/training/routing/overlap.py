"""Does a text appear in a test set, word for word or nearly so?

Exact matches are found on normalised text; near-duplicates by the share of word triples that two texts have in common
(Broder 1997, "On the resemblance and containment of documents"), measured as containment in the shorter one, so that
a question quoted inside a longer prompt is found too.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+")
NEAR = 0.6
_SHORTEST = 5
"""Texts of fewer triples are compared exactly: their triples say too little."""


def normalised(text: str) -> str:
    """Lower-cased words separated by single blanks."""
    return " ".join(_WORD.findall(text.lower()))


def _triples(text: str) -> frozenset[tuple[str, str, str]]:
    words = _WORD.findall(text.lower())
    return frozenset(zip(words, words[1:], words[2:], strict=False))


class OverlapIndex:
    """The texts of a test set, ready to be asked about."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._sizes: list[int] = []
        self._where: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        for text in texts:
            key = normalised(text)
            if key in self._exact:
                continue
            self._exact.add(key)
            triples = _triples(text)
            for triple in triples:
                self._where[triple].append(len(self._sizes))
            self._sizes.append(len(triples))

    def overlaps(self, text: str) -> bool:
        """True where `text` equals an indexed text or shares at least `NEAR` of the shorter one's word triples."""
        if normalised(text) in self._exact:
            return True
        triples = _triples(text)
        shared = Counter(place for triple in triples for place in self._where.get(triple, ()))
        return any(
            count >= NEAR * min(len(triples), self._sizes[place])
            for place, count in shared.items()
            if min(len(triples), self._sizes[place]) >= _SHORTEST
        )
