"""Hashes of word n-grams of many texts at once.

A loop over n-grams in Python, or a library that takes one text at a time, does some thousands of texts a second. Here
Python only cuts texts into words and takes their CRC-32; everything after that is arithmetic on whole arrays.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFTS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)


class Words:
    """The words of some texts, as numbers: `flat[starts[i] : starts[i + 1]]` are those of text i."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        """`texts` are lists of words. A text without words counts as one of its own."""
        lengths = np.fromiter((len(text) for text in texts), np.int64, len(texts))
        self.starts = np.concatenate(([0], np.cumsum(lengths)))
        crcs = (crc32(word.encode("utf-8", "replace")) for text in texts for word in text)
        self.flat = mix(np.fromiter(crcs, np.uint64, int(self.starts[-1])))

    def ngrams(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(hashes uint64, text of each int64) of all n-grams in order; texts of fewer words have none."""
        count = len(self.flat) - size + 1
        if count <= 0:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        hashes = np.zeros(count, np.uint64)
        for place in range(size):
            hashes = hashes * _MULTIPLIER + self.flat[place : place + count]
        # The text of a word is that of the last start at or before it; empty texts start where the next one does.
        owner = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        inside = owner[:count] == owner[size - 1 :]
        return mix(hashes[inside]), owner[:count][inside]

    def shingles(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Like `ngrams`, but a text of fewer words has one, of all its words, and a text of none has one at random."""
        hashes, owners = self.ngrams(size)
        lengths = np.diff(self.starts)
        short = np.flatnonzero(lengths < size)
        whole = np.zeros(len(short), np.uint64)
        for place in range(size - 1):
            has = lengths[short] > place
            at = self.starts[short[has]] + place
            whole[has] = whole[has] * _MULTIPLIER + self.flat[at]
        whole = mix(whole + np.where(lengths[short] == 0, short, 0).astype(np.uint64))
        hashes, owners = np.concatenate((hashes, whole)), np.concatenate((owners, short))
        order = np.argsort(owners, kind="stable")
        return hashes[order], owners[order]


def mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: every input bit changes every output bit (Steele et al. 2014)."""
    for shift, multiplier in _SHIFTS:
        values = (values ^ (values >> shift)) * multiplier
    return np.asarray(values ^ (values >> _LAST_SHIFT))
