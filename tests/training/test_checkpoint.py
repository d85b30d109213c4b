"""Checkpoints survive what happens to processes and disks; curves and progress go on where they were."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concertino.errors import DiskFull, TrainingRefused
from concertino.training.checkpoint import Checkpoints, written_whole
from concertino.training.curves import Curves
from concertino.training.progress import Progress, clock

WRITER = """
import sys, torch
from pathlib import Path
from concertino.training.checkpoint import Checkpoints
kept = Checkpoints(Path(sys.argv[1]), 1, "a")
for step in range(1, 100000):
    kept.save(step, {"w": torch.full((300, 1000), float(step))})
    print(step, flush=True)
"""


@pytest.mark.train
def test_a_state_comes_back_as_it_was_and_two_are_kept(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    kept = Checkpoints(tmp_path, 10, "recipe")
    assert kept.latest() is None
    assert [step for step in range(1, 31) if kept.due(step)] == [10, 20, 30]
    for step in (10, 20, 30):
        kept.save(step, {"lora": {"a": torch.arange(step)}, "best": None, "numbers": [1, 2.5, "x", (1, True)]})
    saved = kept.latest()
    assert saved is not None
    assert saved.step == 30
    assert torch.equal(saved.state["lora"]["a"], torch.arange(30))
    assert saved.state["numbers"] == [1, 2.5, "x", (1, True)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.train
@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_checkpoint_is_skipped_with_a_note(tmp_path: Path, damage: bytes | None) -> None:
    pytest.importorskip("torch")
    notes: list[str] = []
    kept = Checkpoints(tmp_path, 1, "a", notes.append)
    kept.save(1, {"x": 1})
    newest = kept.save(2, {"x": 2})
    whole = newest.read_bytes()
    newest.write_bytes(damage if damage is not None else whole[:-40] + b"\x00" + whole[-39:])
    saved = kept.latest()
    assert saved is not None and saved.state == {"x": 1}
    assert "is damaged" in notes[0]


@pytest.mark.train
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    Checkpoints(tmp_path, 1, "recipe one").save(1, {})
    with pytest.raises(TrainingRefused, match="another training"):
        Checkpoints(tmp_path, 1, "recipe two").latest()


@pytest.mark.train
def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = 0
    for pause in (0.0, 0.003, 0.007):
        for _ in range(5):
            last = int(process.stdout.readline())
        time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    last = int(rest[-1]) if rest else last
    notes: list[str] = []
    saved = Checkpoints(tmp_path, 1, "a", notes.append).latest()
    assert saved is not None
    assert saved.step in (last, last + 1)
    assert torch.all(saved.state["w"] == saved.step)
    assert notes == []


@pytest.mark.train
def test_a_full_disk_is_told_and_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    kept = Checkpoints(tmp_path, 1, "a")
    kept.save(1, {"x": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the kernel refuses to write more, as a full disk does
    try:
        with pytest.raises(DiskFull, match=r"No space left.*goes on from the last checkpoint"):
            kept.save(2, {"x": torch.zeros(100_000)})
        with pytest.raises(DiskFull), written_whole(tmp_path / "adapter.bin") as partial:
            partial.write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saved = kept.latest()
    assert saved is not None and saved.step == 1
    assert [path.name for path in tmp_path.iterdir()] == [path.name for path in tmp_path.glob("step-00000001-*")]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "adapter.json"
    path.write_text("old", "utf-8")
    with pytest.raises(KeyboardInterrupt), written_whole(path) as partial:
        partial.write_text("ne", "utf-8")
        raise KeyboardInterrupt
    assert path.read_text("utf-8") == "old"
    with written_whole(path) as partial:
        partial.write_text("new", "utf-8")
    assert path.read_text("utf-8") == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["adapter.json"]


def test_curves_go_on_without_the_points_that_were_lost(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curves = Curves(tmp_path)
    for step in (1, 2, 3, 4):
        curves.add(step, loss=1 / step)
    curves.add(4, dev_accuracy=0.5, dev_loss=float("nan"))
    with (tmp_path / "curves.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    again = Curves(tmp_path, after=3)
    again.add(4, loss=0.2)
    lines = [json.loads(line) for line in (tmp_path / "curves.jsonl").open()]
    assert [(point["step"], point["loss"]) for point in lines] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.2)]
    picture = again.plot()
    assert picture is not None
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_points_there_is_no_picture(tmp_path: Path) -> None:
    assert Curves(tmp_path).plot() is None


def test_progress_tells_loss_speed_and_time_left_in_lines(capfd: pytest.CaptureFixture[str]) -> None:
    notes: list[str] = []
    with Progress("training", 12, notes.append, done=10, every_s=0.0) as progress:
        time.sleep(0.05)
        progress.update(11, 0.5, 100)
        assert 500 < progress.speed < 2100
        assert 0.04 < progress.left_s < 0.5
        progress.update(12, 0.25, 100)
    assert notes[0].startswith("training: step 11 of 12, loss 0.5000, ")
    assert "tokens/s" in notes[0]
    assert notes[1].endswith("0:00 left")
    assert capfd.readouterr().out == ""


def test_time_left_reads_like_a_clock() -> None:
    assert [clock(42), clock(725), clock(3720)] == ["0:42", "12:05", "1:02:00"]
