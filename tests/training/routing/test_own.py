"""A router of a team's own domains, fitted on a hundred rows with the encoder of the package, and served."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concertino.config import Settings
from concertino.errors import ConfigurationError, DataRefused, ModelMissing
from concertino.orchestrator.decider import engineless
from concertino.router.alternatives import METHODS, LogisticRouter, open_linear
from concertino.router.conversation import ConversationRouter
from concertino.router.fitted import EXAMPLES, HEAD, open_encoder
from concertino.router.linear import LinearRouter
from concertino.training.routing.examples import Fields, read_examples
from concertino.training.routing.kept import Keep, kept_texts
from concertino.training.routing.own import OwnReport, fit_own, fit_threshold
from concertino.training.routing.own_figures import from_rankings
from concertino.training.routing.own_judge import judge_own
from concertino.types import Message, Ranking, Request, Role
from tests.training.routing.own_examples import example_rows, write_rows

pytest.importorskip("sklearn")


def embed(name: str, texts: Sequence[str]) -> np.ndarray:
    """The head's encoder; that of the store is not pulled."""
    if name != HEAD:
        raise ModelMissing("all-MiniLM-L6-v2 is not pulled")
    return open_encoder(HEAD).whole(texts)


def silent(_: str) -> None:
    return None


def fit(folder: Path, method: str = "linear", rows: list[dict[str, str]] | None = None, **options: Any) -> OwnReport:
    folder.mkdir(exist_ok=True)
    fields = Fields(fine=options.pop("fine", None))
    examples = read_examples(write_rows(folder / "mine.jsonl", rows or example_rows()), fields)
    return fit_own(examples, folder / "out", method, note=silent, embed=embed, **options)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[OwnReport, Path]:
    folder = tmp_path_factory.mktemp("own")
    return fit(folder, fine="kind"), folder / "out"


def said(*turns: str) -> list[Message]:
    return [Message(Role.USER, turn) for turn in turns]


def test_new_questions_go_to_their_domain_and_strange_ones_to_nobody(fitted: tuple[OwnReport, Path]) -> None:
    router = LogisticRouter(weights=fitted[1])
    asked = ["how do I shuffle a list in python", "my elbow hurts since monday", "can the landlord raise the rent"]
    rankings = router.rank([said(text) for text in asked])
    assert [ranking.domain for ranking in rankings] == ["programs", "clinic", "contracts"]
    for ranking in rankings:
        assert sum(ranking.scores.values()) == pytest.approx(1.0, abs=1e-6)
        assert ranking.confidence == max(score for name, score in ranking.scores.items() if name != "general")
    (strange,) = router.rank([said("what is the tallest waterfall")])
    assert strange.domain is None
    assert next(iter(strange.scores)) == "general"
    assert strange.confidence < router.threshold
    assert "nobody's" in strange.reason
    assert router.rank([said("")])[0].domain is None


def test_the_report_is_of_rows_that_were_held_out(fitted: tuple[OwnReport, Path]) -> None:
    report = fitted[0]
    assert report.rows == {"fit": 96, "calibration": 0, "test": 0}
    assert (report.calibration.rows, report.calibration.outside) == (72, 24)
    assert report.calibration.accuracy > 0.9
    assert report.calibration.ood_auroc > 0.9
    assert set(report.measures) >= {"confidence", "energy", "centroid", "neighbours", "mahalanobis", "outside"}
    assert set(report.kept) <= set(report.measures) | {name for key in report.measures for name in key.split(" + ")}
    assert not report.stand_ins
    assert report.latency.p99_ms >= report.latency.p50_ms > 0


def test_the_same_rows_give_the_same_router(fitted: tuple[OwnReport, Path], tmp_path: Path) -> None:
    again = fit(tmp_path, fine="kind")
    assert (again.setting, again.threshold, again.temperature) == (
        fitted[0].setting, fitted[0].threshold, fitted[0].temperature,
    )  # fmt: skip
    asked = ["how do I shuffle a list in python", "what is the tallest waterfall"]
    old, new = (LogisticRouter(weights=folder).probabilities(asked) for folder in (fitted[1], tmp_path / "out"))
    assert np.array_equal(old, new)


@pytest.mark.parametrize("method", ["knn", "clusters"])
def test_the_other_methods_learn_the_same_rows(tmp_path: Path, method: str) -> None:
    report = fit(tmp_path, method)
    assert report.calibration.accuracy > 0.9
    ranking = METHODS[method](weights=tmp_path / "out").rank([said("my elbow hurts since monday")])[0]
    assert ranking.domain == "clinic"


