"""Evaluation sets and background: what is read of them, what is not, and what is said of it."""

import os
from pathlib import Path

import pytest

from concertino.datasets import curate as curation
from concertino.datasets.folder import open_dataset
from concertino.errors import DataRefused

from .making import curate, recipe, rows, sentences, write

JSONL = {"path": "a.jsonl"}
TRAIN_ONLY = {"dev": 0, "calibration": 0, "test": 0}


def test_a_soft_hyphen_does_not_hide_a_copy(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(60))
    text = sentences(1)[0]
    write(tmp_path, "exam.jsonl", [{"text": text.replace("card", "ca\u00adrd")}])
    made = curate(tmp_path, recipe(JSONL, decontaminate=["exam.jsonl"], split=TRAIN_ONLY))
    assert text not in made.texts()


def test_rows_read_are_counted_and_what_could_not_be_compared_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(60))
    path = write(tmp_path, "exam.jsonl", [{"q": "something else"}, {"text": "without the field"}, {"q": 7}])
    with path.open("a") as file:
        file.write('{"q": "half a\n')
    write(tmp_path, "b.jsonl", [{"text": f"song number {n}"} for n in range(50)])
    made = curate(tmp_path, recipe(JSONL, decontaminate=["exam.jsonl#q"], background=["b.jsonl"]))
    assert {source.path: source.rows for source in made.dataset.manifest.sources} == {
        "a.jsonl": 60,
        "exam.jsonl#q": 3,
        "b.jsonl": 50,
    }
    (warning,) = made.counts.warnings
    assert warning.startswith("`exam.jsonl`: 1 lines or files could not be read and 2 rows have no text in 'q'")
    assert warning in made.sheet


@pytest.mark.parametrize("key", ["decontaminate", "background"])
@pytest.mark.parametrize(
    ("entry", "because"),
    [
        ("empty.jsonl", r"empty.jsonl has no row that can be read: the file has no bytes"),
        ("broken.jsonl", r"broken.jsonl has no row that can be read"),
        ("a.jsonl#nope", r"a.jsonl has no field 'nope' with text \(field 'nope' is missing"),
        ("blank.jsonl", r"blank.jsonl has no field 'text' with text, only empty ones"),
    ],
)
def test_a_file_without_texts_is_refused_for_what_it_is(tmp_path: Path, key: str, entry: str, because: str) -> None:
    write(tmp_path, "a.jsonl", rows(60))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "broken.jsonl").write_text("{\n{\n")
    write(tmp_path, "blank.jsonl", [{"text": " \u200b"}])
    with pytest.raises(DataRefused, match=because):
        curate(
            tmp_path,
            recipe(
                JSONL,
                decontaminate=[entry] if key == "decontaminate" else [],
                background=[entry] if key == "background" else [],
            ),
        )


def test_a_file_whose_name_is_no_utf8_is_left_out_and_named_in_the_sheet(tmp_path: Path) -> None:
    write(tmp_path, "f/a.jsonl", rows(60))
    for name in (b"caf\xe9.jsonl", b"caf\xe9.html"):
        with Path(os.fsdecode(bytes(tmp_path) + b"/f/" + name)).open("w") as file:
            file.write('{"text": "a song", "label": "a"}\n')
    made = curate(tmp_path, recipe({"path": "f"}))
    assert len(made.rows()) == 60
    assert "2 files whose name is not UTF-8 were not read" in made.sheet


def test_a_data_folder_whose_name_is_no_utf8_can_be_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    write(folder, "a.jsonl", rows(60))
    (folder / "b.html").write_text("<html><body><p>Hello dear world, how are you today.</p></body></html>")
    curation.curate(recipe(JSONL, background=["b.html"]), folder, tmp_path / "out", print)
    assert len(list(open_dataset(tmp_path / "out").rows("background"))) == 1


def test_licences_of_other_files_are_in_the_data_sheet(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(60))
    write(tmp_path, "b.jsonl", [{"text": f"something else entirely, number {n}"} for n in range(9)])
    made = curate(tmp_path, recipe(JSONL, background=["b.jsonl#text"], licences={"b.jsonl": "CC BY 4.0"}))
    (line,) = (line for line in made.sheet.splitlines() if line.startswith("| b.jsonl#text"))
    assert "| CC BY 4.0 | background texts |" in line
