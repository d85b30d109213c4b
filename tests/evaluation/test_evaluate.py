"""One evaluation from end to end, with engines that echo; and what is refused."""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from concertino.backends import echo
from concertino.datasets.folder import Row, open_dataset
from concertino.errors import EvaluationRefused, ModelMissing, TrainingRefused
from concertino.evaluation import embedding, generalist, specialist
from concertino.evaluation import evaluate as evaluation
from concertino.evaluation.checks import normalised
from concertino.evaluation.evaluate import evaluate
from concertino.evaluation.metrics import RiskCoverage
from concertino.evaluation.page import document
from concertino.evaluation.plots import risk_and_coverage
from concertino.evaluation.results import Abstention, EvaluationReport, Kind, read_report
from concertino.evaluation.setup import Options, sample
from concertino.models import Store
from concertino.models.adapters import read_adapter, write_manifest
from concertino.recipe import EvaluationPlan, Metric
from concertino.training.train import locked
from concertino.types import TokenLogprob, TopLogprob
from tests.evaluation.runs import RECIPE, animal_rows, echo_store, write_dataset, write_run


@pytest.fixture
def echoing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine of an evaluation is the echo backend; the encoder that scopes are read with is not in the store."""
    monkeypatch.setattr(evaluation, "fit_scope", lambda *_: None)
    monkeypatch.setattr(specialist, "ENGINES", {"causal": "echo"})
    monkeypatch.setattr(generalist, "BACKEND", "echo")
    monkeypatch.setattr(generalist, "OPTIONS", {})
    monkeypatch.setattr(embedding, "BACKEND", "echo")


def run(folder: Path, said: list[str] | None = None, **options: Any) -> EvaluationReport:
    if not (folder / "run").exists():
        write_run(folder / "run", write_dataset(folder / "data"))
    store = echo_store(folder / "home")
    notes = [] if said is None else said
    return evaluate(RECIPE, open_dataset(folder / "data"), folder / "run", store, Options(**options), notes.append)


@pytest.mark.usefixtures("echoing")
def test_a_specialist_is_measured_against_all_others_on_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    report = run(tmp_path, command="concertino evaluate x.yaml")
    assert [(found.name, found.kind, found.rows) for found in report.runners] == [
        ("specialist", Kind.SPECIALIST, 60),
        ("untuned base", Kind.BASE, 20),
        ("TF-IDF", Kind.CLASSICAL, 60),
        ("embedding kNN", Kind.CLASSICAL, 60),
        ("generalist", Kind.GENERALIST, 20),
    ]
    mine = report.runners[0]
    assert (mine.right, mine.value) == (54, 0.9)  # the echo names the animal of the text; 6 labels are wrong
    assert {found.name: found.rows for found in report.comparisons}["generalist"] == 20
    assert all(found.holm_p >= found.p for found in report.comparisons)
    assert [tried.name for tried in report.prompts if tried.chosen]
    assert report.forgetting.applicable
    assert report.forgetting.agreement == 1.0
    assert report.out_of_scope is not None
    assert report.out_of_scope.rows == 5
    assert read_report(tmp_path / "run") == report
    lines = (tmp_path / "run/evaluation/predictions.jsonl").read_bytes().splitlines()
    assert len(lines) == 60 * 3 + 20 * 2
    assert msgspec.json.decode(lines[0])["runner"] == "specialist"


def doubting(text: str, top: int) -> tuple[TokenLogprob, ...]:
    """A step of an engine that doubts where the text says perhaps."""
    logprob = -3.0 if "perhaps" in text else -0.001
    return (TokenLogprob(text, logprob, (TopLogprob(text, logprob),)[:top]),)


@pytest.mark.usefixtures("echoing")
def test_free_text_has_a_confidence_in_its_answers_and_a_threshold_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The echo is right where a text's answer is the text; most that say perhaps have another."""

    def rows(part: str, count: int) -> list[Row]:
        made = []
        for number in range(count):
            doubtful = number % 3 == 0
            text = f"{'perhaps' if doubtful else 'surely'} {part} {number}"
            made.append(Row(f"{part}-{number}", text, (), answer="other" if doubtful and number % 12 else text))
        return made

    monkeypatch.setattr(echo, "_certain", doubting)
    recipe = structs.replace(RECIPE, free_text=True, evaluation=EvaluationPlan(Metric.EXACT, "echo-model", 20))
    parts = {
        part: rows(part, count) for part, count in (("train", 30), ("dev", 90), ("calibration", 240), ("test", 90))
    }
    write_run(tmp_path / "run", write_dataset(tmp_path / "data", **parts))
    write_manifest(tmp_path / "run" / "adapter", structs.replace(read_adapter(tmp_path / "run" / "adapter"), labels=()))
    options = Options(baselines=False, generalist=False)
    store, dataset = echo_store(tmp_path / "home"), open_dataset(tmp_path / "data")
    report = evaluate(recipe, dataset, tmp_path / "run", store, options, lambda _: None)
    # A quarter of the doubtful are right, and their probability is exp(-3.002): the temperature makes it a quarter.
    assert report.text_temperature == pytest.approx(3.0 / math.log(4), rel=0.1)
    assert report.calibration.abstention is Abstention.FITTED and report.calibration.threshold is not None
    assert report.on_test is not None and (report.on_test.errors, report.on_test.answered) == (0, 60)
    mine, base = report.runners
    assert mine.answer_auroc == pytest.approx(1.0, abs=0.15) and mine.ece is not None and mine.ece < 0.1
    assert base.kind is Kind.BASE and base.ece is None  # nobody calibrated it
    assert list(report.curves) == ["specialist"]


