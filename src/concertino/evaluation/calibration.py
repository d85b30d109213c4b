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
import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.evaluation.results import Abstention, Calibration, OnTest
from concertino.evaluation.statistics import binomial_tail, upper_bound

CONFIDENCE = 0.95
GRID = tuple(round(0.01 * step, 2) for step in range(99, -1, -1))
"""Thresholds from the most confident down; fixed, so that they owe nothing to the calibration part."""
START_WITHOUT_DEV = 0.9
UNPROVEN_ROWS = 20
UNPROVEN_SHARE = 0.6
"""Of alpha: where nothing can be proven, at most so much of it may have erred above a threshold, on so many rows."""
MOST_FLOOR, OWN_BELOW, LEAST_FLOOR = 0.5, 0.01, 0.01
"""A threshold is at least what all but `OWN_BELOW` of the calibration rows reach, between these two bounds."""
COLDEST, HOTTEST = 0.5, 20.0
"""Temperatures of labels lie between these."""
_FEW_DEV_ROWS = 50
_LEAST, _MARGIN = 1e-300, 1e-4
"""Probabilities of answers are taken for no less than this, and tempered ones stay so far below one."""


NOBODY_SAYS = (
    "The metric {} grades answers, and the recipe does not say from which score one is right (evaluation.right_score), "
    "so none is held back for being doubtful."
)
"""Why a skill has no confidence in its answers."""
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

    A row with several labels counts for its likeliest. Rows without a known label are passed over. Where no answer is
    wrong, the likelihood rises for ever as the temperature falls, and few errors are little proof of few. So of n rows
    each counts as its label by (n + 1) / (n + 2) only, and by the rest as the nearest rival of that label (the targets
    of Platt 1999, section 2.2, for more than two labels); and logits are never more than doubled (`COLDEST`): rows
    of the skill's own data are easier than what it will be asked.
    """
    labels = sorted(scores[0]) if scores else []
    place = {label: number for number, label in enumerate(labels)}
    logits, truth = [], []
    for row, known in zip(scores, truths, strict=True):
        mine = [label for label in known if label in place]
        if mine:
            logits.append([row[label] * before for label in labels])
            truth.append(place[max(mine, key=lambda label: row[label])])
    if len(truth) < 2 or len(labels) < 2:
        return before
    return _smoothed_temperature(np.asarray(logits), np.asarray(truth))


def _smoothed_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature of least cross-entropy with the smoothed targets of `[rows, labels]` logits.

    Its derivative by the inverse temperature is the mean logit by the softmax less that by the targets, and rises.
    """
    rows = np.arange(len(truth))
    rivals = logits.copy()
    rivals[rows, truth] = -np.inf
    doubt = 1 / (len(truth) + 2)
    wanted = float(((1 - doubt) * logits[rows, truth] + doubt * rivals.max(1)).mean())
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(60):
        middle = (low + high) / 2
        chances = np.exp(middle * (logits - logits.max(1, keepdims=True)))
        said = float(((chances * logits).sum(1) / chances.sum(1)).mean())
        low, high = (middle, high) if said < wanted else (low, middle)
    return 2 / (low + high)


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
    """The lowest threshold that the fixed sequence reaches, and that still tells some texts from others.

    Where hardly an answer is wrong, the sequence goes down to 0.00, at which the skill would answer everything, texts
    of other domains too. So of the thresholds that passed, the lowest one is set that is at least what all but 1 % of
    the calibration rows reach, and 0.5 where they reach more. That keeps the promise: with 95 % probability every
    threshold that passed is one at which at most alpha err, all of them at once, so any of them may be chosen, by the
    calibration part too. It costs at most one in a hundred of the skill's own texts.

    Where the first test fails, nothing can be promised: then a threshold by estimate, marked `unproven`, or none.
    """
    rows = len(calibration.right)
    risk = float((~calibration.right).mean()) if rows else 0.0
    start = _start(dev, rows, alpha)
    passed: list[float] = []
    tested = 0
    for candidate in GRID[GRID.index(start) :]:
        tested += 1
        taken = calibration.confidence >= candidate
        errors, answered = int((~calibration.right[taken]).sum()), int(taken.sum())
        if answered == 0 or binomial_tail(errors, answered, alpha) > 1 - CONFIDENCE:
            break
        passed.append(candidate)
    if passed:
        threshold, note = _not_too_low(passed, calibration), f"Begun at {start:.2f}."
        if threshold > passed[-1]:
            note += f" Passed down to {passed[-1]:.2f}, and raised to {threshold:.2f}, so that some texts are below it."
        return _found(Abstention.FITTED, threshold, calibration, alpha, temperature, tested, note)
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
    passed: list[float] = []
    for candidate in GRID:
        taken = confidence >= candidate
        if taken.sum() < UNPROVEN_ROWS:
            continue
        if float((~right[taken]).mean()) > UNPROVEN_SHARE * alpha:
            break
        passed.append(candidate)
    return _not_too_low(passed, calibration) if passed else None


def _not_too_low(passed: Sequence[float], rows: Scores) -> float:
    """Of thresholds in falling order the lowest that is the floor or more; the first where all are below it.

    The floor is what all but `OWN_BELOW` of the rows reach, down to the grid, and between the bounds of floors.
    """
    reached = float(np.quantile(rows.confidence, OWN_BELOW, method="lower")) if len(rows.confidence) else 0.0
    floor = max(LEAST_FLOOR, math.floor(100 * min(MOST_FLOOR, reached)) / 100)
    return next((candidate for candidate in reversed(passed) if candidate >= floor), passed[0])


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
