"""A dataset folder: what is written is what is read, and a changed part is noticed."""

from pathlib import Path

import pytest

from concertino.datasets.folder import DatasetManifest, Part, Row, open_dataset, write_manifest, write_rows
from concertino.errors import DataRefused

ROWS = [Row("1", "line separator \u2028 inside", ("a",), group="g"), Row("2", "z", ("a", "b"), source="f:2")]


def written(folder: Path) -> DatasetManifest:
    info = write_rows(folder / "train.jsonl", ROWS)
    manifest = DatasetManifest("s/k", "digest", "2026-01-01T00:00:00Z", {Part.TRAIN: info}, {"b": 1, "a": 2})
    write_manifest(folder, manifest)
    return manifest


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    manifest = written(tmp_path)
    dataset = open_dataset(tmp_path)
    assert list(dataset.rows("train")) == ROWS
    assert list(dataset.rows("test")) == []
    assert dataset.labels == ("a", "b")
    assert dataset.manifest.content == manifest.content


def test_a_part_that_was_changed_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id":"3","text":"slipped in"}\n')
    with pytest.raises(DataRefused, match="changed after"):
        open_dataset(tmp_path)


def test_a_folder_that_is_no_dataset_is_refused_with_the_verb_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="concertino curate"):
        open_dataset(tmp_path)
