"""The gate finds every test row that is nearly a training row, and in time."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from concertino.cli.promotion import _leaks, _shingles
from concertino.datasets.folder import Dataset, DatasetManifest, Part, PartInfo, Row, write_rows

WORDS = [f"word{number}" for number in range(4000)]
DISCLAIMER = " ".join(WORDS[:60])


def rows(part: str, count: int, below: str, least: int = 5) -> list[Row]:
    draw = random.Random(part)
    return [
        Row(f"{part}{number}", " ".join(draw.choices(WORDS, k=draw.randrange(least, 60))) + below, ("a",))
        for number in range(count)
    ]


def nearly(test: list[Row], changed: int) -> Iterator[Row]:
    """Copies of test rows with so many words changed."""
    draw = random.Random(changed)
    for row in test:
        words = row.text.split()
        for _ in range(changed):
            words[draw.randrange(len(words))] = "other"
        yield Row(f"{row.id}-{changed}", " ".join(words), row.labels)


def dataset(folder: Path, train: list[Row], test: list[Row]) -> Dataset:
    infos: dict[Part, PartInfo] = {}
    for part, of_it in ((Part.TRAIN, train), (Part.TEST, test)):
        infos[part] = write_rows(folder / f"{part}.jsonl", of_it)
    return Dataset(folder, DatasetManifest("a/b", "", "", infos))


@pytest.mark.parametrize("threshold", [1.0, 0.9, 0.8, 0.5, 0.05])
@pytest.mark.parametrize("below", ["", f" {DISCLAIMER}"])
def test_the_leaks_are_those_that_comparing_each_with_each_finds(tmp_path: Path, threshold: float, below: str) -> None:
    test = [*rows("test", 40, below), Row("short", "yes", ("a",)), Row("word", "no no", ("a",))]
    train = [*rows("train", 40, below), *(row for n in (0, 1, 2, 5) for row in nearly(test, n))]
    each = [(one, other, _shingles(one.text), _shingles(other.text)) for one in test for other in train]
    wanted = {f"{a.id} of test and {b.id} of train" for a, b, x, y in each if len(x & y) >= threshold * len(x | y)}
    found = set(_leaks(dataset(tmp_path, train, test), threshold))
    assert found <= wanted and len(found) == min(len(wanted), 1_000) > 0  # a thousand are enough to refuse it


def test_a_disclaimer_below_every_text_does_not_compare_each_with_each(tmp_path: Path) -> None:
    below = f" {DISCLAIMER}"
    data = dataset(tmp_path, rows("train", 6_000, below, 20), rows("test", 1_500, below, 20))
    began = time.process_time()
    assert list(_leaks(data, 0.9)) == []
    assert time.process_time() - began < 12  # of each with each, some forty seconds
