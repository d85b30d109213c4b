"""What a router makes of an outcome table: quality against cost, and how much of what there was to win it won."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.router.outcomes import utility

WEIGHTS = np.concatenate([np.linspace(0.0, 0.98, 99), 1.0 - np.geomspace(0.02, 1e-4, 30)])
"""Weights of cost at which a curve is drawn."""


class Point(Struct, frozen=True):
    """Mean quality and mean cost of what was chosen at a weight of cost."""

    cost_weight: float
    cost: float
    quality: float


class Curve(Struct, frozen=True):
    """A router on a test part.

    `aiq` is the mean height of the non-decreasing convex hull between the cheapest and the dearest candidate's cost,
    the curve's ends held level (RouterBench, Hu et al. 2024, arXiv 2403.12031). `apgr` is the mean over costs of the
    share of the gap between the cheapest and the best single candidate that is recovered (RouteLLM, arXiv 2406.18665;
    1 is the best single one at all costs, NaN says that the cheapest is the best, so that there is no gap).
    `oracle_gap` is the oracle's quality less the router's, at the weight 0.
    """

    router: str
    quality: float
    cost: float
    aiq: float
    apgr: float
    oracle_gap: float
    points: tuple[Point, ...]


def chosen(predicted: np.ndarray, costs: np.ndarray, cost_weight: float) -> np.ndarray:
    """The candidate of each text, `[texts]`; among equals the cheapest."""
    order = np.argsort(costs, kind="stable")
    return np.asarray(order[utility(predicted[:, order], costs[order], cost_weight).argmax(axis=1)])


def hull_height(points: Sequence[Point], low: float, high: float) -> float:
    """Mean quality of the non-decreasing convex hull of `points` over costs from `low` to `high`."""
    best: list[tuple[float, float]] = []
    for cost, quality in sorted((point.cost, point.quality) for point in points):
        if best and quality <= best[-1][1]:
            continue
        while len(best) > 1 and _above(best[-2], best[-1], (cost, quality)):
            best.pop()
        best.append((cost, quality))
    grid = np.linspace(low, high, 201)
    return float(np.interp(grid, [cost for cost, _ in best], [quality for _, quality in best]).mean())


def _above(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """True where the line from first to last runs over middle."""
    rise = (last[1] - first[1]) * (middle[0] - first[0])
    return rise >= (middle[1] - first[1]) * (last[0] - first[0])


def column_means(quality: np.ndarray) -> np.ndarray:
    """Mean of what was measured, `[candidates]`; of a candidate that nobody measured, the lowest of the others."""
    known = ~np.isnan(quality)
    told = known.sum(axis=0)
    means = np.where(known, quality, 0.0).sum(axis=0) / np.maximum(told, 1)
    return np.asarray(np.where(told > 0, means, means[told > 0].min(initial=1.0)))


def without_holes(quality: np.ndarray, elsewhere: np.ndarray | None = None) -> np.ndarray:
    """A hole as the candidate's mean on this part; where it has none here, its mean `elsewhere`, `[candidates]`."""
    means = column_means(quality)
    if elsewhere is not None:
        means = np.where(np.isnan(quality).all(axis=0), elsewhere, means)
    return np.where(np.isnan(quality), means, quality)


def curve(
    router: str, predicted: np.ndarray, quality: np.ndarray, costs: np.ndarray, elsewhere: np.ndarray | None = None
) -> Curve:
    """Judge `[texts, candidates]` predictions. A hole that was chosen counts as `without_holes` has it."""
    actual = without_holes(quality, elsewhere)
    texts = np.arange(len(actual))
    points = []
    for weight in WEIGHTS:
        picked = chosen(predicted, costs, float(weight))
        points.append(Point(float(weight), float(costs[picked].mean()), float(actual[texts, picked].mean())))
    singles = actual.mean(axis=0)
    low, high = float(costs.min()), float(costs.max())
    cheapest, strongest = float(singles[costs == costs.min()].max()), float(singles.max())
    aiq = hull_height(points, low, high)
    gap = strongest - cheapest
    return Curve(
        router,
        points[0].quality,
        points[0].cost,
        aiq,
        (aiq - cheapest) / gap if gap > 0 else float("nan"),
        float(actual.max(axis=1).mean()) - points[0].quality,
        tuple(points),
    )


def reference_curves(train: np.ndarray, quality: np.ndarray, costs: np.ndarray) -> list[Curve]:
    """What needs no router: the candidate that is best in training, candidates at random, and the oracle."""
    means = column_means(train)
    actual = without_holes(quality, means)
    same = np.tile(means, (len(quality), 1))
    rng = np.random.default_rng(7)
    return [
        curve("best single (by weight of cost)", same, actual, costs),
        curve("random", rng.random(quality.shape), actual, costs),
        curve("oracle", actual, actual, costs),
    ]
