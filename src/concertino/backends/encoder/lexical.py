"""A second opinion from the words themselves: TF-IDF of word and character n-grams under a logistic regression.

An encoder generalises over meaning, a lexical model remembers wording; where data is scarce their mean is better than
either. Features are hashed (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning"), so there is
no vocabulary to ship: words and pairs of words, and 2 to 5 characters within a word and its borders, in lower case.
"""

import itertools
import re
import zlib
from collections import Counter

import numpy as np
from msgspec import Struct

BUCKETS = 1 << 15
MAX_CHARACTERS = 8_000

_WORD = re.compile(r"\w+")


class Lexical(Struct, frozen=True, eq=False):
    """`idf` is `[buckets]`, `weight` `[buckets, labels]`, `bias` `[labels]`; `share` its part in the mean."""

    idf: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    share: float

    def probabilities(self, text: str) -> np.ndarray:
        """Softmax over the labels, `[labels]`."""
        places, values = weighed(text, self.idf)
        logits = values @ self.weight[places] + self.bias
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum())


def counts(text: str) -> Counter[int]:
    """How often each bucket's features occur in a text."""
    words = _WORD.findall(text[:MAX_CHARACTERS].lower())
    features = [*words, *(f"{one} {other}" for one, other in itertools.pairwise(words))]
    for word in words:
        padded = f" {word} "
        for size in range(2, 6):
            features += [f"#{padded[start : start + size]}" for start in range(max(1, len(padded) - size + 1))]
    return Counter(zlib.crc32(feature.encode("utf-8", "replace")) % BUCKETS for feature in features)


def weighed(text: str, idf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Buckets of a text and their TF-IDF, sublinear in the count and of unit length together."""
    found = counts(text)
    places = np.fromiter(found, np.int64, len(found))
    values = (1.0 + np.log(np.fromiter(found.values(), np.float64, len(found)))) * idf[places]
    return places, values / max(float(np.linalg.norm(values)), 1e-12)
