"""Outcome models: from a request's vector to what each candidate would make of it.

A candidate is whatever a request can be sent to. What is known of candidates is a table, text x candidate -> quality
between 0 and 1, perhaps with holes, and a cost for each candidate. Labels are the special case where quality is 1 for
the text's own domain and 0 for the others, so that the same models serve as domain routers. All run on numpy alone.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from concertino.errors import ConfigurationError

NEAREST_CLUSTERS = 3
CLUSTER_SHARPNESS = 9.0
"""Both as in Avengers-Pro (Zhang et al. 2025)."""
NEIGHBOUR_SHARPNESS = 20.0
"""A neighbour's vote grows by this power of e for each unit of cosine."""

Arrays = Mapping[str, np.ndarray]


class OutcomeModel(Protocol):
    """Predicts the quality of every candidate."""

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Quality between 0 and 1, float `[texts, candidates]`, of unit-length `[texts, width]` vectors."""
        ...


class NeighbourOutcomes:
    """The mean outcome of the nearest texts of the table, those without a hole, weighted by likeness.

    A tuned k is as good as learned routers (Li 2025, "Rethinking Predictive Modeling for LLM Routing",
    arXiv 2505.12601). Arrays: `vectors` int8 `[rows, width]`, `quality` float16 `[rows, candidates]` with NaN for
    holes, `k`, and `prior` `[candidates]` for a candidate of which no neighbour tells.
    """

    def __init__(self, arrays: Arrays) -> None:
        rows = arrays["vectors"].astype(np.float32)
        self._rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        quality = arrays["quality"].astype(np.float32)
        self._known = ~np.isnan(quality)
        self._quality = np.where(self._known, quality, 0.0)
        self._prior = arrays["prior"].astype(np.float32)
        self._k = min(int(arrays["k"]), len(rows))

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """See OutcomeModel."""
        likeness = np.atleast_2d(vectors) @ self._rows.T
        near = np.argpartition(likeness, -self._k, axis=1)[:, -self._k :]
        cosine = np.take_along_axis(likeness, near, axis=1)
        vote = np.exp(NEIGHBOUR_SHARPNESS * (cosine - cosine.max(axis=1, keepdims=True)))[:, :, None]
        known = self._known[near] * vote
        told = known.sum(axis=1)
        mean = (self._quality[near] * known).sum(axis=1) / np.maximum(told, 1e-9)
        return np.where(told > 0, mean, self._prior)


class ClusterOutcomes:
    """The outcomes of the nearest clusters, mixed by nearness (Avengers-Pro, Zhang et al. 2025, arXiv 2508.12631).

    Arrays: `centres` float16 `[clusters, width]` and `quality` float16 `[clusters, candidates]`, without holes.
    """

    def __init__(self, arrays: Arrays) -> None:
        centres = arrays["centres"].astype(np.float32)
        self._centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
        self._quality = arrays["quality"].astype(np.float32)

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """See OutcomeModel."""
        distance = 1.0 - np.atleast_2d(vectors) @ self._centres.T
        count = min(NEAREST_CLUSTERS, len(self._centres))
        near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        away = np.take_along_axis(distance, near, axis=1)
        vote = np.exp(-CLUSTER_SHARPNESS * (away - away.min(axis=1, keepdims=True)))
        vote /= vote.sum(axis=1, keepdims=True)
        return np.asarray((self._quality[near] * vote[:, :, None]).sum(axis=1))


class FactorOutcomes:
    """`sigmoid(w . (norm(P_m) * W e) + b_m)` for candidate m, vector e (RouteLLM, Ong et al. 2024, arXiv 2406.18665).

    Arrays: `candidates` `[candidates, rank]` (P), `project` `[width, rank]` (W), `weights` `[rank]` (w) and `bias`
    `[candidates]` (b; the paper learns it as part of w).
    """

    def __init__(self, arrays: Arrays) -> None:
        candidates = arrays["candidates"].astype(np.float32)
        unit = candidates / np.maximum(np.linalg.norm(candidates, axis=1, keepdims=True), 1e-9)
        self._read = arrays["project"].astype(np.float32) @ (unit * arrays["weights"].astype(np.float32)).T
        self._bias = arrays["bias"].astype(np.float32)

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """See OutcomeModel."""
        logits = np.atleast_2d(vectors) @ self._read + self._bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -50, 50))))


class LogisticOutcomes:
    """Multinomial logistic regression over classes that belong to candidates: softmax of `W e + b`, summed by owner.

    A candidate may own several classes: finer labels, or pieces that its texts fall into. Arrays: `weights` `[width,
    classes]`, `bias` `[classes]` and `owner` `[classes]`, the place of the candidate of each class.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._weights = arrays["weights"].astype(np.float32)
        self._bias = arrays["bias"].astype(np.float32)
        owner = arrays["owner"].astype(int)
        self._sum = np.eye(int(owner.max()) + 1, dtype=np.float32)[owner]

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """Of the classes, `[texts, classes]`."""
        return np.asarray(np.atleast_2d(vectors) @ self._weights + self._bias)

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """See OutcomeModel."""
        logits = self.logits(vectors)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray((powers @ self._sum) / powers.sum(axis=1, keepdims=True))


MODELS: dict[str, Callable[[Arrays], OutcomeModel]] = {
    "knn": NeighbourOutcomes,
    "clusters": ClusterOutcomes,
    "matrix-factorisation": FactorOutcomes,
    "linear": LogisticOutcomes,
}


def make_model(method: str, arrays: Arrays) -> OutcomeModel:
    """The model of a method's arrays. Raises ConfigurationError for an unknown method or a missing array."""
    if method not in MODELS:
        raise ConfigurationError(f"no outcome model {method!r}; there are: {', '.join(MODELS)}", param="router.type")
    try:
        return MODELS[method](arrays)
    except KeyError as error:
        problem = f"the arrays of a {method} router lack {error}"
        raise ConfigurationError(problem, param="router.options.weights") from error


def utility(quality: np.ndarray, costs: np.ndarray, cost_weight: float) -> np.ndarray:
    """`(1 - mu) * quality - mu * cost`, costs scaled to 0..1 (CARROT, Somerstep et al. 2025, arXiv 2502.03261).

    `quality` is `[texts, candidates]`, `costs` `[candidates]` or the same shape.
    """
    span = float(costs.max() - costs.min())
    scaled = (costs - costs.min()) / span if span > 0 else np.zeros_like(costs)
    return np.asarray((1.0 - cost_weight) * quality - cost_weight * scaled)
