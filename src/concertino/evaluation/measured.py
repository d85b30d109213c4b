"""Predictions -> figures: one runner's, and two runners' on the rows that both answered."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from msgspec import Struct, structs

from concertino.config import Price
from concertino.datasets.folder import Row
from concertino.evaluation.calibration import Scores
from concertino.evaluation.metrics import macro_f1, mean_grades, mean_values_f1, risk_coverage, statistics_of
from concertino.evaluation.results import Comparison, Confusion, Example, Kind, LabelResult, Pair, RunnerResult
from concertino.evaluation.running import Prediction
from concertino.evaluation.statistics import (
    McNemar,
    Resampled,
    compare,
    holm,
    mcnemar,
    permutation_p,
    resampled_interval,
    wilson,
)
from concertino.evaluation.tasks.base import Task
from concertino.evaluation.tasks.program import ProgramTask
from concertino.evaluation.tasks.prose import ProseTask
from concertino.programs.outcome import Outcome
from concertino.recipe import Metric
from concertino.training.routing.figures import auroc, expected_calibration_error

_MOST_CONFUSIONS = 20
_LISTED = 8
_OF_A_KIND = 2
"""Examples of answers with low, middling and high scores."""


class Answered(Struct, frozen=True, eq=False):
    """What a runner made of some rows: an answer each (None: a format failure), and whether it is right."""

    name: str
    kind: Kind
    about: str
    rows: Sequence[Row]
    predictions: Sequence[Prediction]
    answers: Sequence[str | None]
    right: Sequence[bool]
    """Empty where answers are graded, and nobody said from which score they are right."""
    price: Price = Price()
    outcomes: Sequence[Outcome] = ()
    """Of programs: how the tests ended, row by row."""
    grades: Sequence[float] = ()
    """Of prose: the score of each answer, 0 to 1."""

    @property
    def worth(self) -> Sequence[float]:
        """What each answer counts: its score, or whether it is right."""
        return self.grades or self.right

    @property
    def scores(self) -> Scores | None:
        """Confidences, where every answer has one and is right or wrong."""
        found = [prediction.confidence for prediction in self.predictions]
        if not found or not self.right or any(confidence is None for confidence in found):
            return None
        return Scores(np.asarray(found, float), np.asarray(self.right, bool))


def group_of(row: Row) -> str:
    """The cluster that a row is drawn with: its group, or itself."""
    return row.group or row.id


def measure(answered: Answered, metric: Metric, labels: Sequence[str]) -> RunnerResult:
    """A runner's figures."""
    rows, right = len(answered.rows), sum(answered.right)
    values, figure = statistics_of(answered.rows, answered.answers, answered.worth, metric, labels)
    value = float(figure(values.sum(0)[None])[0])
    groups = [group_of(row) for row in answered.rows]
    drawn = metric is Metric.MACRO_F1 or metric.graded
    interval = resampled_interval(values, groups, figure) if drawn else wilson(right, rows)
    scores, predictions = answered.scores, answered.predictions
    prompt = _mean([item.prompt_tokens for item in predictions])
    completion = _mean([item.completion_tokens for item in predictions])
    price = answered.price
    priced = (price.prompt or price.completion) and prompt is not None and completion is not None
    return RunnerResult(
        name=answered.name,
        kind=answered.kind,
        about=answered.about,
        rows=rows,
        metric=metric,
        value=value,
        lower=interval.lower,
        upper=interval.upper,
        right=right if answered.right else None,
        accuracy=right / rows if answered.right else None,
        macro_f1=macro_f1(answered.rows, answered.answers, labels) if labels else None,
        format_failures=sum(answer is None for answer in answered.answers),
        cpu_s=_percentile([item.cpu_s for item in predictions], 50),
        latency_p50_s=_percentile([item.seconds for item in predictions], 50),
        latency_p95_s=_percentile([item.seconds for item in predictions], 95),
        prompt_tokens=prompt,
        completion_tokens=completion,
        price_per_1000=((prompt or 0) * price.prompt + (completion or 0) * price.completion) / 1000 if priced else None,
        currency=price.currency,
        joules=_mean([item.joules for item in predictions]),
        ece=expected_calibration_error(scores.confidence, scores.right) if scores else None,
        aurc=risk_coverage(scores.confidence, scores.right).aurc if scores else None,
        answer_auroc=_number(auroc(scores.confidence, scores.right)) if scores else None,
        outcomes={outcome: count for outcome in Outcome if (count := list(answered.outcomes).count(outcome))},
        values_f1=mean_values_f1(answered.rows, answered.answers) if metric is Metric.VALUES else None,
        grades=mean_grades(answered.rows, answered.answers) if metric.graded else {},
        quartiles=_quartiles(answered.grades),
    )


