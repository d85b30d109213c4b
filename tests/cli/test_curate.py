"""`concertino curate`: counts on stdout, a dataset in the folder named, and an exit status that says what is wrong."""

import json
from pathlib import Path

import pytest

from concertino.cli import run
from concertino.datasets.folder import open_dataset
from tests.datasets.making import rows, write

_RECIPE = "name: finance/intent\ndescription: d\ninstruction: i\ndata: {sources: [{path: a.jsonl, label: label}]}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "data/a.jsonl", [*rows(100), *rows(5)])
    (tmp_path / "recipe.yaml").write_text(_RECIPE)
    return tmp_path


def test_it_prints_the_steps_and_writes_below_datasets(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["curate", "recipe.yaml", "--data-dir", "data"]) == 0
    printed = capsys.readouterr().out
    assert "exact duplicate" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["exact", "duplicate", "105", "100", "5"] in lines
    assert open_dataset(here / "datasets" / "finance" / "intent").labels == ("a", "b")


def test_paths_are_relative_to_the_recipe_where_no_data_folder_is_named(here: Path) -> None:
    (here / "data" / "mine.yaml").write_bytes((here / "recipe.yaml").read_bytes())
    assert run(["curate", "data/mine.yaml", "--out", "out"]) == 0


def test_json_is_the_manifest_and_a_second_run_uses_what_is_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["curate", "recipe.yaml", "--data-dir", "data", "--out", "out", "--json"]
    assert run(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["name"] == "finance/intent"
    assert run(arguments) == 0
    second = capsys.readouterr()
    assert json.loads(second.out) == first
    assert "is used as it is" in second.err


def test_another_dataset_is_replaced_only_by_force(here: Path) -> None:
    arguments = ["curate", "recipe.yaml", "--data-dir", "data", "--out", "out"]
    assert run(arguments) == 0
    write(here, "data/a.jsonl", rows(50))
    assert run(arguments) == 1
    assert run([*arguments, "--force"]) == 0


def test_a_recipe_that_cannot_be_followed_is_a_configuration_error(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "recipe.yaml").write_text(_RECIPE.replace("sources", "source"))
    assert run(["curate", "recipe.yaml", "--data-dir", "data"]) == 3
    assert "sources" in capsys.readouterr().err
    assert run(["curate", "recipe.yaml", "--data-dir", "nowhere"]) == 3


def test_a_missing_embedding_model_is_said_and_does_not_stop_the_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCERTINO_HOME", str(here / "home"))
    write(here, "data/exam.jsonl", [{"text": "an unrelated question"}])
    (here / "recipe.yaml").write_text(_RECIPE.replace("data: {", "data: {decontaminate: [exam.jsonl], "))
    assert run(["curate", "recipe.yaml", "--data-dir", "data", "--out", "out"]) == 0
    assert "are not looked for" in capsys.readouterr().err
    assert "Paraphrases were not looked for: " in (here / "out" / "datasheet.md").read_text("utf-8")