@pytest.mark.usefixtures("echoing")
def test_the_page_stands_alone_and_the_markdown_says_the_same(tmp_path: Path) -> None:
    run(tmp_path, baselines=False, generalist=False)
    page = (tmp_path / "run/evaluation/report.html").read_text("utf-8")
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme:dark" in page
    _, body = page.split("<body>")
    ElementTree.fromstring("<body>" + body.split("</body>")[0].replace("<br>", " ") + "</body>")  # every tag is closed
    markdown = (tmp_path / "run/evaluation/report.md").read_text("utf-8")
    for sentence in ("90.0%", "energy", "Feasibility", "fixed sequence testing", "evaluated 1 times"):
        assert sentence in markdown
        assert sentence in page


@pytest.mark.usefixtures("echoing")
def test_a_threshold_keeps_its_promise_or_is_said_to_be_infeasible(tmp_path: Path) -> None:
    report = run(tmp_path, baselines=False, generalist=False)
    assert report.calibration.abstention is Abstention.FITTED
    assert report.calibration.threshold == 0.5  # the echo is always certain, and always right on this part
    content = write_dataset(tmp_path / "hard/data", calibration=animal_rows("calibration", 120, wrong_every=3))
    write_run(tmp_path / "hard/run", content)
    report = run(tmp_path / "hard", baselines=False, generalist=False)
    assert report.calibration.abstention is Abstention.INFEASIBLE
    assert report.calibration.threshold is None
    assert report.on_test is None
    assert report.calibration.must_abstain == pytest.approx((1 / 3 - 0.05) / 0.95)
    assert "infeasible" in (tmp_path / "hard/run/evaluation/report.md").read_text("utf-8")


@pytest.mark.usefixtures("echoing")
def test_a_second_evaluation_asks_nothing_again_and_is_counted(tmp_path: Path) -> None:
    first = run(tmp_path, generalist=False, baselines=False)
    said: list[str] = []
    second = run(tmp_path, said, generalist=False, baselines=False)
    assert said == []
    assert second.runners == first.runners
    assert (second.looks.adapters, second.looks.evaluations) == (1, 2)
    manifest = read_adapter(tmp_path / "run/adapter")
    (tmp_path / "run/adapter/adapter.gguf").write_bytes(b"GGUF of another training")
    write_manifest(tmp_path / "run/adapter", manifest)
    assert run(tmp_path, generalist=False, baselines=False).looks.adapters == 2


@pytest.mark.usefixtures("echoing")
def test_choosing_on_dev_does_not_look_at_test(tmp_path: Path) -> None:
    report = run(tmp_path, part="dev", generalist=False, baselines=False)
    assert (report.part, report.rows) == ("dev", 60)
    assert not (tmp_path / "run/evaluation/looked.json").exists()


def written(folder: Path) -> dict[str, tuple[str, int]]:
    """Name of each report of a run -> part and rows."""
    found = {path.name: read(path) for path in (folder / "run/evaluation").glob("evaluation*.json")}
    return {name: (report.part, report.rows) for name, report in found.items()}


def read(path: Path) -> EvaluationReport:
    return msgspec.json.decode(path.read_bytes(), type=EvaluationReport)


