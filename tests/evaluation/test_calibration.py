"""The threshold keeps its promise, and says so when it cannot."""

import numpy as np
import pytest

from concertino.evaluation.calibration import (
    GRID,
    Scores,
    apply_threshold,
    feasibility,
    fit_threshold,
    for_temperature,
    temperature_for,
    text_temperature_for,
)
from concertino.evaluation.results import Abstention


def drawn(rows: int, seed: int) -> Scores:
    """Calibrated confidences, many near 1: an answer of confidence c is right with probability c."""
    draw = np.random.default_rng(seed)
    confidence = 1 - draw.random(rows) ** 4
    return Scores(confidence, draw.random(rows) < confidence)


def test_the_feasibility_check_is_the_formula() -> None:
    assert feasibility(0.24, 0.05) == pytest.approx(0.2)
    assert feasibility(0.03, 0.05) == 0.0


def test_a_threshold_is_found_whose_bound_is_at_most_alpha() -> None:
    found = fit_threshold(drawn(1000, 1), drawn(500, 2), 0.05, 1.0)
    assert found.abstention is Abstention.FITTED
    assert found.threshold is not None
    assert found.risk_bound is not None
    assert found.risk_bound <= 0.05
    assert found.must_abstain > 0.1
    assert found.coverage is not None
    assert 0.1 < found.coverage < 1 - found.must_abstain


def test_the_promise_is_kept_on_at_least_95_of_100_draws() -> None:
    """True risk of the answered on a large part of the same law, over 200 calibration parts."""
    world, broken, fitted = drawn(200_000, 99), 0, 0
    for seed in range(200):
        found = fit_threshold(drawn(500, 1000 + seed), drawn(300, 5000 + seed), 0.05, 1.0)
        if found.threshold is not None:
            fitted += 1
            broken += (~world.right[world.confidence >= found.threshold]).mean() > 0.05
    assert fitted > 150
    assert broken <= 200 * 0.05 + 8


def test_too_few_rows_to_promise_anything_give_a_threshold_that_is_marked_unproven() -> None:
    """40 calibration rows, all right: fewer than the 59 that could show 5 %."""
    few = Scores(np.linspace(0.6, 0.99, 40), np.ones(40, bool))
    wrong_below = Scores(np.linspace(0.2, 0.99, 40), np.linspace(0.2, 0.99, 40) > 0.5)
    found = fit_threshold(few, wrong_below, 0.05, 1.0)
    assert found.abstention is Abstention.UNPROVEN
    assert found.threshold is not None and 0.4 < found.threshold <= 0.6
    assert found.risk_bound is not None and found.risk_bound > 0.05


def test_where_nothing_can_be_shown_there_is_no_threshold() -> None:
    guessing = Scores(np.random.default_rng(1).random(500), np.random.default_rng(2).random(500) < 0.5)
    found = fit_threshold(guessing, guessing, 0.05, 1.0)
    assert found.abstention is Abstention.INFEASIBLE
    assert found.threshold is None
    assert found.must_abstain > 0.4


def test_too_few_rows_promise_nothing_however_right_they_are() -> None:
    perfect = Scores(np.full(58, 0.99), np.ones(58, bool))
    assert fit_threshold(perfect, None, 0.05, 1.0).abstention is Abstention.UNPROVEN
    assert fit_threshold(Scores(np.full(59, 0.99), np.ones(59, bool)), None, 0.05, 1.0).threshold == 0.5


def test_the_search_goes_down_an_order_that_was_fixed_and_stops_at_the_first_failure() -> None:
    """Rows between 0.5 and 0.6 are all wrong: below them lie only right ones, which the search never reaches."""
    confidence = np.concatenate([np.full(200, 0.95), np.full(100, 0.55), np.full(5000, 0.2)])
    right = np.concatenate([np.ones(200, bool), np.zeros(100, bool), np.ones(5000, bool)])
    found = fit_threshold(Scores(confidence, right), None, 0.05, 1.0)
    assert found.threshold == 0.56
    assert found.tested == GRID.index(0.55) - GRID.index(0.9) + 1


def sure(confidence: np.ndarray, errors: int = 0) -> Scores:
    """Answers of these confidences, of which the least sure are wrong."""
    right = np.ones(len(confidence), bool)
    right[np.argsort(confidence)[:errors]] = False
    return Scores(confidence, right)


@pytest.mark.parametrize(
    ("least", "expected"), [(0.9, 0.5), (0.304, 0.3), (0.005, 0.01)], ids=["sure", "unsure", "hardly sure"]
)
def test_a_skill_without_errors_still_has_a_threshold(least: float, expected: float) -> None:
    """Down to 0.00 everything passes: what all but 1 % of the rows reach is set, from 0.01 to 0.5."""
    rows = sure(np.append(np.full(200, 0.95), np.full(20, least)))
    found = fit_threshold(rows, None, 0.05, 1.0)
    assert (found.abstention, found.threshold) == (Abstention.FITTED, expected)
    assert found.tested == GRID.index(0.0) - GRID.index(0.9) + 1
    assert f"Passed down to 0.00, and raised to {expected:.2f}" in found.note


