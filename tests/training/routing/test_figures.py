"""Figures of merit, on cases that can be worked out by hand."""

import numpy as np
import pytest

from concertino.training.routing.figures import (
    auroc,
    expected_calibration_error,
    figures,
    fit_temperature,
    fit_threshold,
)

CLASSES = ("code", "general")


def test_confidence_that_separates_perfectly_has_auroc_one() -> None:
    assert auroc(np.array([0.9, 0.8, 0.3]), np.array([True, True, False])) == 1.0


def test_ties_count_half() -> None:
    assert auroc(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


def test_sure_and_wrong_half_of_the_time_is_off_by_half() -> None:
    assert expected_calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == pytest.approx(0.5)


def test_an_abstention_counts_as_general() -> None:
    probabilities = np.array([[0.55, 0.45], [0.9, 0.1], [0.52, 0.48]])
    judged = figures(probabilities, ["general", "code", "code"], CLASSES, 0.6, ["a", "a", "b"])
    assert judged.accuracy == pytest.approx(2 / 3)
    assert judged.abstained == pytest.approx(2 / 3)
    assert judged.recall == {"code": 0.5, "general": 1.0}
    assert judged.by_source == {"a": 1.0, "b": 0.0}


def test_the_temperature_undoes_a_known_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3))
    powers = np.exp(honest)
    truth = np.array([rng.choice(3, p=row / row.sum()) for row in powers])
    assert fit_temperature(honest * 3.0, truth) == pytest.approx(3.0, rel=0.1)


def test_the_threshold_is_where_guesses_stop_paying() -> None:
    probabilities = np.array([[0.45, 0.55 - 0.0], [0.7, 0.3], [0.66, 0.34], [0.95, 0.05]])
    truth = np.array([1, 1, 1, 0])
    threshold = fit_threshold(probabilities, truth, fallback=1)
    assert 0.7 < threshold <= 0.95
