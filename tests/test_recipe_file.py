"""A recipe's YAML says what it seems to say."""

from pathlib import Path

import pytest

from concertino.errors import RecipeInvalid
from concertino.recipe import Recipe
from concertino.recipe_file import load_recipe

HEAD = "name: team/skill\ndescription: d\ninstruction: i\n"
DATA = "data:\n  sources:\n    - path: a.jsonl\n"


def load(folder: Path, text: str) -> Recipe:
    (folder / "recipe.yaml").write_text(text, "utf-8")
    return load_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize(
    ("text", "key", "line", "first"),
    [
        (f"{HEAD}{DATA}  personal_data: scrub\n  personal_data: keep\n", "personal_data", 8, 7),
        (f"{HEAD}{DATA}training: {{rank: 4}}\ntraining: {{rank: 8}}\n", "training", 8, 7),
        (f"{HEAD}{DATA}training: {{rank: 4, rank: 8}}\n", "rank", 7, 7),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_lines(
    tmp_path: Path, text: str, key: str, line: int, first: int
) -> None:
    with pytest.raises(RecipeInvalid, match=f"line {line}: the key '{key}' stands twice, first in line {first}"):
        load(tmp_path, text)


def test_keys_that_are_merged_in_may_be_given_anew(tmp_path: Path) -> None:
    text = f"{HEAD}data:\n  sources:\n    - &one {{path: a.jsonl, licence: MIT}}\n    - {{<<: *one, path: b.jsonl}}\n"
    assert [source.path for source in load(tmp_path, text).data.sources] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("text", ["name: " + "[" * 3000, f"{HEAD}{DATA}labels: {'[' * 900}{']' * 900}"])
def test_a_recipe_that_is_nested_too_deeply_is_refused_in_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeInvalid, match=r"nested|labels"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("more", "place"),
    [("labels: [yes, no]\n", "labels"), ("labels: [1, 2]\n", "labels"), ("  language: no\n", "data.language")],
)
def test_a_bare_word_that_yaml_reads_otherwise_is_refused_with_the_way_out(
    tmp_path: Path, more: str, place: str
) -> None:
    with pytest.raises(RecipeInvalid, match="in quotes") as refused:
        load(tmp_path, HEAD + DATA + more)
    assert str(refused.value.param).startswith(place)
