"""Vectors of examples are made once, and again where anything about them has changed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concertino.training.routing.vectors import FOLDER, KEPT, remembered


class Counting:
    """An encoder that counts the texts it reads."""

    def __init__(self) -> None:
        self.read = 0

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        self.read += len(texts)
        return np.array([[len(text), 1.0] for text in texts], np.float32) / 8


def silent(_: str) -> None:
    return None


ROWS = [("a", "x"), ("abc", "y")]


def test_a_second_look_reads_nothing(tmp_path: Path) -> None:
    encoder, heard = Counting(), list[str]()
    first = remembered(ROWS, encoder, "e1", tmp_path, heard.append)
    second = remembered(ROWS, encoder, "e1", tmp_path, heard.append)
    assert encoder.read == 2
    assert len(heard) == 1
    assert first.dtype == second.dtype == np.float32
    assert np.array_equal(first, second)


def test_other_texts_another_encoder_and_damage_are_read_again(tmp_path: Path) -> None:
    encoder = Counting()
    remembered(ROWS, encoder, "e1", tmp_path, silent)
    remembered(ROWS, encoder, "e2", tmp_path, silent)
    remembered(ROWS[:1], encoder, "e1", tmp_path, silent)
    assert encoder.read == 5
    for path in (tmp_path / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:20])
    remembered(ROWS, encoder, "e1", tmp_path, silent)
    assert encoder.read == 7


def test_few_are_kept_and_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        remembered(ROWS, Counting(), str(number), tmp_path, silent)
    assert len(list((tmp_path / FOLDER).iterdir())) == KEPT
    (tmp_path / "file").touch()
    heard: list[str] = []
    assert len(remembered(ROWS, Counting(), "x", tmp_path / "file", heard.append)) == 2
    assert "cannot be kept" in heard[-1]
