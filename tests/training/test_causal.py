"""From rows to an adapter that llama.cpp answers with as torch does; killed and gone on with."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concertino.datasets.folder import Row
from concertino.errors import DiskFull, TrainingRefused
from concertino.models.adapters import read_adapter
from concertino.models.store import Store
from tests.training import tiny

pytest.importorskip("torch")
pytestmark = pytest.mark.train

ADAPTER = "peft/adapter_model.safetensors"


class Tiny(Store):
    """A store that has the tiny base."""

    def resolve(self, name: str, file: str | None = None, *, verify: bool = False) -> Path:
        return self.root.parent / "base.gguf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a base and a dataset of pets."""
    tiny.write_base(tmp_path / "base.gguf")
    tiny.dataset(tmp_path / "data", tiny.pets(40), tiny.pets(12, start=100))
    return tmp_path


def worker(folder: Path, run: str, *settings: str) -> list[str]:
    return [sys.executable, "-c", tiny.WORKER, str(folder), run, *settings]


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_an_adapter_is_trained_and_served_alike(tmp_path: Path, architecture: str) -> None:
    from concertino.training.causal import train

    base = tiny.write_base(tmp_path / "base.gguf", architecture)
    data = tiny.dataset(tmp_path / "data", tiny.pets(60), tiny.pets(18, start=100))
    notes: list[str] = []
    result = train(tiny.recipe(epochs=10), data, base, tmp_path / "run", notes.append)
    assert result.agreement is not None and result.agreement >= 0.9
    assert result.best_dev is not None and result.best_dev > 0.65  # by chance 0.33
    assert any("[['dog<|im_end|>']]" in note for note in notes)
    points = [json.loads(line) for line in (tmp_path / "run" / "curves.jsonl").open()]
    losses = [point["loss"] for point in points if "loss" in point]
    assert sum(losses[-5:]) < sum(losses[:5]) / 3
    assert (tmp_path / "run" / "curves.png").is_file()
    manifest = read_adapter(tmp_path / "run" / "adapter")
    assert (manifest.engine, manifest.base, manifest.base_sha256) == ("causal", "tiny", result.base_sha256)
    assert set(manifest.files) == {"adapter.gguf"}
    assert {path.name for path in (tmp_path / "run" / "peft").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    told = json.loads((tmp_path / "run" / "training.json").read_text())
    assert told["tokens"] == result.tokens > 0
    assert told["recipe_digest"] == tiny.recipe(epochs=10).training_digest


def test_an_adapter_is_written_at_another_rank_without_training_again(folder: Path) -> None:
    from concertino.datasets.folder import open_dataset
    from concertino.training.train import train

    data, store, run = open_dataset(folder / "data"), Tiny(folder), folder / "run"
    train(tiny.recipe(epochs=3), data, store, run)
    whole = read_adapter(run / "adapter")
    notes: list[str] = []
    result = train(tiny.recipe(epochs=3, export_rank=2), data, store, run, notes.append)
    small = read_adapter(run / "adapter")
    assert not any("step" in note and "loss" in note for note in notes)
    assert any("cut to rank 2" in note for note in notes)
    assert (small.rank, small.alpha / small.rank) == (2, whole.alpha / whole.rank)
    assert result.agreement is not None and result.agreement >= 0.9
    train(tiny.recipe(epochs=3), data, store, run)
    assert read_adapter(run / "adapter").files == whole.files
    with pytest.raises(TrainingRefused, match="another recipe"):
        train(tiny.recipe(epochs=4), data, store, run)


def test_a_finished_training_goes_on_when_it_gets_another_cycle(folder: Path) -> None:
    from concertino.datasets.folder import open_dataset
    from concertino.training.train import train

    data, store = open_dataset(folder / "data"), Tiny(folder)
    once = train(tiny.recipe(epochs=3), data, store, folder / "grown")
    notes: list[str] = []
    grown = train(tiny.recipe(epochs=3, cycles=2), data, store, folder / "grown", notes.append)
    assert any("fewer cycles" in note for note in notes)
    whole = train(tiny.recipe(epochs=3, cycles=2), data, store, folder / "whole")
    assert (folder / "grown" / ADAPTER).read_bytes() == (folder / "whole" / ADAPTER).read_bytes()
    assert grown.steps == whole.steps == 2 * once.steps
    assert grown.epochs == 6
    points = [json.loads(line) for line in (folder / "grown" / "curves.jsonl").open()]
    rates = [point["learning_rate"] for point in points if "learning_rate" in point]
    assert rates[: once.steps] == rates[once.steps :]
    with pytest.raises(TrainingRefused, match="another recipe"):
        train(tiny.recipe(epochs=3), data, store, folder / "grown")


@pytest.mark.timeout(1200)  # whole processes, on a machine that may be busy
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(folder: Path) -> None:
    settings = ("dropout=0.1", "epochs=6", "accumulate=2", "evaluate_steps=4")
    subprocess.run(worker(folder, "whole", *settings), check=True, capture_output=True, timeout=800)
    process = subprocess.Popen(worker(folder, "killed", *settings), stdout=subprocess.DEVNULL)
    curves = folder / "killed" / "curves.jsonl"
    while not (curves.is_file() and curves.read_text().count('"loss"') >= 13):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "killed" / "adapter").exists()
    again = subprocess.run(worker(folder, "killed", *settings), check=True, capture_output=True, text=True, timeout=800)
    assert "going on from the checkpoint of step " in again.stdout
    assert (folder / "killed" / ADAPTER).read_bytes() == (folder / "whole" / ADAPTER).read_bytes()
    points = [
        [{**json.loads(line), "tokens_per_second": 0} for line in (folder / run / "curves.jsonl").open()]
        for run in ("whole", "killed")
    ]
    assert points[0] == points[1]


