"""A recipe that judges programs must say where their tests are; recipes without tests are what they were."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from concertino.errors import RecipeInvalid
from concertino.recipe import Metric, Recipe
from concertino.recipe_file import load_recipe
from concertino.registry.version import read_version

RECIPES = Path(__file__).parents[1] / "recipes"
SHIPPED = Path(__file__).parents[1] / "src/concertino/shipped"


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


@pytest.mark.parametrize(
    "folder", sorted(SHIPPED.glob("*/*")), ids=lambda folder: f"{folder.parent.name}/{folder.name}"
)
def test_what_was_made_by_a_recipe_stays_its_own_when_recipes_learn_new_keys(folder: Path) -> None:
    assert load_recipe(folder / "recipe.yaml").digest == read_version(folder).lineage.recipe


def test_a_key_that_is_used_is_part_of_the_digest(tmp_path: Path) -> None:
    sources: dict[str, Any] = {"path": "a.jsonl", "tests": "test"}
    before = load(tmp_path, data={"sources": [sources]})
    for changed in ({"tests": "{test}\n"}, {"rename": {"a": "b"}}):
        assert load(tmp_path, data={"sources": [sources | changed]}).data_digest != before.data_digest
    small = load(tmp_path, data={"sources": [sources]}, training={"engine": "causal", "export_rank": 4})
    assert small.training_digest != before.training_digest
    assert small.steps_digest == before.steps_digest == before.training_digest
    exact = load(tmp_path, data={"sources": [sources]}, training={"engine": "causal", "precision": "fp32"})
    assert exact.training_digest != before.training_digest


def test_licences_of_background_and_evaluation_sets_are_found_by_path_and_leave_digests_alone(tmp_path: Path) -> None:
    data = {"sources": [{"path": "a.jsonl"}], "background": ["b/c.jsonl#q", "d"], "decontaminate": ["e/*.jsonl"]}
    before = load(tmp_path, data=data, evaluation={})
    after = load(
        tmp_path,
        evaluation={},
        data=data | {"licences": {"b/c.jsonl": "MIT", "d": "CC0-1.0", "e/*.jsonl": "CC BY 4.0"}},
    )
    paths = ("b/c.jsonl#q", "b/c.jsonl", "d/x/y.txt", "e/f.jsonl", "a.jsonl", "dd/x.txt")
    assert [after.data.licence_of(path) for path in paths] == ["MIT", "MIT", "CC0-1.0", "CC BY 4.0", "", ""]
    assert (after.digest, after.data_digest) == (before.digest, before.data_digest)
    bracketed = {"background": ["b[1].jsonl#q"], "licences": {"b[1].jsonl": "MIT"}}
    assert load(tmp_path, evaluation={}, data=data | bracketed).data.licence_of("b[1].jsonl#q") == "MIT"
    with pytest.raises(RecipeInvalid, match=r"data.licences: 'a.jsonl' is no path of background or decontaminate"):
        load(tmp_path, evaluation={}, data=data | {"licences": {"a.jsonl": "MIT"}})
