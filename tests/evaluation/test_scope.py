"""Which texts a language model's skill is for: fitted on its training texts, told apart from others' questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from concertino.datasets.folder import Row, open_dataset
from concertino.evaluation.running import Prediction
from concertino.evaluation.scope import (
    fit_scope,
    judge_outside,
    open_scope_encoder,
    questions_of_others,
    threshold_on,
)
from concertino.models import Store
from concertino.models.adapters import read_adapter
from tests.evaluation.runs import write_dataset, write_run

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("published")]

VERBS = ("List", "Find", "Count", "Delete", "Copy", "Show", "Compress", "Move")
THINGS = ("all log files older than a week", "the largest files here", "every line with an error", "empty folders",
          "files of the user bob", "the processes that listen on a port", "symbolic links below /etc")  # fmt: skip


def commands(part: str) -> list[Row]:
    pairs: Iterator[tuple[str, str]] = ((verb, thing) for verb in VERBS for thing in THINGS)
    wanted = {"train": 0, "calibration": 1, "test": 2}[part]
    chosen = [pair for place, pair in enumerate(pairs) if place % 3 == wanted]
    return [Row(f"{part}-{n}", f"{verb} {thing}", (), answer="ls") for n, (verb, thing) in enumerate(chosen)]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    pytest.importorskip("sklearn")
    parts = {part: commands(part) for part in ("train", "calibration", "test")}
    write_run(tmp_path / "run", write_dataset(tmp_path / "data", **parts, background=[]))
    return tmp_path


def test_its_own_texts_are_in_scope_and_others_questions_are_not(run_folder: Path, published: Path) -> None:
    dataset, store, notes = open_dataset(run_folder / "data"), Store(published), list[str]()
    scope = fit_scope(dataset, run_folder / "run", store, notes.append)
    assert scope is not None and any("scope.json" in note for note in notes)
    manifest = read_adapter(run_folder / "run" / "adapter")
    assert manifest.scope and set(manifest.files) == {"adapter.gguf", "scope.json"}
    encoder = open_scope_encoder(store)
    mine = [scope.probability(row.text, encoder) for row in commands("test")]
    others = [scope.probability(text, encoder) for text in questions_of_others("code", encoder)[:200]]
    pairs = [one > other for one in mine for other in others]
    assert sum(pairs) / len(pairs) > 0.98
    threshold = threshold_on(scope, commands("calibration"), encoder)
    assert threshold is not None and 0 < threshold <= 0.5
    assert sum(value >= threshold for value in mine) / len(mine) > 0.8


def test_fitting_again_changes_nothing(run_folder: Path, published: Path) -> None:
    dataset, store, notes = open_dataset(run_folder / "data"), Store(published), list[str]()
    fit_scope(dataset, run_folder / "run", store, notes.append)
    before, told = read_adapter(run_folder / "run" / "adapter"), len(notes)
    fit_scope(dataset, run_folder / "run", store, notes.append)
    assert read_adapter(run_folder / "run" / "adapter") == before
    assert len(notes) == told


def test_without_the_encoder_the_adapter_stays_as_it_is_and_the_note_says_why(run_folder: Path, tmp_path: Path) -> None:
    dataset, notes = open_dataset(run_folder / "data"), list[str]()
    assert fit_scope(dataset, run_folder / "run", Store(tmp_path / "empty"), notes.append) is None
    assert not read_adapter(run_folder / "run" / "adapter").scope
    assert "all-MiniLM-L6-v2" in notes[0]


def test_nobody_is_a_stranger_to_a_specialist_that_the_router_does_not_know(published: Path) -> None:
    encoder = open_scope_encoder(Store(published))
    assert questions_of_others("zoo", encoder) == []


def test_what_is_answered_of_others_texts_passes_both_thresholds() -> None:
    def made(*pairs: tuple[float, float | None]) -> list[Prediction]:
        return [Prediction("", "a", confidence, scope=scope) for confidence, scope in pairs]

    inside, outside = made((0.9, 0.9), (0.2, 0.8)), made((0.8, 0.1), (0.1, 0.7), (0.7, 0.6))
    found = judge_outside(inside, ["a", "b", "c"], outside, 0.5, 0.5)
    assert found.answered == pytest.approx(1 / 3) and found.scope_auroc == 1.0
    assert found.auroc == pytest.approx(4 / 6)
    assert [text for text, _, _ in found.examples] == ["a", "c", "b"]
    assert judge_outside(inside, ["a", "b", "c"], outside, None, None).answered is None
    silent = judge_outside(made((0.9, None)), ["a"], made((0.4, None)), 0.5, None)
    assert (silent.answered, silent.auroc, silent.scope_auroc) == (0.0, 1.0, None)
    without = judge_outside(inside, ["a", "b", "c"], outside, None, 0.5, sure=False)  # the scope is all that is known
    assert (without.auroc, without.scope_auroc) == (None, 1.0)
