"""Figures of merit are those of scikit-learn, or of an example that can be checked by hand."""

import numpy as np
import pytest

from concertino.datasets.folder import Row
from concertino.evaluation.metrics import is_right, macro_f1, mean_values_f1, reliability, risk_coverage
from concertino.recipe import Metric


def test_any_label_of_a_row_is_right_and_a_format_failure_is_not() -> None:
    row = Row("1", "text", ("a", "b"))
    assert [is_right(row, answer, Metric.ACCURACY) for answer in ("a", "b", "c", None)] == [True, True, False, False]


def test_exact_match_overlooks_white_space_only() -> None:
    row = Row("1", "text", answer="ls  -l\n")
    assert is_right(row, "ls -l", Metric.EXACT)
    assert not is_right(row, "ls -L", Metric.EXACT)


def test_a_command_is_right_when_its_form_is() -> None:
    row = Row("1", "text", answer="find . -name '*.txt' -type f")
    assert is_right(row, 'find /tmp -type f -name "*.md"', Metric.COMMAND_TEMPLATE)
    assert not is_right(row, "find . -type d -name '*.txt'", Metric.COMMAND_TEMPLATE)
    assert not is_right(row, None, Metric.COMMAND_TEMPLATE)


def test_a_program_is_right_when_it_passes_its_tests() -> None:
    row = Row("1", "t", answer="def f(): return 1", tests="from program import f\nassert f() == 1")
    assert is_right(row, "f = lambda: 1", Metric.TESTS)
    assert not is_right(row, "f = lambda: 2", Metric.TESTS)
    assert not is_right(row, None, Metric.TESTS)


def test_values_are_right_however_they_are_written() -> None:
    row = Row("1", "text", answer="= (3-2)/2*100 percent")
    assert is_right(row, "50 percent", Metric.VALUES) and is_right(row, "= 50-0 percent", Metric.VALUES)
    assert not is_right(row, "50", Metric.VALUES) and not is_right(row, None, Metric.VALUES)


def test_half_of_the_values_is_half_of_an_f1_and_a_format_failure_is_none() -> None:
    pytest.importorskip("scipy")
    rows = [Row("1", "t", answer="2018; 2019"), Row("2", "t", answer="5 percent"), Row("3", "t", answer="7")]
    assert mean_values_f1(rows, ["2019", "= 0.05", None]) == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_macro_f1_is_scikit_learn_s() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    labels = ("a", "b", "c")
    draw = np.random.default_rng(0)
    truth, said = draw.choice(labels, 200), draw.choice(labels, 200)
    rows = [Row(str(i), "t", (str(t),)) for i, t in enumerate(truth)]
    expected = sklearn.f1_score(truth, said, average="macro")
    assert macro_f1(rows, [str(answer) for answer in said], labels) == pytest.approx(expected)


def test_macro_f1_counts_the_labels_that_are_there() -> None:
    rows = [Row("1", "t", ("a",)), Row("2", "t", ("a",))]
    assert macro_f1(rows, ["a", "a"], ("a", "never seen")) == 1.0
    assert macro_f1(rows, ["a", None], ("a", "never seen")) == pytest.approx(2 / 3)


def test_the_risk_coverage_curve_by_hand() -> None:
    curve = risk_coverage(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    assert curve.coverage == [0.25, 0.75, 1.0]  # equal confidences are answered together
    assert curve.risk == pytest.approx([0.0, 1 / 3, 0.5])
    assert curve.aurc == pytest.approx(0.5 * (1 / 3) + 0.25 * 0.5)


def test_reliability_leaves_out_empty_tenths() -> None:
    bins = reliability(np.array([0.95, 1.0, 0.31]), np.array([True, False, True]))
    assert [(found.rows, found.accuracy) for found in bins] == [(1, 1.0), (2, 0.5)]
