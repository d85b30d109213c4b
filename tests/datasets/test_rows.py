"""The rows of a file, each with its place; what cannot be read is a row too."""

from pathlib import Path

import pytest

from concertino.datasets.rows import FileRow, read_rows
from concertino.errors import DataRefused


def test_rows_and_problems_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{broken\n\n{"text": "two"}\n', "utf-8")
    first, broken, last = read_rows(path, "examples")
    assert first == FileRow("1", {"text": "one"})
    assert (broken.place, broken.fields, bool(broken.problem)) == ("2", {}, True)
    assert last == FileRow("4", {"text": "two"})


def test_a_missing_file_and_running_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="no file") as refused:
        list(read_rows(tmp_path / "none.csv", "examples"))
    assert refused.value.param == "examples"
    (tmp_path / "a.txt").write_text("some words", "utf-8")
    with pytest.raises(DataRefused, match="running text"):
        list(read_rows(tmp_path / "a.txt", "examples"))
