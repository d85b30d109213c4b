"""Figures of merit over rows and answers, and over confidences."""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from concertino.datasets.folder import Row
from concertino.datasets.prose import MEASURES, grade
from concertino.datasets.values import same_values, values_f1
from concertino.evaluation.statistics import mean
from concertino.recipe import Metric

BINS = 10


class RiskCoverage(Struct, frozen=True):
    """What share of the answers given is wrong when only the most confident share is answered."""

    coverage: list[float]
    risk: list[float]
    aurc: float
    """Area under the curve; lower is better (Geifman & El-Yaniv 2017)."""


class Bin(Struct, frozen=True):
    """Answers whose confidence lies in one tenth."""

    confidence: float
    """Their mean confidence."""
    accuracy: float
    rows: int


def is_right(row: Row, answer: str | None, metric: Metric) -> bool:
    """Whether an answer is right: one of the row's labels, its text, its command in form, its values, or a program that
    passes its tests."""
    if answer is None:
        return False
    if metric is Metric.EXACT:
        return " ".join(answer.split()) == " ".join(row.answer.split())
    if metric is Metric.COMMAND_TEMPLATE:
        from concertino.datasets.shell import command_template

        return command_template(answer) == command_template(row.answer)
    if metric is Metric.TESTS:
        from concertino.programs.sandbox import passes

        return passes(answer, row.tests)
    if metric is Metric.VALUES:
        return same_values(answer, row.answer)
    return answer in row.labels


def statistics_of(
    rows: Sequence[Row], answers: Sequence[str | None], worth: Sequence[float], metric: Metric, labels: Sequence[str]
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """What each row adds to the sums that `metric` is made of, `[rows, statistics]`, and the figure over such sums.

    `worth` says of each answer whether it is right, or of a graded metric its score.
    """
    if metric is not Metric.MACRO_F1:
        return np.column_stack([np.asarray(worth, float), np.ones(len(rows))]), mean
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(rows), 3, len(labels)))
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        # A row with several labels counts for the one that was answered, if it is among them.
        truth = answer if answer is not None and answer in row.labels else row.labels[0]
        if truth in place:
            counts[number, 2, place[truth]] = 1
        if answer is not None and answer in place:
            counts[number, 1, place[answer]] = 1
            counts[number, 0, place[answer]] = answer == truth
    return counts.reshape(len(rows), -1), _macro_f1


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    """Mean F1 over the labels that are present in the rows; predictions of absent labels cost the present ones."""
    hit, predicted, actual = sums.reshape(len(sums), 3, -1).transpose(1, 0, 2)
    present = actual > 0
    f1 = 2 * hit / np.maximum(predicted + actual, 1e-12)
    return np.asarray((f1 * present).sum(1) / np.maximum(present.sum(1), 1))


def macro_f1(rows: Sequence[Row], answers: Sequence[str | None], labels: Sequence[str]) -> float:
    """Mean F1 over the labels that the rows have."""
    values, figure = statistics_of(rows, answers, [False] * len(rows), Metric.MACRO_F1, labels)
    return float(figure(values.sum(0)[None])[0])


def mean_values_f1(rows: Sequence[Row], answers: Sequence[str | None]) -> float:
    """The mean of `values_f1` over the rows; a format failure counts 0."""
    pairs = zip(rows, answers, strict=True)
    return float(np.mean([0.0 if answer is None else values_f1(answer, row.answer) for row, answer in pairs]))


def mean_grades(rows: Sequence[Row], answers: Sequence[str | None]) -> dict[Metric, float]:
    """The mean score by each graded metric; a format failure counts 0."""
    pairs = list(zip(rows, answers, strict=True))
    return {metric: float(np.mean([grade(metric, answer, row.answer) for row, answer in pairs])) for metric in MEASURES}


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> RiskCoverage:
    """The curve at each distinct confidence, from the most confident down."""
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], np.cumsum(~right[order])
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal confidences are answered together
    answered = np.flatnonzero(last) + 1
    coverage, risk = answered / len(ranked), errors[answered - 1] / answered
    steps = np.diff(np.concatenate([[0.0], coverage]))
    return RiskCoverage(coverage.tolist(), risk.tolist(), float((steps * risk).sum()))


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Ten equal bins of confidence; empty ones are left out."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            found.append(Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    return found
