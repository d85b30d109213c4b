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


class Hit(Struct, frozen=True):
    """A passage that was retrieved. `coverage` is the share of the question's information (in nats of inverse document
    frequency) whose words stand in the passage, `cosine` that of the two vectors (0 without vectors)."""

    passage: Passage
    coverage: float
    cosine: float


def search(index: Index, question: str, vector: np.ndarray | None, limit: int = TOP) -> list[Hit]:
    """The best passages, best first.

    BM25 over words and cosine over vectors (float32, unit length, of the index's own model; None searches by words
    alone), joined by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
    """
    asked = terms(question)
    if vector is not None and index.vectors is not None and index.vectors.shape[1] != len(vector):
        vector = None
    scores: dict[int, float] = {}
    by_vector = [] if vector is None else [number for number, _ in index.nearest(vector, FIRST)]
    for ranking, weight in ((index.lexical(asked, FIRST), 1.0), (by_vector, VECTOR_WEIGHT)):
        for rank, number in enumerate(ranking):
            scores[number] = scores.get(number, 0.0) + weight / (FUSION_K + rank + 1)
    best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
    passages = index.passages(best)
    has_vectors = vector is not None and index.vectors is not None
    return [
        Hit(
            passages[number],
            coverage(index, asked, f"{passages[number].title}\n{passages[number].text}"),
            index.cosine(number, vector) if has_vectors and vector is not None else 0.0,
        )
        for number in best
    ]


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
