"""What is far from all domains: each measure by its definition, and the probability that is made of them."""

import numpy as np
import pytest

from concertino.router.novelty import (
    CENTROID,
    ENERGY,
    MAHALANOBIS,
    MEASURES,
    NEIGHBOURS,
    OUTSIDE,
    Novelty,
    measure,
    readable,
)
from concertino.training.routing.classes import SHRINKAGE, available, fit_novelty
from concertino.training.routing.novelty import Held, choose_measures, fit_function, named

RNG = np.random.default_rng(3)
WIDTH = 6


def around(place: int, count: int) -> np.ndarray:
    """Unit vectors near an axis."""
    rows = np.eye(WIDTH)[place] + RNG.normal(scale=0.15, size=(count, WIDTH))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


VECTORS = np.vstack([around(0, 60), around(1, 60), around(2, 60)])
CLASSES = np.repeat([0, 1, 2], 60)
NOBODYS = np.vstack([around(4, 40), around(5, 40)])
NEW = np.vstack([around(0, 20), around(1, 20), around(4, 40)])
INSIDE = np.repeat([True, False], 40)
VOTES = np.full((80, 3), 1 / 3)
LOGITS = NEW[:, :3] * 5


def test_every_measure_is_higher_for_what_is_somebodys() -> None:
    arrays = readable(fit_novelty(VECTORS, CLASSES, NOBODYS))
    for name in (ENERGY, CENTROID, NEIGHBOURS, MAHALANOBIS, OUTSIDE):
        found = measure(name, arrays, NEW, VOTES, LOGITS)
        assert found[INSIDE].mean() > found[~INSIDE].mean() + found.std() * 0.5, name


def test_mahalanobis_is_the_difference_of_two_distances() -> None:
    arrays = readable(fit_novelty(VECTORS, CLASSES, NOBODYS))
    means = np.stack([VECTORS[place == CLASSES].mean(axis=0) for place in range(3)])

    def inverse(rows: np.ndarray) -> np.ndarray:
        covariance = rows.T @ rows / len(rows)
        return np.asarray(
            np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / WIDTH * np.eye(WIDTH))
        )

    def distance(row: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> float:
        return float((row - mean) @ precision @ (row - mean))

    within, overall, middle = inverse(VECTORS - means[CLASSES]), inverse(VECTORS - VECTORS.mean(0)), VECTORS.mean(0)
    wanted = [distance(row, middle, overall) - min(distance(row, mean, within) for mean in means) for row in NEW]
    assert measure(MAHALANOBIS, arrays, NEW, VOTES, None) == pytest.approx(wanted, rel=1e-3, abs=1e-2)


def test_without_rows_that_are_nobodys_or_logits_their_measures_are_missing() -> None:
    assert set(MEASURES) - set(available(fit_novelty(VECTORS, CLASSES, NOBODYS[:0]), False)) == {ENERGY, OUTSIDE}


def test_the_probability_follows_the_share_that_was_named() -> None:
    columns = np.r_[RNG.normal(1.0, 1.0, 900), RNG.normal(-1.0, 1.0, 100)][:, None]
    inside = np.arange(1000) < 900
    arrays = fit_novelty(VECTORS, CLASSES, NOBODYS[:0])
    means = []
    for share in (0.1, 0.5):
        novelty = Novelty(arrays | named(fit_function(columns, inside, share), [CENTROID]))
        means.append(float(novelty.inside(NEW, VOTES, None).mean()))
    assert means[0] > means[1]
    same, told = fit_function(columns, inside, 0.1), fit_function(columns, inside)
    assert same["novelty.intercept"] == pytest.approx(told["novelty.intercept"], abs=1e-5)


def test_one_measure_is_kept_where_several_are_no_better() -> None:
    truth = np.r_[np.zeros(200, dtype=int), np.full(100, -1)]
    good = np.r_[RNG.normal(3.0, 1.0, 200), RNG.normal(-3.0, 1.0, 100)]
    noise = RNG.normal(size=300)
    found, kept = choose_measures(Held(np.ones((300, 1)), {CENTROID: good, NEIGHBOURS: noise}, truth))
    assert kept == [CENTROID]
    assert found[CENTROID] > 0.99 > found[NEIGHBOURS]


def test_several_are_kept_where_they_tell_more_together() -> None:
    truth = np.r_[np.zeros(400, dtype=int), np.full(400, -1)]
    side = np.r_[np.ones(400), -np.ones(400)]
    pair = {ENERGY: side + RNG.normal(size=800), CENTROID: side + RNG.normal(size=800)}
    found, kept = choose_measures(Held(np.ones((800, 1)), pair, truth))
    assert kept == [ENERGY, CENTROID]
    assert found["energy + centroid"] > max(found[ENERGY], found[CENTROID])
