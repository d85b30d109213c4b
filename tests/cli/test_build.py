"""`concertino build`: all steps in order, each done once, and a refusal that still shows the report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import pytest
import yaml

from concertino.cli import build, run
from concertino.config import Settings
from concertino.evaluation.results import REPORT, Comparison, EvaluationReport, Kind, read_report
from concertino.models import Manifest, Store
from concertino.models.catalogue import USER_CATALOGUE
from concertino.models.file_hash import file_sha256
from concertino.models.store import StoredFile
from concertino.recipe import Metric
from concertino.recipe_file import load_recipe
from concertino.registry import Registry
from concertino.registry.gate import Check
from tests.datasets.making import write
from tests.training.encoders import WORDS, tiny_encoder

NAME = "team/colour"
BASE = "tiny-encoder"
RECIPE = {
    "name": NAME,
    "description": "Which colour a text names.",
    "instruction": "Say the colour. {labels}",
    "data": {
        "sources": [{"path": "colours.jsonl", "label": "colour"}],
        "split": {"dev": 0.1, "calibration": 0.2, "test": 0.2},
    },
    "training": {
        "base": BASE, "rank": 4, "epochs": 6, "batch": 8, "learning_rate": 5e-3, "max_tokens": 32, "threads": 1,
    },
}  # fmt: skip
ARGUMENTS = ["build", "recipe.yaml", "--no-generalist", "--no-baselines"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, its data, and a home folder that holds a tiny encoder as a model of the user's own catalogue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONCERTINO_DATA_DIR", raising=False)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), "utf-8")
    made = [
        {"text": f"{WORDS[n % 20]} {colour} {WORDS[(n * 7 + n // 20) % 20]}", "colour": colour}
        for n in range(100)
        for colour in ("red", "blue")
    ]
    write(tmp_path, "colours.jsonl", made)
    store_model(tmp_path / "home", tmp_path / "base")
    return tmp_path


def store_model(home: Path, folder: Path) -> None:
    tiny_encoder(folder)
    names = ("model.safetensors", "config.json", "tokenizer.json")
    store, stored, listed = Store(home), {}, []
    for name in names:
        path = folder / name
        digest, size = file_sha256(path), path.stat().st_size
        source = {"kind": "local", "path": str(path)}
        listed.append({"name": name, "bytes": size, "sha256": digest, "sources": [source]})
        stored[name] = StoredFile(digest, size)
    about = {"publisher": "p", "licence": "MIT", "licence_url": "https://example.com", "parameters": "1k"}
    entry = {"name": BASE, **about, "quantisation": "F32", "format": "safetensors", "context_tokens": 64}
    home.mkdir(exist_ok=True)
    (home / USER_CATALOGUE).write_text(yaml.safe_dump({"models": [{**entry, "files": listed}]}), "utf-8")
    for name in names:
        copy = folder / f"{name}.copy"
        copy.write_bytes((folder / name).read_bytes())
        store.adopt(copy, stored[name].sha256)
    store.record(Manifest(BASE, stored))


def times(folder: Path) -> dict[str, int]:
    """When the results of the three steps were written."""
    names = ("dataset/dataset.json", "run/training.json", f"run/evaluation/{REPORT}")
    return {name: (folder / name).stat().st_mtime_ns for name in names if (folder / name).exists()}


def pretend_it_was_compared(run_folder: Path) -> None:
    """Add a generalist and a baseline that do worse, since the real ones are too large for this test."""
    report = read_report(run_folder)
    mine = report.runner(Kind.SPECIALIST)
    assert mine is not None
    others = [("generalist", Kind.GENERALIST), ("TF-IDF", Kind.CLASSICAL)]
    runners = [msgspec.structs.replace(mine, name=name, kind=kind, value=0.3) for name, kind in others]
    figures = (40, Metric.ACCURACY, 0.6, 0.4, 0.8, 0.001, 0.001, "mcnemar-exact", 30, 0, 30, 0.01)
    better = [Comparison(name, *figures) for name, _ in others]
    report = msgspec.structs.replace(report, runners=[mine, *runners], comparisons=better)
    (run_folder / "evaluation" / REPORT).write_bytes(msgspec.json.encode(report))


@pytest.mark.train
def test_it_goes_all_the_way_and_does_nothing_twice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run([*ARGUMENTS, "--json"]) == 0
    first = capsys.readouterr()
    said = json.loads(first.out)
    assert (said["skill"], said["promotion"]["state"]) == (NAME, "not asked")
    assert said["report"]["runners"][0]["value"] > 0.9
    assert [f"[{n}/4] done" in first.err for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "the gate needs the generalist" in first.err
    folder = here / "build" / "team" / "colour"
    before = times(folder)
    assert len(before) == 3

    assert run([*ARGUMENTS, "--promote", "--threads", "2"]) == 5
    second = capsys.readouterr()
    assert times(folder) == before and read_report(folder / "run").looks.evaluations == 1
    assert second.out.startswith(f"# {NAME}\n") and "NOT MET  gain" in second.out
    assert "not promoted, and what serves is unchanged: gain, cpu, baselines not met" in second.out
    assert str(Path("build/team/colour/run/evaluation")) in second.err
    assert Registry(here / "home").state().skills == {}

    pretend_it_was_compared(folder / "run")
    for state in ("promoted", "serves already"):
        assert run([*ARGUMENTS, "--promote", "--json"]) == 0
        outcome = json.loads(capsys.readouterr().out)["promotion"]
        assert (outcome["state"], outcome["version"]) == (state, Registry(here / "home").state().skills[NAME].version)


@pytest.mark.train
def test_a_build_that_was_killed_goes_on_where_it_stopped(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    folder = here / "out"
    arguments = [*ARGUMENTS, "--out", "out"]
    child = subprocess.Popen([sys.executable, "-m", "concertino", *arguments], env=dict(os.environ))
    deadline = time.monotonic() + 200
    while not (folder / "run" / "training.json").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = times(folder)
    assert {"dataset/dataset.json", "run/training.json"} <= before.keys()
    assert run(arguments) == 0
    said = capsys.readouterr().err
    assert "used as it is" in said and "holds this training already" in said
    after = times(folder)
    assert len(after) == 3 and before.items() <= after.items()


@pytest.mark.train
def test_what_no_longer_fits_is_made_anew_only_by_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run(ARGUMENTS) == 0
    recipe = yaml.safe_load((here / "recipe.yaml").read_text())
    recipe["training"]["rank"] = 2
    recipe["data"]["split"]["seed"] = "another"
    (here / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    capsys.readouterr()
    assert run(ARGUMENTS) == 1
    assert "--force" in capsys.readouterr().err
    assert run([*ARGUMENTS, "--force"]) == 0
    assert (here / "build/team/colour/run-old-1/training.json").exists()
    assert json.loads((here / "build/team/colour/run/adapter/adapter.json").read_text())["rank"] == 2


def test_a_recipe_s_typo_is_refused_with_the_nearest_key(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (here / "recipe.yaml").read_text()
    (here / "recipe.yaml").write_text(text.replace("learning_rate", "learning_rates"))
    assert run(ARGUMENTS) == 3
    said = capsys.readouterr().err
    assert "'learning_rates' under training" in said and "Did you mean 'learning_rate'?" in said
    assert "docs/factory.md" in said and not (here / "build").exists()


def test_models_that_are_not_here_are_named_before_anything_is_done(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", "recipe.yaml"]) == 4
    assert "concertino pull all-MiniLM-L6-v2 qwen2.5-coder-1.5b-instruct" in capsys.readouterr().err
    assert not (here / "build").exists()


def test_a_base_that_nothing_could_serve_is_refused_before_it_is_trained_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (here / "recipe.yaml").read_text()
    (here / "recipe.yaml").write_text(text.replace(f"base: {BASE}", f"base: {here / 'base'}"))
    assert run(ARGUMENTS) == 3
    assert "Add the model to the catalogue" in capsys.readouterr().err


def test_a_dataset_that_cannot_be_measured_on_stops_the_build_before_it_trains(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    recipe = yaml.safe_load((here / "recipe.yaml").read_text())
    recipe["data"]["split"]["test"] = 0.0
    (here / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(ARGUMENTS) == 1
    assert "No row is in the test part" in capsys.readouterr().err
    assert not (here / "build/team/colour/run").exists()


def test_an_interrupted_build_says_that_it_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from concertino.training import train

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupted)
    assert run(ARGUMENTS) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "Interrupted. The same command goes on where it stopped."


@pytest.mark.train
def test_a_run_that_another_build_writes_is_not_set_aside(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from concertino.training.train import locked

    run_folder = here / "build" / "team" / "colour" / "run"
    run_folder.mkdir(parents=True)
    (run_folder / "training.json").write_text("{}")
    with locked(run_folder):
        assert run([*ARGUMENTS, "--force"]) == 1
    assert "Another run is training into" in capsys.readouterr().err
    assert run_folder.exists() and not (here / "build/team/colour/run-old-1").exists()


def test_where_only_the_baselines_are_missing_the_command_that_accepts_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("concertino.evaluation.report.markdown", lambda report: "the report")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    plan = build.Plan(Path("recipe.yaml"), recipe, tmp_path, Path("made"), Settings(), True, True, 1, False)
    for failed in (("baselines",), ("gain", "baselines")):
        checks = tuple(Check(name, name not in failed, "said") for name in ("gain", "baselines"))
        build._print(plan, cast(EvaluationReport, None), build.Outcome("refused", None, checks))
        said = capsys.readouterr().out
        accepting = "`concertino promote recipe.yaml --run made/run --dataset made/dataset --accept REASON`"
        assert (accepting in said) == (failed == ("baselines",))
        assert "'When the gate refuses' in docs/factory.md" in said
