"""A hostile document costs ten seconds and half a gigabyte at most, and the next one is read all the same.

The parsers here are as hostile as one can be made: they are real readers, found through entry points that a
distribution of the test's own declares, in the real child process.
"""

import time
from pathlib import Path

import pytest

from concertino.documents import Problem, Record
from concertino.documents.limited import LimitedReader

_READERS = """\
import os, time
from concertino.documents.base import Record

class Hostile:
    paragraphs = True
    limited = True
    def read(self, path):
        what = path.read_text()
        if what == "spin":
            while True: pass
        if what == "sleep":
            time.sleep(60)
        if what == "eat":
            kept = []
            while True: kept.append(bytearray(16 << 20))
        if what == "die":
            os.abort()
        if what == "talk":
            while True: yield Record("1", {"text": "x" * 100_000})
        if what == "raise":
            raise KeyError("/Root")
        yield Record("1", {"text": what})
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    info = tmp_path / "hostile-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[concertino.readers]\nevil = hostile_readers:Hostile\n")
    (tmp_path / "hostile_readers.py").write_text(_READERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def say(folder: Path, what: str) -> Path:
    path = folder / f"{what}.evil"
    path.write_text(what)
    return path


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("spin", "took too long"),
        ("sleep", "took too long"),
        ("eat", "took too much memory"),
        ("die", "reader died"),
        ("talk", "reader died"),
        ("raise", "damaged"),
    ],
)
def test_the_reader_is_stopped_and_the_next_document_read(hostile: Path, what: str, reason: str) -> None:
    start = time.monotonic()
    with LimitedReader(seconds=4) as reader:
        (problem,) = reader.read(say(hostile, what), "evil")
        assert isinstance(problem, Problem)
        assert problem.reason == reason, problem
        assert time.monotonic() - start < 10
        assert reader.read(say(hostile, "fine"), "evil") == [Record("1", {"text": "fine"})]


def test_one_process_reads_document_after_document(hostile: Path) -> None:
    with LimitedReader() as reader:
        reader.read(say(hostile, "first"), "evil")
        assert reader._child is not None
        first = reader._child.pid
        reader.read(say(hostile, "second"), "evil")
        assert reader._child.pid == first