@pytest.mark.usefixtures("echoing")
def test_a_report_of_less_lies_beside_the_full_one(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    run(tmp_path, generalist=False)
    folder = tmp_path / "run/evaluation"
    full = {name: (folder / name).read_bytes() for name in ("evaluation.json", "report.md", "predictions.jsonl")}
    said: list[str] = []
    run(tmp_path, part="dev", generalist=False, baselines=False)
    run(tmp_path, said, rows=30, generalist=False)
    assert written(tmp_path) == {
        "evaluation.json": ("test", 60),
        "evaluation-dev.json": ("dev", 60),
        "evaluation-partial.json": ("test", 30),
    }
    assert any("evaluation.json is of more rows or runners, so it stays" in line for line in said)
    run(tmp_path, generalist=False, baselines=False)  # all rows, and fewer runners
    assert written(tmp_path)["evaluation-partial.json"] == ("test", 60)
    assert {name: (folder / name).read_bytes() for name in full} == full
    assert "the part dev" in (folder / "report-dev.md").read_text("utf-8")
    assert all((folder / name).exists() for name in ("report-dev.html", "report-partial.html", "predictions-dev.jsonl"))


@pytest.mark.usefixtures("echoing")
def test_a_report_takes_the_place_of_one_that_is_less_or_of_another_adapter(tmp_path: Path) -> None:
    run(tmp_path, rows=30, generalist=False, baselines=False)
    assert written(tmp_path) == {"evaluation.json": ("test", 30)}  # nothing fuller is there
    run(tmp_path, generalist=False, baselines=False)
    assert written(tmp_path) == {"evaluation.json": ("test", 60)}
    manifest = read_adapter(tmp_path / "run/adapter")
    (tmp_path / "run/adapter/adapter.gguf").write_bytes(b"GGUF of another training")
    write_manifest(tmp_path / "run/adapter", manifest)
    run(tmp_path, rows=30, generalist=False, baselines=False)
    assert written(tmp_path) == {"evaluation.json": ("test", 30)}


def test_no_other_runner_has_the_specialist_s_colour() -> None:
    curve = RiskCoverage([0.5, 1.0], [0.0, 0.1], 0.05)
    names = ["specialist", "untuned base", "TF-IDF", "embedding kNN", "generalist"]
    for shown, expected in ((names, ["s0", "s1", "s2", "s3", "s4"]), (names[1:3], ["s1", "s2"])):
        drawn = risk_and_coverage(dict.fromkeys(shown, curve), 0.05, None)
        assert re.findall(r'class="line (s\d)"', drawn) == expected
    assert all(f".s{number}{{stroke:" in document("", []) for number in range(5))


@pytest.mark.usefixtures("echoing")
def test_test_rows_that_were_trained_on_are_refused_with_examples(tmp_path: Path) -> None:
    leaked = [*animal_rows("train", 60), Row("leak", "THE bird sings on the roof - test 0!", ("bird",))]
    write_run(tmp_path / "run", write_dataset(tmp_path / "data", train=leaked))
    with pytest.raises(EvaluationRefused, match=r"1 rows of train have a text that is in test too \(leak = test-0"):
        run(tmp_path)


def test_another_dataset_than_the_run_s_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    write_run(tmp_path / "run", "f" * 64)
    with pytest.raises(EvaluationRefused, match="was trained on dataset ffffffffffff"):
        run(tmp_path)


def test_a_model_that_is_not_pulled_is_said_before_anything_is_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run", write_dataset(tmp_path / "data"))
    with pytest.raises(ModelMissing, match="concertino pull all-MiniLM-L6-v2"):
        evaluate(RECIPE, open_dataset(tmp_path / "data"), tmp_path / "run", Store(tmp_path), Options(), print)


def test_a_run_is_not_evaluated_twice_at_once(tmp_path: Path) -> None:
    write_run(tmp_path / "run", write_dataset(tmp_path / "data"))
    with locked(tmp_path / "run"), pytest.raises(TrainingRefused, match="or evaluates it"):
        evaluate(RECIPE, open_dataset(tmp_path / "data"), tmp_path / "run", echo_store(tmp_path), Options(), print)
    assert not (tmp_path / "run/evaluation").exists()


def test_a_smaller_sample_is_part_of_every_larger_one() -> None:
    rows = animal_rows("test", 50)
    assert sample(rows, 10) == sample(rows, 30)[:10] == sample(rows[::-1], 0)[:10]


def test_texts_are_compared_without_case_and_punctuation() -> None:
    assert normalised("  Ａ Dog's—bowl! ") == normalised("a dog s bowl")
    assert normalised("...") != normalised("!!!")
