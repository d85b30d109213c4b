"""A file is what it was or what it was to be, whatever happens while it is written."""

import os
from pathlib import Path

import pytest

from concertino.whole_file import write_json, write_whole


@pytest.mark.parametrize("stage", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"serves": "old"})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, fail)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"serves": "new"})
    assert path.read_bytes() == b'{\n "serves": "old"\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_the_disk_before_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    def renamed(one: Path, other: Path) -> Path:
        done.append(f"{one.name} -> {other.name}")
        return replace(one, other)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a", b"text")
    assert done == [".a.partial", ".a.partial -> a", tmp_path.name]
