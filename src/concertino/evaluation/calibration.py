"""When to answer: a temperature that makes confidences honest, and a threshold that keeps a promise on errors.

The promise: with 95 % probability over the calibration part, at most alpha of the answers given are wrong. Looking at
many thresholds on one part and keeping the best would break it, so the thresholds are tested in an order that was
fixed before the calibration part was seen, from the most confident downward, each at the full level, and the first
that fails ends the search (fixed sequence testing, as in Learn then Test, Angelopoulos et al. 2021). Where the
sequence begins is chosen on the dev part: at a start that few rows pass, no test could succeed. The temperature moves
confidences too, so it is fitted on dev, with a fifth of the calibration part's groups where dev is small, and the
thresholds are tested on the rest.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.evaluation.results import Abstention, Calibration, OnTest
from concertino.evaluation.statistics import binomial_tail, upper_bound
from concertino.training.routing.figures import fit_temperature

CONFIDENCE = 0.95
GRID = tuple(round(0.01 * step, 2) for step in range(99, -1, -1))
"""Thresholds from the most confident down; fixed, so that they owe nothing to the calibration part."""
START_WITHOUT_DEV = 0.9
UNPROVEN_ROWS = 20
UNPROVEN_SHARE = 0.6
"""Of alpha: where nothing can be proven, at most so much of it may have erred above a threshold, on so many rows."""
_FEW_DEV_ROWS = 50
_LEAST, _MARGIN = 1e-300, 1e-4
"""Probabilities of answers are taken for no less than this, and tempered ones stay so far below one."""


ENOUGH_FOR_TEMPERATURE = 60
"""With so many dev rows the temperature is fitted on those alone."""
TEMPERATURE_SHARE = 5
"""With fewer, one in so many groups of the calibration part is for the temperature."""


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


def text_temperature_for(scores: Scores) -> float:
    """The temperature that makes the probabilities of answers in free text fit best how often they are right.

    The one with the least cross-entropy on a grid from 1/4 to 64. Where all are wrong, or all are right, there is
    nothing to fit, and it is 1.
    """
    if scores.right.all() or not scores.right.any():
        return 1.0
    logs = np.log(np.maximum(scores.confidence, _LEAST))
    grid = np.exp2(np.arange(-2, 6.001, 0.05))
    chances = np.clip(np.exp(logs[None] / grid[:, None]), _LEAST, 1 - _MARGIN)
    losses = -np.where(scores.right, np.log(chances), np.log1p(-chances)).mean(1)
    return round(float(grid[int(losses.argmin())]), 3)


def feasibility(base_risk: float, alpha: float) -> float:
    """The least share to abstain from: (m - alpha) / (1 - alpha) with base risk m above alpha, else 0."""
    return max(0.0, (base_risk - alpha) / (1 - alpha))


def fit_threshold(calibration: Scores, dev: Scores | None, alpha: float, temperature: float) -> Calibration:
    """The lowest threshold that the fixed sequence reaches.

    Where its first test fails, nothing can be promised: then a threshold by estimate, marked `unproven`, or none.
    """
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
    if threshold is not None:
        return _found(Abstention.FITTED, threshold, calibration, alpha, temperature, tested, f"Begun at {start:.2f}.")
    why = f"At {start:.2f}, where the search began, it cannot be shown that at most {alpha:.1%} of the answers err."
    guess = _unproven(calibration, dev, alpha)
    if guess is not None:
        why += f" At {guess:.2f} fewer than {UNPROVEN_SHARE:.0%} of that erred; that is an estimate, not a promise."
        return _found(Abstention.UNPROVEN, guess, calibration, alpha, temperature, tested, why)
    why += " The skill carries no threshold."
    none = (None, None, None)
    must = feasibility(risk, alpha)
    return Calibration(
        Abstention.INFEASIBLE, None, alpha, CONFIDENCE, temperature, rows, risk, must, *none, tested, why
    )


def _unproven(calibration: Scores, dev: Scores | None, alpha: float) -> float | None:
    """The lowest threshold above which calibration and dev together erred clearly less than alpha, if there is one."""
    confidence, right = calibration.confidence, calibration.right
    if dev is not None:
        confidence, right = np.append(confidence, dev.confidence), np.append(right, dev.right)
    kept = None
    for candidate in GRID:
        taken = confidence >= candidate
        if taken.sum() < UNPROVEN_ROWS:
            continue
        if float((~right[taken]).mean()) > UNPROVEN_SHARE * alpha:
            break
        kept = candidate
    return kept


def _found(
    kind: Abstention, threshold: float, rows: Scores, alpha: float, temperature: float, tested: int, note: str
) -> Calibration:
    taken, risk = rows.confidence >= threshold, float((~rows.right).mean())
    errors, answered = int((~rows.right[taken]).sum()), int(taken.sum())
    return Calibration(
        kind,
        threshold,
        alpha,
        CONFIDENCE,
        temperature,
        len(rows.right),
        risk,
        feasibility(risk, alpha),
        answered / len(rows.right),
        errors / answered if answered else None,
        upper_bound(errors, answered, CONFIDENCE) if answered else None,
        tested,
        note,
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
