"""Does a row overlap with an evaluation set? Rows that a model learns from must not.

A row of at least 13 words overlaps where it shares a run of 13 words (Brown et al. 2020, appendix C), or where half of
its runs of 8 words stand in the set (Chowdhery et al. 2022, section 8); a shorter one where its whole text does. With
an embedding model, also where some text of the set is closer than `CLOSE`: a paraphrase.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from concertino.datasets import normalise
from concertino.datasets.ngrams import Words

LONG = 13
_SHORT_RUN = 8
_COVERED = 0.5
CLOSE = 0.9
"""Cosine similarity from which two texts are held to be one."""
_BATCH = 2_000

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts -> float32 `[texts, width]`, each row of length 1."""


class EvaluationSet:
    """One evaluation set, ready to be asked about."""

    def __init__(self, name: str, texts: Iterable[str], passages: Iterable[str] = ()) -> None:
        """`texts` are the inputs; `passages` other long strings of the set, such as contexts and answers."""
        self.name = name
        self.texts: list[str] = []
        runs: list[np.ndarray] = []
        short_runs: list[np.ndarray] = []
        keys: set[int] = set()
        for batch, inputs in _marked(texts, passages):
            cut = [normalise.words(text) for text in batch]
            words = Words(cut)
            runs.append(np.unique(words.ngrams(LONG)[0]))
            short_runs.append(np.unique(words.ngrams(_SHORT_RUN)[0]))
            if inputs:
                keys |= {normalise.key(normalise.comparable(text)) for text in batch}
                self.texts += batch
        self._runs = np.unique(np.concatenate(runs)) if runs else np.zeros(0, np.uint64)
        self._short_runs = np.unique(np.concatenate(short_runs)) if short_runs else np.zeros(0, np.uint64)
        self._keys = np.array(sorted(keys), np.uint64)

    def __len__(self) -> int:
        return len(self.texts)

    def overlaps(self, words: Words, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each text, three truths: same text, a shared run of 13 words, half of its runs of 8 words shared."""
        same = _among(keys, self._keys)
        hashes, owners = words.ngrams(LONG)
        shared = np.zeros(len(keys), bool)
        shared[owners[_among(hashes, self._runs)]] = True
        hashes, owners = words.ngrams(_SHORT_RUN)
        covered = np.bincount(owners[_among(hashes, self._short_runs)], minlength=len(keys))
        total = np.bincount(owners, minlength=len(keys))
        long = np.diff(words.starts) >= LONG
        return same, shared, long & (covered >= _COVERED * total)


def _marked(texts: Iterable[str], passages: Iterable[str]) -> Iterator[tuple[list[str], bool]]:
    for strings, inputs in ((texts, True), (passages, False)):
        batch: list[str] = []
        for text in strings:
            batch.append(text)
            if len(batch) == _BATCH:
                yield batch, inputs
                batch = []
        if batch:
            yield batch, inputs


def _among(values: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """Which of the values stand in a sorted array."""
    if not len(ranked):
        return np.zeros(len(values), bool)
    found = np.searchsorted(ranked, values)
    found[found == len(ranked)] = 0
    return np.asarray(ranked[found] == values)


class Paraphrases:
    """Finds texts that mean what a text of an evaluation set means, as far as an embedding model can tell."""

    def __init__(self, sets: Sequence[EvaluationSet], embed: Embed) -> None:
        self._embed = embed
        self._names = [each.name for each in sets for _ in each.texts]
        self._texts = [text for each in sets for text in each.texts]
        self._vectors = embed(self._texts) if self._texts else np.zeros((0, 1), np.float32)

    def find(self, texts: Sequence[str]) -> dict[int, str]:
        """Place in `texts` -> what it is close to, in words."""
        if not self._texts or not texts:
            return {}
        likeness = self._embed(texts) @ self._vectors.T
        nearest = likeness.argmax(axis=1)
        found: dict[int, str] = {}
        for place in np.flatnonzero(likeness.max(axis=1) >= CLOSE).tolist():
            other = int(nearest[place])
            said = self._texts[other][:80]
            found[place] = f"cosine {likeness[place, other]:.2f} to {said!r} of {self._names[other]}"
        return found
