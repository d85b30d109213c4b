"""How good the answers of a skill are while it is trained: the metric of its recipe on the dev part."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from concertino.datasets.folder import Row
from concertino.datasets.prose import grade
from concertino.datasets.shell import same_command
from concertino.datasets.values import same_values
from concertino.programs.reading import read_program
from concertino.programs.sandbox import passes
from concertino.recipe import Metric


def score(metric: Metric, answers: Sequence[str], rows: Sequence[Row]) -> float:
    """The metric of answers to rows, 0 to 1."""
    return score_and_error(metric, answers, rows)[0]


def score_and_error(metric: Metric, answers: Sequence[str], rows: Sequence[Row]) -> tuple[float, float | None]:
    """The metric of answers to rows, 0 to 1, and of a graded one its standard error by how far the scores spread."""
    if metric.graded and len(rows) > 1:
        grades = [grade(metric, answer, row.answer) for answer, row in zip(answers, rows, strict=True)]
        return statistics.fmean(grades), statistics.stdev(grades) / math.sqrt(len(grades))
    if metric is Metric.MACRO_F1:
        return _macro_f1(answers, rows), None
    return sum(_worth(metric, answer, row) for answer, row in zip(answers, rows, strict=True)) / max(len(rows), 1), None


def is_better(
    reached: float, loss: float, best: float | None, best_loss: float, rows: int, error: float | None = None
) -> bool:
    """Whether weights with this metric and loss on `rows` dev rows are better than the best so far.

    Metrics within one standard error of each other are equal, and the lower loss decides: the loss is a mean over many
    tokens, the metric a share of few rows (the one-standard-error rule of Breiman et al. 1984). `error` is that of a
    metric that is no share, which is less.
    """
    if best is None:
        return True
    if error is None:
        error = math.sqrt(best * (1 - best) / max(rows, 1))
    return reached > best + error or (reached >= best - error and loss < best_loss)


def _worth(metric: Metric, answer: str, row: Row) -> float:
    return grade(metric, answer, row.answer) if metric.graded else _right(metric, answer, row)


def _right(metric: Metric, answer: str, row: Row) -> bool:
    if metric is Metric.COMMAND_TEMPLATE:
        return same_command(answer, row.answer)
    if metric is Metric.TESTS:
        program = read_program(answer)
        return program is not None and passes(program, row.tests)
    if metric is Metric.VALUES:
        return same_values(answer, row.answer)
    known = row.labels or (row.answer,)
    return " ".join(answer.split()) in {" ".join(right.split()) for right in known}


def _macro_f1(answers: Sequence[str], rows: Sequence[Row]) -> float:
    """Mean F1 over the labels that rows carry; a row with several counts for the one given, if it is among them."""
    right: Counter[str] = Counter()
    given: Counter[str] = Counter(answers)
    wanted: Counter[str] = Counter()
    for answer, row in zip(answers, rows, strict=True):
        known = row.labels or (row.answer,)
        hit = answer in known
        right[answer] += hit
        wanted[answer if hit else known[0]] += 1
    return sum(2 * right[label] / (given[label] + wanted[label]) for label in wanted) / max(len(wanted), 1)
