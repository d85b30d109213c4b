"""Answers in prose are graded: by their mean score a skill is measured, compared and, if the recipe says so, sure."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from concertino.backends import echo
from concertino.datasets.folder import Row, open_dataset
from concertino.datasets.prose import token_f1
from concertino.evaluation import embedding, generalist, specialist
from concertino.evaluation import evaluate as evaluation
from concertino.evaluation.bases import evaluate_bases
from concertino.evaluation.evaluate import evaluate
from concertino.evaluation.measured import compare_all, examples, judge, measure
from concertino.evaluation.report import comparison_titles, markdown, runner_cells, runner_table, scope_line
from concertino.evaluation.results import Abstention, EvaluationReport, Kind, OutOfScope
from concertino.evaluation.running import Prediction
from concertino.evaluation.setup import Options
from concertino.evaluation.tasks.prose import ProseTask
from concertino.models.adapters import read_adapter, write_manifest
from concertino.recipe import EvaluationPlan, Metric
from concertino.types import TokenLogprob, TopLogprob
from tests.evaluation.runs import RECIPE, echo_store, write_dataset, write_run

PLAN = EvaluationPlan(Metric.TOKEN_F1, "echo-model", 30, selection_rows=4)


@pytest.fixture(autouse=True)
def echoing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine of an evaluation is the echo backend, which answers a text with the text."""
    monkeypatch.setattr(evaluation, "fit_scope", lambda *_: None)
    monkeypatch.setattr(specialist, "ENGINES", {"causal": "echo"})
    monkeypatch.setattr(generalist, "BACKEND", "echo")
    monkeypatch.setattr(generalist, "OPTIONS", {})
    monkeypatch.setattr(embedding, "BACKEND", "echo")


def prose_rows(part: str, count: int) -> list[Row]:
    """Texts whose answer has half of their words (every third) or nearly all."""
    made = []
    for number in range(count):
        doubtful = number % 3 == 0
        text = f"{'perhaps' if doubtful else 'surely'} restart {part} {number} now please"
        answer = f"{part} {number} now wait for some time" if doubtful else f"surely restart {part} {number} now"
        made.append(Row(f"{part}-{number}", text, answer=answer))
    return made


def judged(folder: Path, plan: EvaluationPlan = PLAN, **options: Any) -> EvaluationReport:
    recipe = structs.replace(RECIPE, free_text=True, evaluation=plan)
    if not (folder / "run").exists():
        counts = (("train", 30), ("dev", 90), ("calibration", 240), ("test", 60))
        parts = {part: prose_rows(part, count) for part, count in counts}
        write_run(folder / "run", write_dataset(folder / "data", **parts))
        adapter = folder / "run" / "adapter"
        write_manifest(adapter, structs.replace(read_adapter(adapter), labels=()))
    dataset, store = open_dataset(folder / "data"), echo_store(folder / "home")
    return evaluate(recipe, dataset, folder / "run", store, Options(**options), lambda _: None)


