"""Which files a path of a recipe names: whatever they are called, and with those named that nobody reads."""

import os
from pathlib import Path

import pytest

from concertino.documents import Documents, Problem, Record, find_files
from concertino.documents.limited import LimitedReader
from concertino.errors import DataRefused


def test_a_name_with_signs_of_patterns_is_a_name_first(tmp_path: Path) -> None:
    for name in ("tickets [1].csv", "tickets 1.csv", "why?.csv"):
        (tmp_path / name).write_text("text\na\n")
    assert [path.name for path in find_files(tmp_path, "tickets [1].csv")] == ["tickets [1].csv"]
    assert [path.name for path in find_files(tmp_path, "tickets [0-9].csv")] == ["tickets 1.csv"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("/tmp/*.jsonl", "relative to the data folder"),
        ("**.jsonl", "cannot be read as a pattern"),
        (f"{'a' * 300}.csv", "too long"),
        ("a\0.csv", "does not exist"),
    ],
)
def test_paths_that_cannot_be_looked_for_are_refused_in_words(tmp_path: Path, pattern: str, said: str) -> None:
    (tmp_path / "b.csv").write_text("text\na\n")
    with pytest.raises(DataRefused, match=said) as refused:
        find_files(tmp_path, pattern)
    assert refused.value.param == pattern


def test_files_that_no_reader_knows_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.csv", "b.xlsx", "c.json", "d.tsv"):
        (folder / name).write_text("text\na\n")
    (folder / "gone.csv").symlink_to(folder / "nowhere.csv")
    notes: list[str] = []
    assert [path.name for path in find_files(tmp_path, "in", notes.append)] == ["a.csv", "d.tsv"]
    (note,) = notes
    assert note.startswith("in: 3 files of other kinds were not read:")
    assert all(name in note for name in ("b.xlsx", "c.json", "gone.csv"))
    with pytest.raises(DataRefused, match=r"b\.xlsx"):
        find_files(tmp_path, "in/*.xlsx")


def test_a_document_whose_name_is_no_utf_8_is_read(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    path = tmp_path / os.fsdecode(b"caf\xe9.html")
    path.write_text("<p>The bank opens at nine.</p>")
    with LimitedReader() as reader:
        events = reader.read(path, "html")
    assert [event.fields["text"] for event in events if isinstance(event, Record)] == ["The bank opens at nine."]


def test_a_name_that_is_no_utf_8_is_passed_over_in_a_folder_and_told(tmp_path: Path) -> None:
    for name in (b"caf\xe9.csv", b"good.csv"):
        (tmp_path / os.fsdecode(name)).write_text("text\na\n")
    notes: list[str] = []
    assert [path.name for path in find_files(tmp_path, ".", notes.append)] == ["good.csv"]
    assert "not UTF-8" in notes[0] and "caf\ufffd.csv" in notes[0]
    with pytest.raises(DataRefused, match="not UTF-8"):
        find_files(tmp_path, os.fsdecode(b"caf\xe9.csv"))


def test_a_file_that_went_away_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    with Documents(500) as documents:
        (problem,) = documents.read(tmp_path / "gone.csv")
    assert isinstance(problem, Problem) and problem.reason == "not readable"
