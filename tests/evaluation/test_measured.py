"""A report says where a figure rests on next to no rows of a label."""

from collections.abc import Sequence

from concertino.datasets.folder import Row
from concertino.evaluation.measured import Answered, compare_all, notes_on_labels
from concertino.evaluation.results import Kind
from concertino.evaluation.running import Prediction
from concertino.recipe import Metric

LABELS = ("fraud", "legitimate")


def answered(name: str, labels: Sequence[str]) -> Answered:
    rows = [Row(f"r{number}", f"transfer {number}", (label,)) for number, label in enumerate(labels)]
    made = [Prediction(row.id, row.labels[0]) for row in rows]
    kind = Kind.SPECIALIST if name == "specialist" else Kind.GENERALIST
    return Answered(name, kind, "", rows, made, [row.labels[0] for row in rows], [True] * len(rows))


MANY = ["legitimate"] * 589 + ["fraud"]


def test_a_report_says_that_a_label_has_next_to_no_rows_and_prompted_models_met_none() -> None:
    mine, other = answered("specialist", MANY), answered("generalist", MANY[:24])
    promise, rare, unmet = notes_on_labels(mine, [other], Metric.MACRO_F1, 0.05, 20)
    assert "Always answering `legitimate` would be wrong on 0.17% of the rows" in promise
    assert "of 1 of 2 there are fewer than 20 rows" in rare and "`fraud` (1)" in rare
    assert "The 24 rows of generalist have none of `fraud`" in unmet
    (found,) = compare_all(mine, [other], Metric.MACRO_F1, LABELS)
    assert found.labels == 1


def test_of_even_labels_it_says_nothing() -> None:
    even = list(LABELS) * 40
    assert notes_on_labels(answered("specialist", even), [answered("x", even[:24])], Metric.MACRO_F1, 0.05, 20) == []
    assert notes_on_labels(answered("specialist", MANY[-60:]), [], Metric.ACCURACY, 0.01, 20) == []
    text = Answered("specialist", Kind.SPECIALIST, "", [Row("1", "x", answer="y")], [], [], [])
    assert notes_on_labels(text, [], Metric.EXACT, 0.05, 20) == []