def test_patience_ends_a_training_and_the_best_weights_are_kept(folder: Path) -> None:
    from concertino.datasets.folder import open_dataset
    from concertino.training.causal import train

    notes: list[str] = []
    settings = tiny.recipe(patience=2, evaluate_steps=1, epochs=40, learning_rate=0.1, warmup=0.0)
    result = train(settings, open_dataset(folder / "data"), folder / "base.gguf", folder / "run", notes.append)
    assert result.steps < 400
    assert result.best_step == result.steps - 2
    assert any("no gain in 2 evaluations, stopping" in note for note in notes)


@pytest.mark.parametrize(
    ("train", "settings", "reason"),
    [
        ([], {}, "training part is empty"),
        ([Row("a", "text", ("cat",)), Row("b", "text")], {}, r"1 of 2 rows have no token to learn.*\(b\)"),
        ([Row("a", "text", ("cat",)), Row("b", "text", answer="  \n")], {}, "no token to learn"),
        (tiny.pets(20), {"max_tokens": 60}, r"rows are longer than max_tokens 60 \(the longest has \d+\)"),
    ],
)
def test_data_that_would_teach_nothing_is_refused(
    tmp_path: Path, train: list[Row], settings: dict[str, int], reason: str
) -> None:
    from concertino.training import causal

    base = tiny.write_base(tmp_path / "base.gguf")
    data = tiny.dataset(tmp_path / "data", train)
    with pytest.raises(TrainingRefused, match=reason):
        causal.train(tiny.recipe(**settings), data, base, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("", "has no chat template"),
        ("{{ messages[1]['content'] }}", "leaves out the instruction"),
        ("{{ raise_exception('no system message here') }}", "no system message here"),
        ("{% for", "cannot be read"),
    ],
)
def test_a_base_that_cannot_be_asked_is_refused(tmp_path: Path, template: str, reason: str) -> None:
    from concertino.training.causal import train

    base = tiny.write_base(tmp_path / "base.gguf", template=template)
    data = tiny.dataset(tmp_path / "data", tiny.pets(6))
    with pytest.raises(TrainingRefused, match=reason):
        train(tiny.recipe(), data, base, tmp_path / "run")


def test_a_run_folder_of_another_training_is_refused(folder: Path) -> None:
    from concertino.datasets.folder import open_dataset
    from concertino.training.causal import train

    data = open_dataset(folder / "data")
    train(tiny.recipe(epochs=1), data, folder / "base.gguf", folder / "run")
    tiny.write_base(folder / "other.gguf", seed=2)
    with pytest.raises(TrainingRefused, match="recipe, data or base have changed"):
        train(tiny.recipe(epochs=1), data, folder / "other.gguf", folder / "run")


def test_a_training_without_room_is_refused_before_the_first_step(folder: Path) -> None:
    from concertino.training.gguf_export import refuse_without_room

    with pytest.raises(DiskFull, match=r"The adapter needs \d+ MB .* Make room and run the same command again"):
        refuse_without_room(folder, 1 << 60, "The adapter")
