"""Bases are measured as they are, each against each, without a training run; and what is refused.

Every engine echoes, so a model "answers" a text with the text: rows whose text is a right program are answered rightly.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from concertino.datasets.folder import Row, open_dataset
from concertino.errors import EvaluationRefused, ModelMissing
from concertino.evaluation import embedding, generalist
from concertino.evaluation.bases import evaluate_bases
from concertino.evaluation.results import BasesReport, Kind
from concertino.evaluation.setup import Options
from concertino.models import Store
from concertino.programs.outcome import Outcome
from concertino.recipe import EvaluationPlan, Metric, Recipe
from tests.evaluation.runs import RECIPE, echo_store, write_dataset

BASES = ("echo-model", "other-model")
PROGRAMS = structs.replace(
    RECIPE, free_text=True, evaluation=EvaluationPlan(metric=Metric.TESTS, generalist_rows=4, selection_rows=2)
)
VALUES = structs.replace(PROGRAMS, evaluation=structs.replace(PROGRAMS.evaluation, metric=Metric.VALUES))


@pytest.fixture(autouse=True)
def echoing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine of an evaluation is the echo backend."""
    monkeypatch.setattr(generalist, "BACKEND", "echo")
    monkeypatch.setattr(generalist, "OPTIONS", {})
    monkeypatch.setattr(embedding, "BACKEND", "echo")


def program_rows(part: str, count: int, wrong: int = 0) -> list[Row]:
    """Tasks that are their own solution, the first `wrong` of them a wrong one."""
    return [
        Row(
            f"{part}-{n}",
            f"def {part}_{n}(x):\n    return {3 if n < wrong else 2} * x",
            answer=f"def {part}_{n}(x):\n    return 2 * x",
            tests=f"from program import {part}_{n} as f\nassert f(2) == 4\n",
        )
        for n in range(count)
    ]


def measured(folder: Path, recipe: Recipe, said: list[str] | None = None, **options: Any) -> BasesReport:
    store = echo_store(folder / "home", *BASES)
    notes = [] if said is None else said
    dataset = open_dataset(folder / "data")
    return evaluate_bases(recipe, dataset, BASES, folder / "out", store, Options(**options), notes.append)


def test_bases_are_compared_with_each_other_on_the_same_rows(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    report = measured(tmp_path, RECIPE, command="concertino evaluate x.yaml --base a --base b")
    assert [(found.name, found.kind, found.rows) for found in report.runners] == [
        (base, Kind.BASE, 20) for base in BASES
    ]
    (pair,) = report.pairs
    assert (pair.first, pair.comparison.name, pair.comparison.difference, pair.comparison.p) == (*BASES, 0.0, 1.0)
    assert {base: sum(tried.chosen for tried in prompts) for base, prompts in report.prompts.items()} == dict.fromkeys(
        BASES, 1
    )
    assert (report.looks.adapters, report.looks.evaluations) == (2, 2)
    folder = tmp_path / "out/evaluation"
    assert msgspec.json.decode((folder / "evaluation.json").read_bytes(), type=BasesReport) == report
    assert len((folder / "predictions.jsonl").read_bytes().splitlines()) == 40
    assert len(measured(tmp_path, RECIPE, rows=7, part="dev").runners) == 2
    assert measured(tmp_path, RECIPE, rows=7, part="dev").rows == 7


def test_programs_are_judged_by_their_tests_and_the_report_says_how_they_ended(tmp_path: Path) -> None:
    broken = structs.replace(
        program_rows("test", 1)[0], id="broken", text="def broken(): pass", answer="def other(): pass"
    )
    write_dataset(
        tmp_path / "data",
        train=program_rows("train", 3),
        dev=program_rows("dev", 3),
        calibration=[],
        test=[*program_rows("test", 3, wrong=1), broken],
    )
    said: list[str] = []
    report = measured(tmp_path, PROGRAMS, said)
    assert (report.rows, report.left_out) == (3, 1)
    assert [(found.right, round(found.value, 3)) for found in report.runners] == [(2, 0.667)] * 2
    assert report.runners[0].outcomes == {Outcome.PASSED: 2, Outcome.FAILED: 1}
    assert any("1 of 4 rows were left out" in note for note in report.notes)
    assert any("without network" in note for note in report.notes)
    lines = (tmp_path / "out/evaluation/predictions.jsonl").read_bytes().splitlines()
    ended = [msgspec.json.decode(line)["outcome"] for line in lines]
    assert sorted(ended) == ["failed"] * 2 + ["passed"] * 4
    page = (tmp_path / "out/evaluation/report.html").read_text("utf-8")
    markdown = (tmp_path / "out/evaluation/report.md").read_text("utf-8")
    for sentence in ("tests passed 66.7%", "Its programs: 2 passed, 1 failed.", "not shown to be better", "left out"):
        assert sentence in page
        assert sentence in markdown
    assert "<script" not in page
    _, body = page.split("<body>")
    ElementTree.fromstring("<body>" + body.split("</body>")[0].replace("<br>", " ") + "</body>")  # every tag is closed


def test_of_values_the_report_says_how_much_of_them_was_right(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    right, half = Row("right", "2019; 2018", answer="2018; 2019"), Row("half", "2016; 2015", answer="2015; 2014")
    others = {part: [Row(part, f"a {part} text", answer="7")] for part in ("train", "dev")}
    write_dataset(tmp_path / "data", **others, calibration=[], test=[right, half])
    report = measured(tmp_path, VALUES)
    assert [(found.value, found.values_f1) for found in report.runners] == [(0.5, 0.75)] * 2
    for page in ("report.md", "report.html"):
        assert "F1 of its values: 75.0%." in (tmp_path / "out/evaluation" / page).read_text("utf-8")


def test_a_second_evaluation_asks_nothing_again(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    measured(tmp_path, RECIPE)
    said: list[str] = []
    measured(tmp_path, RECIPE, said)
    assert not [line for line in said if "rows to answer" in line]


def test_without_training_rows_no_examples_are_tried(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", train=[], dev=program_rows("dev", 2), calibration=[], test=program_rows("test", 2))
    report = measured(tmp_path, PROGRAMS)
    assert [tried.name for tried in report.prompts["echo-model"]] == ["zero-shot"]


def test_rows_without_tests_are_refused_before_a_model_is_asked(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    said: list[str] = []
    with pytest.raises(EvaluationRefused, match="60 of 60 rows have no tests"):
        measured(tmp_path, PROGRAMS, said)
    assert said == []


def test_a_base_that_is_not_here_is_said_with_what_to_do(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    dataset, store = open_dataset(tmp_path / "data"), echo_store(tmp_path / "home", *BASES)
    for bases, error, said in (
        (["echo-model", "absent"], ModelMissing, "concertino pull absent"),
        (["echo-model", "echo-model"], EvaluationRefused, "named twice"),
        (["all-MiniLM-L6-v2"], EvaluationRefused, "no language model"),
    ):
        with pytest.raises(error, match=said):
            evaluate_bases(RECIPE, dataset, bases, tmp_path / "out", store, Options(), print)
    with pytest.raises(ModelMissing, match="concertino pull all-MiniLM-L6-v2"):
        evaluate_bases(RECIPE, dataset, ["x"], tmp_path / "out", Store(tmp_path / "empty"), Options(), print)
    assert not (tmp_path / "out").exists()
