"""A question -> the passages that may answer it, and how likely it is that one of them does."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.knowledge.index import Index
from concertino.knowledge.passages import Passage
from concertino.knowledge.terms import terms

FIRST = 50
"""Passages that each of the two searches hands to the fusion."""
FUSION_K = 60
VECTOR_WEIGHT = 2.0
"""What a place in the ranking by vectors counts for, against one in the ranking by words."""
TOP = 3

WITH_VECTORS = (-7.7, 9.4, 4.85)
WORDS_ALONE = (-4.9, 0.0, 7.0)
"""Intercept and weights of cosine and coverage, near what `bench/knowledge.py` fits; stricter for words alone, by which
every fifth text of another domain would pass otherwise."""
FOUND = 0.4
"""From this likelihood on, something was found."""


class Hit(Struct, frozen=True):
    """A passage that was retrieved.

    `coverage` is the share of the question's information (inverse document frequency, in nats) whose words stand in
    the passage, `cosine` that of the two vectors (0 without vectors), `likelihood` the probability that it answers.
    """

    passage: Passage
    coverage: float
    cosine: float
    likelihood: float


def search(index: Index, question: str, vector: np.ndarray | None, limit: int = TOP) -> list[Hit]:
    """The best passages, likeliest first.

    BM25 over words and cosine over vectors (float32, unit length, of the index's own model; None searches by words
    alone), joined by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
    """
    asked = terms(question)
    near = vector if vector is not None and index.dimensions == len(vector) else None
    scores: dict[int, float] = {}
    by_vector = [] if near is None else index.nearest(near, FIRST)
    for ranking, weight in ((index.lexical(asked, FIRST), 1.0), (by_vector, VECTOR_WEIGHT)):
        for rank, number in enumerate(ranking):
            scores[number] = scores.get(number, 0.0) + weight / (FUSION_K + rank + 1)
    best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
    passages = index.passages(best)
    hits = []
    for number in best:
        passage = passages[number]
        covered = coverage(index, asked, f"{passage.title}\n{passage.text}")
        cosine = 0.0 if near is None else index.cosine(number, near)
        hits.append(Hit(passage, covered, cosine, likelihood(cosine, covered, near is not None)))
    return sorted(hits, key=lambda hit: -hit.likelihood)


def information(index: Index, term: str) -> float:
    """Inverse document frequency of a term, in nats, as BM25 has it."""
    held = index.frequency(term)
    return math.log(1.0 + (len(index) - held + 0.5) / (held + 0.5))


def coverage(index: Index, asked: Sequence[str], text: str) -> float:
    """The share of a question's information whose words a text holds, 0 to 1; 0 for a question without words."""
    weights = {term: information(index, term) for term in asked}
    there = set(terms(text))
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in there) / total if total else 0.0


def likelihood(cosine: float, covered: float, with_vectors: bool) -> float:
    """How likely it is that a passage answers the question: logistic in its cosine and coverage."""
    weights = WITH_VECTORS if with_vectors else WORDS_ALONE
    return 1.0 / (1.0 + math.exp(-(weights[0] + weights[1] * cosine + weights[2] * covered)))