def judge(
    task: Task,
    name: str,
    kind: Kind,
    about: str,
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
    answers: Sequence[str | None],
    price: Price = Price(),  # noqa: B008 - it is frozen
) -> Answered:
    """What a runner answered, with what the task says of each answer."""
    pairs = list(zip(rows, answers, strict=True))
    outcomes: list[Outcome] = []
    grades: list[float] = []
    if isinstance(task, ProseTask):
        grades = [task.score(row, answer) for row, answer in pairs]
        right = [grade >= task.right_score for grade in grades] if task.right_score else []
    else:
        right = [task.right(row, answer) for row, answer in pairs]
    if isinstance(task, ProgramTask):
        outcomes = [task.verdict(row, answer).outcome for row, answer in pairs]
    return Answered(name, kind, about, rows, predictions, answers, right, price, outcomes, grades)


def prediction_lines(answered: Answered) -> list[dict[str, Any]]:
    """A runner's lines of predictions.jsonl."""
    told: Sequence[bool | None] = answered.right or [None] * len(answered.rows)
    lines: list[dict[str, Any]] = [
        {
            "id": row.id,
            "group": group_of(row),
            "runner": answered.name,
            "expected": list(row.labels) or [row.answer],
            "answer": answer,
            "right": right,
            "confidence": item.confidence,
        }
        for row, answer, right, item in zip(answered.rows, answered.answers, told, answered.predictions, strict=True)
    ]
    for line, grade in zip(lines, answered.grades, strict=False):
        line["score"] = grade
    for line, outcome in zip(lines, answered.outcomes, strict=False):
        line["outcome"] = outcome
    return lines


def compare_all(
    specialist: Answered, others: Sequence[Answered], metric: Metric, labels: Sequence[str]
) -> list[Comparison]:
    """The specialist against each other runner, on shared rows, with p-values adjusted for all of them."""
    found = [_compare(specialist, other, metric, labels) for other in others]
    adjusted = holm([item.p for item in found])
    return [_with_holm(item, p) for item, p in zip(found, adjusted, strict=True)]


def compare_pairs(everyone: Sequence[Answered], metric: Metric, labels: Sequence[str]) -> list[Pair]:
    """Each runner with each later one, with p-values adjusted for all of them."""
    found = [(one.name, _compare(one, other, metric, labels)) for one, other in combinations(everyone, 2)]
    adjusted = holm([item.p for _, item in found])
    return [Pair(name, _with_holm(item, p)) for (name, item), p in zip(found, adjusted, strict=True)]


def _compare(specialist: Answered, other: Answered, metric: Metric, labels: Sequence[str]) -> Comparison:
    theirs = {row.id: place for place, row in enumerate(other.rows)}
    mine = [place for place, row in enumerate(specialist.rows) if row.id in theirs]
    yours = [theirs[specialist.rows[place].id] for place in mine]
    rows = [specialist.rows[place] for place in mine]
    first_worth, second_worth = [specialist.worth[p] for p in mine], [other.worth[p] for p in yours]
    first, figure = statistics_of(rows, [specialist.answers[p] for p in mine], first_worth, metric, labels)
    second, _ = statistics_of(rows, [other.answers[p] for p in yours], second_worth, metric, labels)
    groups = [group_of(row) for row in rows]
    drawn = compare(first, second, groups, figure)
    p, test, paired = paired_test(metric, first_worth, second_worth, groups, drawn)
    own_cpu = _percentile([specialist.predictions[p].cpu_s for p in mine], 50)
    their_cpu = _percentile([other.predictions[p].cpu_s for p in yours], 50)
    return Comparison(
        name=other.name,
        rows=len(rows),
        metric=metric,
        difference=drawn.difference,
        lower=drawn.lower,
        upper=drawn.upper,
        p=p,
        holm_p=1.0,
        test=test,
        only_specialist=paired.first_only,
        only_other=paired.second_only,
        discordant=paired.discordant,
        cpu_ratio=own_cpu / their_cpu if own_cpu is not None and their_cpu else None,
        labels=len({label for row in rows for label in row.labels}) or None,
    )


def paired_test(
    metric: Metric, first: Sequence[float], second: Sequence[float], groups: Sequence[str], drawn: Resampled
) -> tuple[float, str, McNemar]:
    """The p-value of two runners' worth on the same rows, the name of the test, and how many rows each has better.

    `drawn` is their comparison by bootstrap, which is the test of macro-F1.
    """
    pairs = list(zip(first, second, strict=True))
    paired = mcnemar([one > two for one, two in pairs], [one < two for one, two in pairs])
    if metric is Metric.MACRO_F1:
        return drawn.p, "paired-bootstrap", paired
    if metric.graded:
        return permutation_p(np.asarray(first), np.asarray(second), groups), "paired-permutation", paired
    return paired.p, "mcnemar-exact" if paired.exact else "mcnemar-corrected", paired


