"""The folder of a dataset: what is replaced, what is put back, and what is never touched."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concertino.datasets import curate as curation
from concertino.datasets.folder import ParaphraseCheck, open_dataset
from concertino.errors import DataRefused

from .making import curate, recipe, rows, sentences, write

JSONL = {"path": "a.jsonl"}
ROOM = ".out.concertino-curate"
ROOT = Path(__file__).parents[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_folders_of_the_user_beside_the_dataset_stay(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    for name in ("out.old", "out.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("precious")
    curate(tmp_path, recipe(JSONL))
    curate(tmp_path, recipe(JSONL), force=True)
    assert names(tmp_path) == {"a.jsonl", "out", "out.old", "out.partial"}
    assert (tmp_path / "out.old" / "notes.txt").read_text() == "precious"


def test_what_a_killed_run_left_is_cleared_away_and_a_dataset_that_it_took_is_put_back(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    first = curate(tmp_path, recipe(JSONL)).dataset.manifest
    room = tmp_path / ROOM
    (room / "scratch").mkdir(parents=True)
    (room / "made-by-concertino-curate").touch()
    (tmp_path / "out").rename(room / "replaced")
    write(tmp_path, "a.jsonl", [{"txt": "nothing of use"}])
    with pytest.raises(DataRefused, match="No row of the sources"):
        curate(tmp_path, recipe(JSONL))
    assert names(tmp_path) == {"a.jsonl", "out"}
    assert open_dataset(tmp_path / "out").manifest == first


def test_a_folder_without_our_mark_is_not_cleared_away(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    (tmp_path / ROOM).mkdir()
    (tmp_path / ROOM / "notes.txt").write_text("precious")
    with pytest.raises(DataRefused, match="not of concertino"):
        curate(tmp_path, recipe(JSONL))
    assert (tmp_path / ROOM / "notes.txt").read_text() == "precious"


@pytest.mark.parametrize("out", ["a.jsonl/out", "a.jsonl/deeper/out", "/proc/nowhere/out", "o" * 250])
def test_a_place_where_no_folder_can_be_is_refused_in_words(tmp_path: Path, out: str) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    with pytest.raises(DataRefused, match="--out"):
        curation.curate(recipe(JSONL), tmp_path, tmp_path / out, print)


def test_a_dataset_that_was_not_checked_for_paraphrases_is_made_again_when_it_can_be(tmp_path: Path) -> None:
    import numpy as np

    write(tmp_path, "a.jsonl", [*rows(100), {"text": "my card has vanished", "label": "a"}])
    write(tmp_path, "exam.jsonl", [{"text": "the card of mine is gone"}])
    made_of = recipe(JSONL, decontaminate=["exam.jsonl"], split={"test": 0})

    def embed(texts: object) -> np.ndarray:
        return np.array([[1, 0] if "vanished" in text or "gone" in text else [0, 1] for text in texts], np.float32)  # type: ignore[attr-defined]

    notes: list[str] = []
    first = curation.curate(made_of, tmp_path, tmp_path / "out", notes.append)
    assert first.paraphrases is ParaphraseCheck.LEFT_OUT
    assert curation.curate(made_of, tmp_path, tmp_path / "out", notes.append) == first
    assert "used as it is. Paraphrases of its evaluation sets were not looked for." in notes[-1]
    checked = curation.curate(made_of, tmp_path, tmp_path / "out", notes.append, embed)
    assert checked.paraphrases is ParaphraseCheck.DONE
    assert sum(info.rows for info in checked.parts.values()) == 100
    assert curation.curate(made_of, tmp_path, tmp_path / "out", notes.append, embed) == checked
    assert curation.curate(made_of, tmp_path, tmp_path / "out", notes.append) == checked


def test_a_check_that_was_given_up_is_not_certified_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.setattr("concertino.datasets.select.MOST_EMBEDDED", 50)
    write(tmp_path, "a.jsonl", rows(100))
    write(tmp_path, "exam.jsonl", [{"text": "the card of mine is gone"}])
    made_of = recipe(JSONL, decontaminate=["exam.jsonl"])

    def embed(texts: object) -> np.ndarray:
        raise AssertionError("too many were to be embedded")

    made = curate(tmp_path, made_of, embed=embed)
    assert made.dataset.manifest.paraphrases is ParaphraseCheck.TOO_MANY
    assert "Nor is a row closer" not in made.sheet
    assert "Paraphrases were not looked for: there are more than" in made.sheet
    assert curate(tmp_path, made_of, embed=embed).dataset.manifest == made.dataset.manifest


def test_a_manifest_of_before_the_check_was_recorded_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    made = curate(tmp_path, recipe(JSONL))
    path = made.folder / "dataset.json"
    text = path.read_text("utf-8")
    assert '"paraphrases": ""' in text
    path.write_text(text.replace(',\n "paraphrases": ""', ""), "utf-8")
    assert "paraphrases" not in path.read_text("utf-8")
    assert open_dataset(made.folder).manifest == made.dataset.manifest


_RUN = """
import sys
from pathlib import Path
from tests.datasets.making import recipe
from concertino.datasets import gather
from concertino.datasets.curate import curate

if __name__ == "__main__":
    gather._PROCESSES_FROM = 0
    here = Path(sys.argv[1])
    curate(recipe({"path": "a.jsonl"}, personal_data="scrub"), here, here / "out", print)
"""


def _workers(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent_of = path.parent.name, path.read_text().rpartition(")")[2].split()[1]
            if int(parent_of) == parent and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="several processes on Linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_run_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    long = [" ".join(sentences(300)[n % 50 : n % 50 + 200]) for n in range(5_000)]
    write(tmp_path, "a.jsonl", [{"text": f"{text} {n}", "label": "a"} for n, text in enumerate(long)])
    (tmp_path / "run.py").write_text(_RUN)
    child = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(workers := _workers(child.pid)) < 2 or not (tmp_path / ROOM).exists():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    child.send_signal(number)
    status = child.wait(timeout=60)
    while any(map(_alive, workers)):
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)
    if number == signal.SIGTERM:
        assert status == 128 + signal.SIGTERM
        assert names(tmp_path) == {"a.jsonl", "run.py"}