def test_all_runners_are_measured_by_their_mean_score_and_compared_by_a_permutation_test(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    report = judged(tmp_path)
    mine = report.runners[0]
    wanted = [token_f1(row.text, row.answer) for row in prose_rows("test", 60)]
    assert mine.value == pytest.approx(np.mean(wanted)) and mine.lower < mine.value < mine.upper < 1
    assert mine.upper - mine.lower == pytest.approx(2 * 1.96 * np.std(wanted) / np.sqrt(60), rel=0.1)
    assert (mine.right, mine.accuracy, mine.ece) == (None, None, None)
    assert mine.grades[Metric.TOKEN_F1] == pytest.approx(mine.value) and set(mine.grades) == {
        "token_f1",
        "rouge_l",
        "chrf",
    }
    names = [(found.name, found.rows) for found in report.comparisons]
    assert names == [("untuned base", 30), ("TF-IDF", 60), ("embedding kNN", 60), ("generalist", 30)]
    tfidf = report.comparisons[1]
    assert tfidf.test == "paired-permutation" and 0 < tfidf.p <= tfidf.holm_p
    assert tfidf.lower < tfidf.difference < tfidf.upper and tfidf.only_specialist + tfidf.only_other == tfidf.discordant
    assert report.runners[2].value > 0.5  # the nearest row's answer has many of the words
    assert tfidf.difference == pytest.approx(mine.value - report.runners[2].value)
    # The generalist echoes the text as well, so that not one row differs.
    assert (report.comparisons[3].difference, report.comparisons[3].p) == (0.0, 1.0)
    assert all(tried.score is not None for tried in report.prompts)
    assert report.calibration.abstention is Abstention.NOT_APPLICABLE
    assert report.text_temperature is None and report.calibration.threshold is None
    lines = (tmp_path / "run/evaluation/predictions.jsonl").read_bytes().splitlines()
    first = msgspec.json.decode(lines[0])
    assert first["right"] is None and 0 < first["score"] < 1


def cells(text: str) -> set[str]:
    """The cells of the tables of a report in Markdown or HTML."""
    return {cell.strip() for cell in re.split(r"\||</?t[hd]>", text)}


def test_the_reports_say_what_was_graded_and_show_what_scores_look_like(tmp_path: Path) -> None:
    report = judged(tmp_path, baselines=False, generalist=False)
    said, page = markdown(report), (tmp_path / "run/evaluation/report.html").read_text("utf-8")
    for text in (said, page):
        assert "token F1" in text and "ROUGE-L" in text and "chrF" in text and "the median is" in text
        assert "rows higher / lower than other" in text and "paired-permutation" in text
        assert "does not say from which score one is right (evaluation.right_score)" in text
        assert "What the scores look like" in text and "now wait for some time" in text
        assert "format failures" in text and not {"right", "ECE", "AURC"} & cells(text)
    outside = OutOfScope(40, 0.1, None, [], scope_auroc=0.99)
    said_of = scope_line(structs.replace(report, out_of_scope=outside))
    assert "AUROC of the scope 0.990." in said_of and "confidence" not in said_of
    assert [item.score for item in report.examples] == sorted(item.score for item in report.examples)
    assert len(report.examples) == 6 and "0 of 60" not in said


def sure(text: str, top: int) -> tuple[TokenLogprob, ...]:
    """A step of an engine that doubts where the text says perhaps."""
    logprob = -3.0 if "perhaps" in text else -0.001
    return (TokenLogprob(text, logprob, (TopLogprob(text, logprob),)[:top]),)


def test_a_score_that_counts_as_right_gives_a_confidence_and_a_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "_certain", sure)
    options: dict[str, Any] = {"baselines": False, "generalist": False}
    report = judged(tmp_path, structs.replace(PLAN, right_score=0.8), **options)
    assert (report.runners[0].right, report.runners[0].rows) == (40, 60)
    titles, lines = runner_table(report.runners)
    assert {"right", "ECE", "AURC"} < set(titles) and "40 of 60" in lines[0]
    assert "An answer counts as right from a score of 80.0% on" in markdown(report)
    assert report.calibration.abstention is Abstention.FITTED and report.text_temperature is not None
    assert report.on_test is not None and (report.on_test.errors, report.on_test.answered) == (0, 40)
    without = judged(tmp_path, **options)
    assert (without.on_test, without.text_temperature) == (None, None)
    assert without.runners[0].value == report.runners[0].value  # what is compared by does not depend on it


def test_format_failures_have_no_score_and_what_counts_as_right_changes_no_figure() -> None:
    rows = [Row(str(n), "t", answer="call us today") for n in range(4)]
    answers = ["Call us today.", "call", None, "no"]
    for right_score, right in ((0.0, None), (0.5, 2), (0.6, 1)):
        task = ProseTask("a/b", Metric.TOKEN_F1, right_score)
        made = judge(task, "x", Kind.SPECIALIST, "about", rows, [Prediction(str(n), "") for n in range(4)], answers)
        found = measure(made, Metric.TOKEN_F1, ())
        assert found.value == pytest.approx(0.375) and found.right == right
        assert found.format_failures == 1 and found.quartiles == pytest.approx((0.0, 0.25, 0.625))
        assert runner_cells(found)[3] == ("-" if right is None else f"{right} of 4")
    assert [ProseTask("a/b", Metric.CHRF).read(rows[0], text) for text in (" \n", " a ")] == [None, "a"]
    assert [item.score for item in examples(made)] == [0.0, 0.0, 0.5, 1.0]


def test_rows_of_a_group_are_no_independent_proof() -> None:
    task, rows = ProseTask("a/b", Metric.TOKEN_F1), [Row(str(n), "t", answer="a b c d") for n in range(24)]
    together = [structs.replace(row, group=str(number % 3)) for number, row in enumerate(rows)]
    p = []
    for chosen in (rows, together):
        one, two = (
            judge(task, name, Kind.BASE, "", chosen, [Prediction("", "")] * 24, [said] * 24)
            for name, said in (("one", "b c d"), ("two", "b"))
        )
        found = compare_all(one, [two], Metric.TOKEN_F1, ())[0]
        p.append(found.p)
    assert p[0] < 0.001 and p[1] == pytest.approx(0.25, abs=0.02)
    assert (found.only_specialist, found.only_other) == (24, 0)


def test_bases_are_compared_by_their_mean_scores(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", **{part: prose_rows(part, 30) for part in ("train", "dev", "test")})
    store, recipe = (
        echo_store(tmp_path / "home", "echo-model", "other"),
        structs.replace(RECIPE, free_text=True, evaluation=PLAN),
    )
    dataset = open_dataset(tmp_path / "data")
    report = evaluate_bases(
        recipe, dataset, ("echo-model", "other"), tmp_path / "out", store, Options(), lambda _: None
    )
    assert report.pairs[0].comparison.test == "paired-permutation" and report.runners[0].value > 0.5
    said = (tmp_path / "out/evaluation/report.md").read_text("utf-8")
    assert "rows higher / lower than second" in said and "token F1" in said


def test_what_a_table_counts_is_said_for_metrics_that_are_right_or_wrong_too() -> None:
    assert comparison_titles(Metric.ACCURACY)[-2] == "specialist alone / other alone"
