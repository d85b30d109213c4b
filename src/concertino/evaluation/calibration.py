"""When to answer: a temperature that makes confidences honest, and a threshold that keeps a promise on errors.

The promise: with 95 % probability over the calibration part, at most alpha of the answers given are wrong. Looking at
many thresholds on one part and keeping the best would break it, so the thresholds are tested in an order that was
fixed before the calibration part was seen, from the most confident downward, each at the full level, and the first
that fails ends the search (fixed sequence testing, as in Learn then Test, Angelopoulos et al. 2021). Where the
sequence begins is chosen on the dev part: at a start that few rows pass, no test could succeed. The temperature moves
confidences too, so it is fitted on dev and on a fifth of the calibration part's groups, and the thresholds are tested
on the rest.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.evaluation.results import Abstention, Calibration, OnTest
from concertino.evaluation.statistics import binomial_tail, upper_bound
from concertino.training.routing_figures import fit_temperature

CONFIDENCE = 0.95
GRID = tuple(round(0.01 * step, 2) for step in range(99, -1, -1))
"""Thresholds from the most confident down; fixed, so that they owe nothing to the calibration part."""
START_WITHOUT_DEV = 0.9
_FEW_DEV_ROWS = 50


TEMPERATURE_SHARE = 5
"""One in so many groups of the calibration part is for the temperature."""


class Scores(Struct, frozen=True, eq=False):
    """Confidences of the answers to some rows, and whether each was right."""

    confidence: np.ndarray
    right: np.ndarray


def for_temperature(group: str) -> bool:
    """Whether a group of the calibration part is for the temperature, by its hash; the others are for the threshold."""
    return int.from_bytes(hashlib.sha256(b"temperature:" + group.encode()).digest()[:4]) % TEMPERATURE_SHARE == 0


def temperature_for(scores: Sequence[dict[str, float]], truths: Sequence[Sequence[str]], before: float) -> float:
    """The temperature that makes the labels' log-probabilities, written at temperature `before`, most likely.

    A row with several labels counts for its likeliest. Rows without a known label are passed over.
    """
    labels = sorted(scores[0]) if scores else []
    place = {label: number for number, label in enumerate(labels)}
    logits, truth = [], []
    for row, known in zip(scores, truths, strict=True):
        mine = [label for label in known if label in place]
        if mine:
            logits.append([row[label] * before for label in labels])
            truth.append(place[max(mine, key=lambda label: row[label])])
    if len(truth) < 2:
        return before
    return fit_temperature(np.asarray(logits), np.asarray(truth))


def feasibility(base_risk: float, alpha: float) -> float:
    """The least share to abstain from: (m - alpha) / (1 - alpha) with base risk m above alpha, else 0."""
    return max(0.0, (base_risk - alpha) / (1 - alpha))


def fit_threshold(calibration: Scores, dev: Scores | None, alpha: float, temperature: float) -> Calibration:
    """The lowest threshold that the fixed sequence reaches; none, and `infeasible`, where the first test fails."""
    rows = len(calibration.right)
    risk = float((~calibration.right).mean()) if rows else 0.0
    start = _start(dev, rows, alpha)
    threshold, tested = None, 0
    for candidate in GRID[GRID.index(start) :]:
        tested += 1
        taken = calibration.confidence >= candidate
        errors, answered = int((~calibration.right[taken]).sum()), int(taken.sum())
        if answered == 0 or binomial_tail(errors, answered, alpha) > 1 - CONFIDENCE:
            break
        threshold = candidate
    if threshold is None:
        return Calibration(
            Abstention.INFEASIBLE,
            None,
            alpha,
            CONFIDENCE,
            temperature,
            rows,
            risk,
            feasibility(risk, alpha),
            None,
            None,
            None,
            tested,
            f"At {start:.2f}, where the search began, it cannot be shown that at most {alpha:.1%} of the answers err. "
            "The skill carries no threshold.",
        )
    taken = calibration.confidence >= threshold
    errors, answered = int((~calibration.right[taken]).sum()), int(taken.sum())
    return Calibration(
        Abstention.FITTED,
        threshold,
        alpha,
        CONFIDENCE,
        temperature,
        rows,
        risk,
        feasibility(risk, alpha),
        answered / rows,
        errors / answered,
        upper_bound(errors, answered, CONFIDENCE),
        tested,
        f"Searched from {start:.2f} downward.",
    )


def not_applicable(alpha: float, why: str) -> Calibration:
    """For skills without a confidence, or without a calibration part."""
    return Calibration(Abstention.NOT_APPLICABLE, None, alpha, CONFIDENCE, 1.0, 0, 0.0, 0.0, None, None, None, 0, why)


def apply_threshold(scores: Scores, threshold: float) -> OnTest:
    """What a threshold does on other rows: answers are given at or above it, as in serving."""
    taken = scores.confidence >= threshold
    answered, errors = int(taken.sum()), int((~scores.right[taken]).sum())
    return OnTest(
        answered / max(1, len(scores.right)),
        errors / answered if answered else None,
        upper_bound(errors, answered, CONFIDENCE) if answered else None,
        answered,
        errors,
    )


def _start(dev: Scores | None, rows: int, alpha: float) -> float:
    """Where the sequence begins: the threshold whose test, by the errors on dev, is the likeliest to succeed."""
    if dev is None or len(dev.right) < _FEW_DEV_ROWS:
        return START_WITHOUT_DEV
    best, start = -1.0, START_WITHOUT_DEV
    for candidate in GRID:
        taken = dev.confidence >= candidate
        expected = round(float(taken.mean()) * rows)
        if not expected:
            continue
        # Half an error more than dev had: no errors among few rows is no proof of none among many.
        rate = (float((~dev.right[taken]).sum()) + 0.5) / (float(taken.sum()) + 1)
        most = _most_errors(expected, alpha)
        chance = binomial_tail(most, expected, rate) if most >= 0 else 0.0
        if chance > best:
            best, start = chance, candidate
    return start


def _most_errors(answered: int, alpha: float) -> int:
    """Errors among the answered with which the test succeeds; -1 where it cannot."""
    low, high = -1, int(answered * alpha) + 1  # as many as alpha expects never succeed
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_tail(middle, answered, alpha) <= 1 - CONFIDENCE else (low, middle)
    return low
