"""Intervals and tests give the numbers of SciPy and of the literature."""

import math
from typing import Any

import numpy as np
import pytest

from concertino.evaluation.statistics import (
    binomial_tail,
    compare,
    holm,
    mcnemar,
    mean,
    permutation_p,
    resampled_interval,
    upper_bound,
    wilson,
)


@pytest.fixture
def stats() -> Any:
    return pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("right", "rows"), [(0, 10), (1, 10), (80, 100), (100, 100), (1234, 1503)])
def test_wilson_s_interval_is_scipy_s(stats: Any, right: int, rows: int) -> None:
    theirs = stats.binomtest(right, rows).proportion_ci(method="wilson")
    mine = wilson(right, rows)
    assert (mine.lower, mine.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_hundred_rows_at_eighty_percent_are_plus_or_minus_eight_points() -> None:
    mine = wilson(80, 100)
    assert (mine.lower, mine.upper) == pytest.approx((0.7112, 0.8666), abs=1e-4)
    assert wilson(0, 0).upper == 1.0


@pytest.mark.parametrize(("errors", "rows"), [(0, 59), (1, 10), (5, 200), (10, 10), (37, 1000)])
def test_clopper_and_pearson_s_bound_is_scipy_s(stats: Any, errors: int, rows: int) -> None:
    theirs = stats.binomtest(errors, rows, alternative="less").proportion_ci(0.95, method="exact").high
    assert upper_bound(errors, rows) == pytest.approx(theirs, abs=1e-9)


def test_fifty_nine_rows_without_an_error_are_the_fewest_that_show_five_percent() -> None:
    assert upper_bound(0, 59) < 0.05 < upper_bound(0, 58)
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-12)


def test_the_binomial_tail_is_scipy_s(stats: Any) -> None:
    for most, trials, rate in ((0, 5, 0.2), (3, 40, 0.05), (70, 1500, 0.05), (5, 5, 0.5)):
        assert binomial_tail(most, trials, rate) == pytest.approx(stats.binom.cdf(most, trials, rate), rel=1e-9)


def test_mcnemar_is_exact_below_25_discordant_pairs(stats: Any) -> None:
    first = [True] * 12 + [False] * 3 + [True] * 50
    second = [False] * 12 + [True] * 3 + [True] * 50
    found = mcnemar(first, second)
    assert found.exact
    assert (found.first_only, found.second_only) == (12, 3)
    assert found.p == pytest.approx(stats.binomtest(3, 15).pvalue)


def test_mcnemar_is_corrected_from_25_discordant_pairs(stats: Any) -> None:
    """Bland's example (An Introduction to Medical Statistics, 13.9): 212 and 144 discordant pairs."""
    found = mcnemar([True] * 212 + [False] * 144, [False] * 212 + [True] * 144)
    assert not found.exact
    assert found.p == pytest.approx(stats.chi2.sf((abs(212 - 144) - 1) ** 2 / 356, 1))
    assert found.p < 0.001


def test_mcnemar_without_discordant_pairs_shows_nothing() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0


def test_holm_steps_down_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def columns(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return np.column_stack([values.astype(float), np.ones(len(values))])


def test_the_paired_bootstrap_finds_the_standard_error_of_a_paired_difference() -> None:
    draw = np.random.default_rng(3)
    first, second = draw.random(400) < 0.8, draw.random(400) < 0.7
    found = compare(columns(first), columns(second), [str(i) for i in range(400)], mean)
    differences = first.astype(float) - second
    half = 1.96 * differences.std() / math.sqrt(400)
    assert found.difference == pytest.approx(differences.mean())
    assert (found.lower, found.upper) == pytest.approx(
        (differences.mean() - half, differences.mean() + half), abs=0.006
    )


def test_rows_of_one_group_are_drawn_together_and_widen_the_interval() -> None:
    right = np.repeat(np.random.default_rng(1).random(40) < 0.7, 10)
    none = np.zeros(400, bool)
    alone = compare(columns(right), columns(none), [str(i) for i in range(400)], mean)
    grouped = compare(columns(right), columns(none), [str(i // 10) for i in range(400)], mean)
    assert grouped.upper - grouped.lower > 2.5 * (alone.upper - alone.lower)


def test_two_equal_runners_differ_by_nothing_with_p_one() -> None:
    same = columns(np.arange(50) % 3 > 0)
    found = compare(same, same, [str(i) for i in range(50)], mean)
    assert (found.difference, found.lower, found.upper, found.p) == (0, 0, 0, 1.0)


def test_the_bootstrap_interval_of_a_share_is_near_wilson_s() -> None:
    right = np.arange(300) < 240
    found = resampled_interval(columns(right), [str(i) for i in range(300)], mean)
    near = wilson(240, 300)
    assert (found.lower, found.upper) == pytest.approx((near.lower, near.upper), abs=0.01)


def test_the_permutation_test_is_scipy_s(stats: Any) -> None:
    draw = np.random.default_rng(1)
    first = draw.beta(3, 5, 60)
    second = np.clip(first - 0.01 + draw.normal(0, 0.15, 60), 0, 1)

    def difference(one: np.ndarray, two: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(np.mean(one - two, axis=axis))

    theirs = stats.permutation_test(
        (first, second), difference, permutation_type="samples", n_resamples=50_000, rng=draw
    ).pvalue
    mine = permutation_p(first, second, [str(n) for n in range(60)])
    assert 0.01 < mine < 0.5 and mine == pytest.approx(theirs, abs=0.015)


def test_a_permutation_of_few_rows_is_fisher_s_exact_one_and_of_a_group_goes_together() -> None:
    ones, none = np.ones(6), np.zeros(6)
    rows = [str(n) for n in range(6)]
    assert permutation_p(ones, none, rows) == pytest.approx(2 / 2**6, abs=0.005)
    assert permutation_p(none, ones, rows) == permutation_p(ones, none, rows)
    assert permutation_p(ones, none, ["a"] * 3 + ["b"] * 3) == pytest.approx(2 / 2**2, abs=0.02)
    assert permutation_p(ones, none, ["a"] * 6) == 1.0
    assert permutation_p(ones, ones, rows) == 1.0
    assert permutation_p(np.full(400, 0.6), np.full(400, 0.1), [str(n) for n in range(400)]) < 0.0002
