"""Figures of merit of a router that may abstain: right, calibrated, and unsure where it is wrong."""

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.router.linear import LinearRouter

ABSTAINED_TO = "general"
BINS = 15


class Figures(Struct, frozen=True):
    """What a router did on one part. An abstention counts as `general`; shares and rates lie between 0 and 1."""

    rows: int
    accuracy: float
    balanced_accuracy: float
    """Mean recall over classes."""
    macro_f1: float
    ece: float
    """Expected calibration error of the best class's probability, 15 equal bins, before abstention."""
    auroc: float
    """How well confidence separates right from wrong, 0.5 is chance; before abstention."""
    abstained: float
    recall: dict[str, float]
    by_source: dict[str, float]


class Speed(Struct, frozen=True):
    """Milliseconds for one short text (p50, p99) and texts a second in batch, in this process after warm-up."""

    p50_ms: float
    p99_ms: float
    texts_per_second: float


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. 2017: mean distance between confidence and accuracy over equal-width bins, weighted by size."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    total = 0.0
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            total += float(inside.mean()) * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return total


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counted half (Mann-Whitney U); NaN without both."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def figures(
    probabilities: np.ndarray, labels: Sequence[str], classes: Sequence[str], threshold: float, sources: Sequence[str]
) -> Figures:
    """Judge `[rows, classes]` probabilities against labels, abstaining below `threshold`."""
    truth = np.array([classes.index(label) for label in labels])
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    unsure = confidence < threshold
    chosen = np.where(unsure, classes.index(ABSTAINED_TO), best)
    right = chosen == truth
    recall, scores = {}, []
    for number, name in enumerate(classes):
        hits = int(((chosen == number) & (truth == number)).sum())
        actual, predicted = int((truth == number).sum()), int((chosen == number).sum())
        if actual:
            recall[name] = hits / actual
            scores.append(2 * hits / (actual + predicted))
    by_source: defaultdict[str, list[bool]] = defaultdict(list)
    for source, good in zip(sources, right.tolist(), strict=True):
        by_source[source].append(good)
    return Figures(
        rows=len(labels),
        accuracy=float(right.mean()),
        balanced_accuracy=float(np.mean(list(recall.values()))),
        macro_f1=float(np.mean(scores)),
        ece=expected_calibration_error(confidence, best == truth),
        auroc=auroc(confidence, best == truth),
        abstained=float(unsure.mean()),
        recall=recall,
        by_source={name: float(np.mean(goods)) for name, goods in sorted(by_source.items())},
    )


def time_router(router: LinearRouter, short: str, texts: Sequence[str], rounds: int = 300) -> Speed:
    """Time one short text `rounds` times, then `texts` as one batch."""
    for _ in range(20):
        router.probabilities([short])
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        router.probabilities([short])
        taken.append(time.perf_counter() - start)
    start = time.perf_counter()
    router.probabilities(texts)
    batch = len(texts) / (time.perf_counter() - start)
    return Speed(float(np.percentile(taken, 50)) * 1e3, float(np.percentile(taken, 99)) * 1e3, batch)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that minimises the negative log-likelihood, by golden-section search over its logarithm."""

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]).mean())

    low, high, ratio = np.log(0.05), np.log(20.0), (np.sqrt(5.0) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


ALIKE = 0.001
"""Accuracies this near to each other are taken as equal when a threshold is chosen."""


def fit_threshold(probabilities: np.ndarray, truth: np.ndarray, fallback: int) -> float:
    """The threshold, of 0.30 to 0.90, below which abstaining to class `fallback` leaves most traffic right.

    Half of the traffic is taken to be `fallback`, whatever its share of the rows. Among those within ALIKE of the best
    the highest threshold wins: where it costs next to nothing, the router rather says that it is unsure.
    """
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    mine = truth == fallback
    weight = np.where(mine, 0.5 / max(mine.mean(), 1e-9), 0.5 / max((~mine).mean(), 1e-9))
    grid = np.arange(0.30, 0.905, 0.01)
    right = [float((weight * (np.where(confidence < t, fallback, best) == truth)).mean()) for t in grid]
    return round(float(grid[np.array(right) >= max(right) - ALIKE].max()), 2)