def _with_holm(comparison: Comparison, p: float) -> Comparison:
    return structs.replace(comparison, holm_p=p)


def by_label(specialist: Answered, others: Sequence[Answered], labels: Sequence[str]) -> list[LabelResult]:
    """The specialist's figures a label, worst recall first. A row counts for the label of its that was answered, or
    for its first."""
    truths = [_truth(row, answer) for row, answer in zip(specialist.rows, specialist.answers, strict=True)]
    found = []
    for label in labels:
        actual = sum(truth == label for truth in truths)
        if not actual:
            continue
        predicted = sum(answer == label for answer in specialist.answers)
        right = sum(truth == label and good for truth, good in zip(truths, specialist.right, strict=True))
        beside = {}
        for other in others:
            theirs = [
                good
                for row, answer, good in zip(other.rows, other.answers, other.right, strict=True)
                if _truth(row, answer) == label
            ]
            beside[other.name] = (len(theirs), sum(theirs))
        found.append(
            LabelResult(
                label,
                actual,
                right,
                precision=right / predicted if predicted else 0.0,
                recall=right / actual,
                f1=2 * right / (predicted + actual),
                others=beside,
            )
        )
    return sorted(found, key=lambda item: (item.recall, -item.rows))


def notes_on_labels(
    specialist: Answered, others: Sequence[Answered], metric: Metric, alpha: float, fewest: int
) -> list[str]:
    """What a reader must know of labels that few rows have. `fewest`: test rows from which a label's figure counts."""
    counts = Counter(label for row in specialist.rows for label in row.labels)
    if not counts:
        return []
    notes = []
    most, rows = counts.most_common(1)[0]
    errs = 1 - rows / len(specialist.rows)
    if len(counts) > 1 and errs <= alpha:
        notes.append(
            f"Always answering `{most}` would be wrong on {errs:.2%} of the rows, less than the {alpha:.1%} that the "
            "threshold promises: it says nothing of the other labels. Set evaluation.alpha far below."
        )
    if metric is not Metric.MACRO_F1:
        return notes
    if rare := [f"`{label}` ({count})" for label, count in counts.items() if count < fewest]:
        notes.append(
            f"By macro-F1 all labels count alike, and of {len(rare)} of {len(counts)} there are fewer than {fewest} "
            f"rows, so that one answer moves the figure far, and an interval without errors is too narrow: "
            f"{_listed(sorted(rare))}."
        )
    met: dict[frozenset[str], list[Answered]] = {}
    for other in others:
        met.setdefault(frozenset(label for row in other.rows for label in row.labels), []).append(other)
    for labels, same in met.items():
        if lacking := sorted(f"`{label}`" for label in counts.keys() - labels):
            notes.append(
                f"The {len(same[0].rows)} rows of {' and '.join(other.name for other in same)} have none of "
                f"{_listed(lacking)}, so that the comparison is over the other labels: more evaluation.generalist_rows "
                "would have them."
            )
    return notes


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def confusions(specialist: Answered) -> list[Confusion]:
    """What is taken for what most often."""
    counts: dict[tuple[str, str], int] = {}
    if not specialist.right:
        return []
    for row, answer, right in zip(specialist.rows, specialist.answers, specialist.right, strict=True):
        if not right and row.labels:
            pair = (row.labels[0], answer if answer is not None else "(no answer)")
            counts[pair] = counts.get(pair, 0) + 1
    worst = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_CONFUSIONS]
    return [Confusion(truth, answer, rows) for (truth, answer), rows in worst]


def examples(specialist: Answered) -> list[Example]:
    """Of answers in prose the two of the lowest scores, two in the middle and the two of the highest."""
    ranked = sorted(range(len(specialist.grades)), key=lambda place: specialist.grades[place])
    middle = (len(ranked) - _OF_A_KIND) // 2
    shown = ranked
    if len(ranked) > 3 * _OF_A_KIND:
        shown = ranked[:_OF_A_KIND] + ranked[middle : middle + _OF_A_KIND] + ranked[-_OF_A_KIND:]
    rows, answers, grades = specialist.rows, specialist.answers, specialist.grades
    return [Example(rows[place].text, rows[place].answer, answers[place], grades[place]) for place in shown]


def _quartiles(grades: Sequence[float]) -> tuple[float, float, float] | None:
    if not grades:
        return None
    lower, median, upper = np.percentile(grades, [25, 50, 75])
    return float(lower), float(median), float(upper)


def _truth(row: Row, answer: str | None) -> str:
    if not row.labels:
        return ""
    return answer if answer is not None and answer in row.labels else row.labels[0]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percentile(values: Sequence[float | None], percent: float) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.percentile(known, percent)) if known else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
