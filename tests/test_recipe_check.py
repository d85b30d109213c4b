"""Values that no training could use are refused before anything is read, with the key and what may stand there."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from concertino.errors import RecipeInvalid
from concertino.recipe import Recipe
from concertino.recipe_file import load_recipe


def load(folder: Path, **changed: Any) -> Recipe:
    plain: dict[str, Any] = {
        "name": "team/skill", "description": "d", "instruction": "i", "data": {"sources": [{"path": "a.jsonl"}]}
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain | changed), "utf-8")
    return load_recipe(folder / "recipe.yaml")


INF, NAN = float("inf"), float("nan")
TRAINING: dict[str, tuple[Any, ...]] = {
    "patience": (-1,),
    "learning_rate": (1000, INF, NAN, 0, -1e-3),
    "head_learning_rate": (-1, 1000, NAN),
    "class_balance": (-50, 1000, NAN),
    "dropout": (1.5, -0.5, 1, NAN),
    "label_smoothing": (5, -0.1, 1, NAN),
    "weight_decay": (-5, INF, NAN),
    "warmup": (5, -1, NAN),
    "alpha": (-1, INF, NAN),
    "epochs": (0, INF, NAN),
    "seed": (99999999999999999999, -(2**70)),
    "threads": (-3, 10**9),
    "rank": (0, 1_000_000),
    "members": (0, 1_000_000),
    "evaluate_steps": (-3,),
    "checkpoint_steps": (0, -1),
    "batch": (0,),
    "max_tokens": (0,),
    "export_rank": (-1,),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in TRAINING.items() for value in values])
def test_what_cannot_be_trained_with_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(RecipeInvalid) as refused:
        load(tmp_path, training={key: value})
    assert refused.value.param == f"training.{key}"
    assert f"training.{key}: " in refused.value.message


DATA: dict[str, tuple[Any, ...]] = {
    "near_duplicate": (90, 0, -1, NAN),
    "max_characters": (0, -1),
    "min_characters": (-1, 30_000),
    "min_label_rows": (0, -2),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in DATA.items() for value in values])
def test_what_cannot_be_curated_with_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(RecipeInvalid) as refused:
        load(tmp_path, data={"sources": [{"path": "a.jsonl"}], key: value})
    assert refused.value.param == f"data.{key}"


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("evaluation", "alpha", NAN),
        ("evaluation", "shots", -1),
        ("evaluation", "selection_rows", -1),
        ("evaluation", "generalist_rows", -1),
        ("promotion", "margin", NAN),
        ("promotion", "max_regression", NAN),
        ("promotion", "max_cpu_ratio", 0),
        ("promotion", "max_cpu_ratio", NAN),
        ("", "max_tokens", 0),
    ],
)
def test_what_cannot_be_measured_by_is_refused_too(tmp_path: Path, part: str, key: str, value: Any) -> None:
    with pytest.raises(RecipeInvalid) as refused:
        load(tmp_path, **({part: {key: value}} if part else {key: value}))
    assert refused.value.param == f"{part}.{key}".removeprefix(".")


@pytest.mark.parametrize(
    "training",
    [
        {"dropout": 0.0, "warmup": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "patience": 0, "threads": 0},
        {"seed": -1, "class_balance": 1, "epochs": 0.1, "learning_rate": 1.0, "rank": 256, "warmup": 1},
    ],
)
def test_the_ends_of_the_ranges_may_stand(tmp_path: Path, training: dict[str, Any]) -> None:
    load(tmp_path, training=training, data={"sources": [{"path": "a"}], "near_duplicate": 1, "min_label_rows": 1})


PROSE: dict[str, Any] = {"free_text": True, "training": {"engine": "causal"}}


def test_metrics_of_prose_are_for_free_text_and_the_scores_that_are_right_for_them(tmp_path: Path) -> None:
    for metric in ("token_f1", "rouge_l", "chrf"):
        assert load(tmp_path, **PROSE, evaluation={"metric": metric, "right_score": 0.6}).evaluation.tells_right
        assert not load(tmp_path, **PROSE, evaluation={"metric": metric}).evaluation.tells_right
        with pytest.raises(RecipeInvalid, match="grades prose, which is free text; set `free_text: true`"):
            load(tmp_path, evaluation={"metric": metric})
    for value in (-0.1, 1.1, NAN):
        with pytest.raises(RecipeInvalid) as refused:
            load(tmp_path, **PROSE, evaluation={"metric": "chrf", "right_score": value})
        assert refused.value.param == "evaluation.right_score"
    with pytest.raises(RecipeInvalid, match="exact_match says itself what is right; it is for token_f1, rouge_l, chrf"):
        load(tmp_path, **PROSE, evaluation={"metric": "exact_match", "right_score": 0.5})
    assert load(tmp_path, **PROSE, evaluation={"metric": "exact_match"}).evaluation.tells_right


def test_an_unknown_metric_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeInvalid, match=r"'rouge'.* Write one of accuracy, .*values, token_f1, rouge_l, chrf; docs"
    ):
        load(tmp_path, **PROSE, evaluation={"metric": "rouge"})


def test_what_counts_as_right_is_part_of_a_recipe_s_digest_only_where_it_is_said(tmp_path: Path) -> None:
    plain = load(tmp_path, **PROSE, evaluation={"metric": "chrf"})
    said = load(tmp_path, **PROSE, evaluation={"metric": "chrf", "right_score": 0})
    other = load(tmp_path, **PROSE, evaluation={"metric": "chrf", "right_score": 0.5})
    assert plain.digest == said.digest != other.digest
    assert plain.training_digest == other.training_digest  # nothing that is trained depends on it


def test_beams_are_for_free_text_and_change_no_training(tmp_path: Path) -> None:
    greedy = load(tmp_path, **PROSE)
    searched = load(tmp_path, **PROSE, beams=4)
    assert searched.training_digest == greedy.training_digest and searched.digest != greedy.digest
    assert load(tmp_path, **PROSE, beams=1).digest == greedy.digest, "as if it were left out"
    assert searched.card(()).beams == 4
    for beams in (0, 9):
        with pytest.raises(RecipeInvalid, match=r"beams: .* must lie between 1 and 8"):
            load(tmp_path, **PROSE, beams=beams)
    with pytest.raises(RecipeInvalid, match="beams: a label is one of a closed set"):
        load(tmp_path, beams=4)
