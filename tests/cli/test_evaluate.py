"""`concertino evaluate` at the command line: what it refuses, and with which status."""

from pathlib import Path

import yaml

from tests.cli.conftest import Command
from tests.evaluation.runs import NAME, write_dataset, write_run


def write_recipe(folder: Path) -> None:
    recipe = {
        "name": NAME,
        "description": "Which animal.",
        "instruction": "Name the animal: {labels}.",
        "data": {"sources": [{"path": "x.jsonl"}]},
    }
    (folder / "zoo.yaml").write_text(yaml.safe_dump(recipe), "utf-8")


def test_the_help_names_the_reports(concertino: Command) -> None:
    done = concertino("evaluate", "--help")
    assert done.returncode == 0
    assert "report.html" in " ".join(done.stdout.split())


def test_a_recipe_that_is_not_there_is_a_configuration_error(concertino: Command) -> None:
    done = concertino("evaluate", "nowhere.yaml", "--json")
    assert done.returncode == 3
    assert '"code":"recipe_invalid"' in done.stdout


def test_a_run_on_other_data_is_refused(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    write_dataset(tmp_path / "datasets/zoo/animal")
    write_run(tmp_path / "runs/zoo/animal", "f" * 64)
    done = concertino("evaluate", "zoo.yaml")
    assert done.returncode == 1
    assert "was trained on dataset ffffffffffff" in done.stderr


def test_a_model_that_is_missing_is_named_with_what_to_do(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    write_run(tmp_path / "runs/zoo/animal", write_dataset(tmp_path / "datasets/zoo/animal"))
    done = concertino("evaluate", "zoo.yaml", "--json")
    assert done.returncode == 4
    assert "concertino pull all-MiniLM-L6-v2" in done.stderr
    assert not (tmp_path / "runs/zoo/animal/evaluation/looked.json").exists()


def test_a_part_that_is_for_training_is_a_usage_error(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    done = concertino("evaluate", "zoo.yaml", "--part", "train")
    assert done.returncode == 2
    assert "must be test or dev" in done.stderr


def test_a_base_needs_no_run_and_is_named_when_it_is_not_pulled(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    write_dataset(tmp_path / "datasets/zoo/animal")
    done = concertino("evaluate", "zoo.yaml", "--base", "all-MiniLM-L6-v2", "--json")
    assert done.returncode == 4
    assert "concertino pull all-MiniLM-L6-v2" in done.stderr
    assert not (tmp_path / "bases").exists()


def test_a_base_and_a_run_do_not_go_together(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    done = concertino("evaluate", "zoo.yaml", "--base", "x", "--run", "runs/x")
    assert done.returncode == 2
    assert "bases have no run" in done.stderr
    done = concertino("evaluate", "zoo.yaml", "--out", "x")
    assert done.returncode == 2
    assert "only for --base" in done.stderr


def test_the_configuration_can_be_named_after_the_command(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    for arguments in (("evaluate", "zoo.yaml"), ("audit", "verify")):
        for option in ("-c", "--config"):
            done = concertino(*arguments, option, "nowhere.yaml")
            assert done.returncode == 3 and "nowhere.yaml" in done.stderr


def test_too_few_rows_to_show_a_gain_are_said_before_the_first(concertino: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    write_run(tmp_path / "runs/zoo/animal", write_dataset(tmp_path / "datasets/zoo/animal"))
    assert "Only 19 rows" in concertino("evaluate", "zoo.yaml", "--rows", "19").stderr
    assert "Only" not in concertino("evaluate", "zoo.yaml", "--rows", "20").stderr
