"""What a dataset lacks for a training and a measurement is known before either begins."""

from pathlib import Path

import pytest

from concertino.datasets.folder import Row
from concertino.errors import DataRefused
from concertino.recipe import Data, Recipe, Source
from concertino.training.parts import check_parts
from tests.training.test_encoder import dataset

RECIPE = Recipe("team/colour", "d", "i", Data((Source("x"),)))
GOOD = [Row(str(n), f"t{n}", ("red" if n % 2 else "blue",)) for n in range(6)]
BARE = [Row("x", "t")]


@pytest.mark.parametrize(
    ("parts", "said", "param"),
    [
        ({"train": GOOD, "test": []}, r"No row is in the test part.*data\.split\.test", "data.split.test"),
        ({"train": [], "test": GOOD}, r"No row is in the train part", "data.split"),
        ({"train": GOOD, "test": [*GOOD, *BARE]}, "1 of 7 test rows have no label", "data.sources"),
        ({"train": [*GOOD, *BARE], "test": GOOD}, "1 of 7 train rows have no label", "data.sources"),
        ({"train": GOOD[::2], "test": GOOD}, r"1 of 2 labels have no training row: 'red' \(3 rows elsewhere\)", "data"),
        ({"train": GOOD[::2], "test": GOOD[::2]}, "one label", "data"),
    ],
)
def test_what_is_lacking_is_told_with_what_to_do(
    tmp_path: Path, parts: dict[str, list[Row]], said: str, param: str
) -> None:
    with pytest.raises(DataRefused, match=said) as refused:
        check_parts(RECIPE, dataset(tmp_path / "data", parts))
    assert refused.value.param == param


def test_a_label_of_the_recipe_without_any_row_is_told(tmp_path: Path) -> None:
    recipe = Recipe("team/colour", "d", "i", Data((Source("x"),)), labels=("red", "blue", "ghost"))
    with pytest.raises(DataRefused, match="1 of 3 labels have no training row: 'ghost'"):
        check_parts(recipe, dataset(tmp_path / "data", {"train": GOOD, "test": GOOD}))


def test_whole_parts_pass_with_labels_and_with_answers(tmp_path: Path) -> None:
    check_parts(RECIPE, dataset(tmp_path / "data", {"train": GOOD, "test": GOOD, "dev": []}))
    text = Recipe("team/colour", "d", "i", Data((Source("x"),)), free_text=True)
    rows = [Row("1", "t", answer="a")]
    check_parts(text, dataset(tmp_path / "text", {"train": rows, "test": rows}))
    with pytest.raises(DataRefused, match="1 of 1 test rows have no answer"):
        check_parts(text, dataset(tmp_path / "bare", {"train": rows, "test": BARE}))