def test_without_rows_that_are_nobodys_left_out_domains_stand_in(tmp_path: Path) -> None:
    report = fit(tmp_path, rows=[row for row in example_rows() if row["label"] != "oos"])
    assert report.stand_ins
    assert "outside" not in report.measures
    router = LogisticRouter(weights=tmp_path / "out")
    strange, plain = router.rank([said("what is the tallest waterfall"), said("my elbow hurts since monday")])
    assert plain.domain == "clinic"
    assert strange.scores["general"] > plain.scores["general"]


def test_a_few_rows_that_are_nobodys_do_not_choose_the_measure(tmp_path: Path) -> None:
    strange = [row for row in example_rows() if row["label"] == "oos"]
    report = fit(tmp_path, rows=[row for row in example_rows() if row not in strange[10:]])
    assert (report.kept, report.stand_ins) == (("centroid",), False)


def test_two_domains_and_nothing_else_are_fitted_without_a_score_for_nobody(tmp_path: Path) -> None:
    report = fit(tmp_path, rows=[row for row in example_rows() if row["label"] in ("clinic", "programs")])
    assert (report.measures, report.threshold) == ({}, 0.5)
    assert "general" not in LogisticRouter(weights=tmp_path / "out").rank([said("my elbow hurts")])[0].scores


def test_files_of_ones_own_take_the_place_of_the_division(tmp_path: Path) -> None:
    rows = example_rows()
    parts = [read_examples(write_rows(tmp_path / f"{n}.jsonl", rows[n::2] + rows[:1]), Fields()) for n in (0, 1)]
    all_rows = read_examples(write_rows(tmp_path / "all.jsonl", rows), Fields())
    report = fit_own(all_rows, tmp_path / "out", calibration=parts[0], note=silent, embed=embed)
    assert report.rows == {"fit": 48, "calibration": 48, "test": 0}
    report = fit_own(all_rows, tmp_path / "out", test=parts[1], note=silent, embed=embed)
    assert report.rows == {"fit": 47, "calibration": 0, "test": 49}
    assert report.test is not None and report.test.accuracy > 0.8
    assert "stand in 1.jsonl too" in str(report.troubles[-1])
    strange = read_examples(write_rows(tmp_path / "s.jsonl", [{"text": "hello", "label": "greetings"}]), Fields())
    with pytest.raises(DataRefused, match="'greetings'"):
        fit_own(all_rows, tmp_path / "out", test=strange, note=silent, embed=embed)
    with pytest.raises(ConfigurationError, match="cannot be fitted on examples"):
        fit_own(all_rows, tmp_path / "out", "matrix-factorisation", note=silent, embed=embed)


def test_the_threshold_leaves_most_requests_in_the_right_hands() -> None:
    scores = np.array([[0.9, 0.0], [0.8, 0.1], [0.1, 0.7], [0.6, 0.3]])
    truth = np.array([0, 0, 1, 0])
    outside = np.array([[0.3, 0.2], [0.55, 0.1]])
    assert 0.55 < fit_threshold(scores, truth, outside, 0.1) < 0.6
    assert fit_threshold(scores, truth, outside[:0], 0.1) == 0.5


def test_type_linear_opens_the_folder_that_it_is_given(fitted: tuple[OwnReport, Path]) -> None:
    assert isinstance(open_linear(weights=fitted[1]), LogisticRouter)
    assert isinstance(open_linear(threshold=0.5), LinearRouter)
    assert open_linear(weights=str(fitted[1]), threshold=0.9).threshold == 0.9


def own_team(weights: Path) -> dict[str, Any]:
    names = ("general", "programs", "clinic", "contracts")
    specialists = [{"name": name, "description": name, "backend": "echo", "model": "echo"} for name in names]
    return {"specialists": specialists, "router": {"options": {"weights": str(weights)}}}


def test_a_team_is_routed_by_it_turn_by_turn(
    fitted: tuple[OwnReport, Path], team_settings: Callable[..., Settings]
) -> None:
    decider = engineless(team_settings(**own_team(fitted[1])))
    assert isinstance(decider.router, ConversationRouter)

    def decided(*turns: str) -> str:
        request = Request(tuple(said(*turns)))
        return asyncio.run(decider.decide_many([request]))[0].specialist

    assert decided("my elbow hurts since monday") == "clinic"
    assert decided("what is the tallest waterfall") == "general"
    assert decided("my elbow hurts since monday", "and which medicine helps against it?") == "clinic"
    assert decided("my elbow hurts since monday", "how do I reverse a list in python") == "programs"
    assert decided("how do I sort a list in python", "by the way, what is the tallest mountain") == "general"


