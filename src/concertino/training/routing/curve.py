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
    1 is the best single one at all costs). `oracle_gap` is the oracle's quality less the router's, at the weight 0.
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


def curve(router: str, predicted: np.ndarray, quality: np.ndarray, costs: np.ndarray) -> Curve:
    """Judge `[texts, candidates]` predictions. A hole that was chosen counts as the candidate's mean on this part."""
    actual = np.where(np.isnan(quality), np.nanmean(quality, axis=0), quality)
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
        (aiq - cheapest) / gap if gap > 0 else 1.0,
        float(actual.max(axis=1).mean()) - points[0].quality,
        tuple(points),
    )


def reference_curves(train: np.ndarray, quality: np.ndarray, costs: np.ndarray) -> list[Curve]:
    """What needs no router: the candidate that is best in training, candidates at random, and the oracle."""
    actual = np.where(np.isnan(quality), np.nanmean(quality, axis=0), quality)
    same = np.tile(np.nanmean(train, axis=0), (len(quality), 1))
    rng = np.random.default_rng(7)
    return [
        curve("best single (by weight of cost)", same, quality, costs),
        curve("random", rng.random(quality.shape), quality, costs),
        curve("oracle", actual, quality, costs),
    ]