def test_figures_are_those_at_the_threshold_that_is_set() -> None:
    """One wrong answer at 0.2, which the raised threshold leaves out."""
    rows = sure(np.append(np.full(199, 0.9), 0.2), errors=1)
    found = fit_threshold(rows, None, 0.05, 1.0)
    assert (found.threshold, found.coverage, found.risk) == (0.5, 0.995, 0.0)
    assert found.risk_bound is not None and found.risk_bound < 0.02
    assert found.base_risk == 0.005


def test_a_threshold_is_never_raised_above_where_the_search_began() -> None:
    """By the dev part it begins at 0.1; above that nothing was tested."""
    dev, rows = sure(np.full(200, 0.1)), sure(np.full(200, 0.4))
    assert fit_threshold(rows, dev, 0.05, 1.0).threshold == 0.1


def test_an_estimate_has_a_floor_too() -> None:
    few = sure(np.linspace(0.7, 0.99, 40))
    found = fit_threshold(few, None, 0.05, 1.0)
    assert (found.abstention, found.threshold) == (Abstention.UNPROVEN, 0.5)


def test_the_promise_is_kept_by_raised_thresholds_too() -> None:
    """Nearly all are right: the search often ends low, and 1 in 20 calibration parts may break the promise."""
    draw = np.random.default_rng(7)

    def world(rows: int) -> Scores:
        confidence = 0.3 + 0.7 * draw.random(rows)
        return Scores(confidence, draw.random(rows) < 0.94 + 0.05 * confidence)

    large = world(100_000)
    found = [fit_threshold(world(400), None, 0.05, 1.0).threshold for _ in range(200)]
    fitted = [threshold for threshold in found if threshold is not None]
    assert len(fitted) > 100 and min(fitted) >= 0.3
    broken = [threshold for threshold in fitted if (~large.right[large.confidence >= threshold]).mean() > 0.05]
    assert len(broken) <= 200 * 0.05 + 8


def test_answers_are_given_at_the_threshold_itself() -> None:
    seen = apply_threshold(Scores(np.array([0.5, 0.49]), np.array([True, False])), 0.5)
    assert (seen.answered, seen.errors, seen.coverage) == (1, 0, 0.5)


def test_an_overconfident_model_is_given_the_temperature_that_it_lacks() -> None:
    draw = np.random.default_rng(5)
    labels = ("a", "b", "c")
    logits = draw.normal(size=(3000, 3)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truths = [(labels[draw.choice(3, p=p)],) for p in true]
    said = logits * 2.5  # as if it had been left at a temperature of 0.4
    normal = said - np.log(np.exp(said).sum(1, keepdims=True))
    scores = [dict(zip(labels, row.tolist(), strict=True)) for row in normal]
    assert temperature_for(scores, truths, 1.0) == pytest.approx(2.5, rel=0.08)
    assert temperature_for(scores, truths, 2.0) == pytest.approx(5.0, rel=0.08)  # written at 2: logits are twice these


def log_chances(logits: np.ndarray, labels: str) -> list[dict[str, float]]:
    normal = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return [dict(zip(labels, row.tolist(), strict=True)) for row in normal]


@pytest.mark.parametrize("labels", ["ab", "abcdefgh"])
def test_rows_that_are_all_right_do_not_make_a_skill_certain(labels: str) -> None:
    """Of 60 right answers one more may be wrong: 1 in 62 is what is left to the others."""
    draw = np.random.default_rng(8)
    logits = draw.normal(size=(60, len(labels)))
    truth = logits.argmax(1)
    logits[np.arange(60), truth] += 2.0
    scores, truths = log_chances(logits, labels), [(labels[place],) for place in truth]
    found = temperature_for(scores, truths, 1.0)
    assert 0.5 <= found < 2
    chances = np.exp(logits / found)
    assert 0.9 < (chances.max(1) / chances.sum(1)).mean() < 0.99
    assert temperature_for(scores[:5], truths[:5], 1.0) > found  # fewer rows, less sure


def test_logits_are_at_most_doubled_however_many_rows_are_right() -> None:
    logits = np.tile([1.0, 0.0], (100_000, 1))
    assert temperature_for(log_chances(logits, "ab"), [("a",)] * 100_000, 1.0) == pytest.approx(0.5)


def test_the_temperature_and_the_threshold_share_no_group() -> None:
    shares = [for_temperature(f"group {number}") for number in range(2000)]
    assert 0.15 < sum(shares) / 2000 < 0.25
    assert shares == [for_temperature(f"group {number}") for number in range(2000)]


def test_free_text_is_given_the_temperature_that_its_answers_are_right_by() -> None:
    draw = np.random.default_rng(6)
    said = np.exp(-draw.exponential(6.0, size=4000))
    right = draw.random(4000) < said ** (1 / 2.5)
    assert text_temperature_for(Scores(said, right)) == pytest.approx(2.5, rel=0.08)


def test_where_all_answers_are_wrong_the_temperature_stays_and_certain_ones_break_nothing() -> None:
    assert text_temperature_for(Scores(np.array([0.5, 0.1]), np.array([False, False]))) == 1.0
    mixed = Scores(np.array([1.0, 1.0, 0.0, 0.3]), np.array([True, False, False, True]))
    assert 0.25 <= text_temperature_for(mixed) <= 64