def test_any_router_is_judged_on_labelled_rows(fitted: tuple[OwnReport, Path], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "later.jsonl", example_rows())
    found = judge_own(path, fitted[1], Fields(), silent)
    assert (found.figures.rows, found.figures.outside) == (72, 24)
    assert found.figures.accuracy > 0.95
    assert found.figures.ood_auroc > 0.95
    assert len(found.wrong) == 96 - round(found.figures.right * 72 + found.figures.refused * 24)
    heard: list[str] = []
    rows = [{"text": "is my contract binding", "label": "legal"}, {"text": "who owns this", "label": "clinic"}]
    shipped = judge_own(write_rows(tmp_path / "two.jsonl", rows), None, Fields(), heard.append)
    assert shipped.figures.accuracy == 0.5
    assert any("does not know clinic" in line for line in heard)


def test_a_test_file_of_the_same_rows_is_refused_for_what_it_is(tmp_path: Path) -> None:
    mine = read_examples(write_rows(tmp_path / "mine.jsonl", example_rows()), Fields())
    with pytest.raises(DataRefused, match=r"Every row of 'clinic' \(24\).* in mine.jsonl stands in mine.jsonl too"):
        fit_own(mine, tmp_path / "out", test=mine, note=silent, embed=embed)


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_a_place_that_is_no_folder_is_refused_before_anything_is_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    mine = read_examples(write_rows(tmp_path / "mine.jsonl", example_rows()), Fields())

    def nothing(name: str, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError("embedded")

    with pytest.raises(ConfigurationError, match="is a file"):
        fit_own(mine, tmp_path / place, note=silent, embed=nothing)
    assert (tmp_path / "file").read_text() == "mine"


def test_texts_lie_beside_the_router_unless_that_is_declined(fitted: tuple[OwnReport, Path], tmp_path: Path) -> None:
    kept = [json.loads(line) for line in (fitted[1] / EXAMPLES).read_text("utf-8").splitlines()]
    assert len(kept) == 96
    assert {row["label"] for row in kept} == {"programs", "clinic", "contracts", "nobody"}
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / EXAMPLES).write_text("an older fit's")
    fit(tmp_path, "knn", keep_texts=Keep.NONE)
    assert not (folder / EXAMPLES).exists()


def test_what_identifies_somebody_lies_beside_the_router_only_when_that_is_asked_for() -> None:
    told: list[str] = []
    mine = [("is it binding", "contracts"), ("jane.roe@example.org has a cough", "clinic")] * 2
    mine.append(("my\u200b SSN is 078\u201105\u20111120", "clinic"))
    assert kept_texts(mine, Keep.IMPERSONAL, told.append) == [("is it binding", "contracts")] * 2
    assert told == ["3 of 5 texts identify somebody and are not laid beside the router (--personal does)"]
    assert list(kept_texts(mine, Keep.ALL, told.append)) == mine
    assert list(kept_texts(mine, Keep.NONE, told.append)) == []


def test_what_is_general_has_no_part_in_the_confidence_of_a_domain(tmp_path: Path) -> None:
    """A router that scores `general` is judged alike, whether the rows of nobody are labelled so or not."""
    rows = [
        {"text": "is my contract with the landlord binding", "label": "legal"},
        {"text": "how do I sort a list in python", "label": "code"},
        {"text": "what is the tallest waterfall", "label": "general"},
        {"text": "tell me a story of a dragon", "label": "general"},
        {"text": "tell me a story of a castle", "label": "legal"},
    ]
    strange = [row | {"label": "oos"} if row["label"] == "general" else row for row in rows]
    told, asked = (
        judge_own(write_rows(tmp_path / f"{n}.jsonl", part), None, Fields(), silent)
        for n, part in enumerate((rows, strange))
    )
    assert asked.figures.ece < 0.3
    assert asked.figures.confidence_auroc == pytest.approx(4 / 6), "above both of nobody's, but for the castle"
    assert [item.text for item in asked.wrong] == ["tell me a story of a castle"]
    assert asked.wrong[0].confidence == pytest.approx(told.wrong[0].confidence, abs=1e-6), "of being nobody's"
    assert asked.confusion["legal"] == {"code": 0, "legal": 1, "nobody": 1}
    assert asked.confusion["nobody"]["nobody"] == 2
    assert sum(item.rows for item in asked.reliability) == 5
    assert from_rankings([Ranking({"general": 0.9, "code": 0.1}, 0.9, "general", "")], ["code"]).confidence == [0.1]
