"""A recipe that judges programs must say where their tests are; recipes without tests are what they were."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from concertino.errors import RecipeInvalid
from concertino.recipe import Metric, Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def load(folder: Path, **changed: Any) -> Recipe:
    plain: dict[str, Any] = {
        "name": "code/python",
        "description": "d",
        "instruction": "i",
        "free_text": True,
        "data": {"sources": [{"path": "a.jsonl", "tests": "test"}]},
        "training": {"engine": "causal"},
        "evaluation": {"metric": "tests_pass"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain | changed), "utf-8")
    return load_recipe(folder / "recipe.yaml")


def test_programs_are_judged_by_the_tests_that_the_source_names(tmp_path: Path) -> None:
    assert load(tmp_path).evaluation.metric is Metric.TESTS
    assert load_recipe(RECIPES / "code/python.yaml").evaluation.metric is Metric.TESTS


def test_a_source_without_tests_is_refused_where_they_decide(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="name the field that has them") as refused:
        load(tmp_path, data={"sources": [{"path": "a.jsonl", "tests": "test"}, {"path": "b.jsonl"}]})
    assert refused.value.param == "data.sources[1].tests"
    load(tmp_path, data={"sources": [{"path": "b.jsonl"}]}, evaluation={"metric": "exact_match"})


def test_labels_are_no_programs(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="free_text: true"):
        load(tmp_path, free_text=False)


def test_digests_of_recipes_without_tests_are_those_from_before_there_were_tests(tmp_path: Path) -> None:
    """What was curated, trained and promoted by them is not out of date."""
    bash = load_recipe(RECIPES / "code/bash.yaml")
    assert bash.digest.startswith("75399dae52310e2d")
    assert bash.data_digest.startswith("d8b41377bf2ef436")
    sources: dict[str, Any] = {"path": "a.jsonl", "tests": "test"}
    before = load(tmp_path, data={"sources": [sources]})
    after = load(tmp_path, data={"sources": [sources | {"tests": "{test}\n"}]})
    assert before.data_digest != after.data_digest
