"""What a recipe's types cannot say: ranges, and keys that do not go together."""

import math
from collections.abc import Callable
from pathlib import Path

from concertino.errors import RecipeInvalid
from concertino.recipe import SKILL_NAME, Engine, Metric, Recipe
from concertino.settings import MOST_BEAMS
from concertino.template import calculates, problem_with

Refuse = Callable[[str, str], None]

_LARGEST_SEED = 2**62
_LARGEST_RANK, _MOST_MEMBERS, _MOST_THREADS = 1024, 100, 1024
_AT_LEAST_ONE = ("cycles", "batch", "accumulate", "max_tokens", "checkpoint_steps")
_AT_LEAST_NONE = ("patience", "evaluate_steps")


def check(recipe: Recipe, path: Path) -> None:
    """Raises RecipeInvalid for the first value that cannot be followed, with the file and the key."""

    def refuse(where: str, what: str) -> None:
        raise RecipeInvalid(f"{path}: {where}: {what}", param=where)

    if not SKILL_NAME.fullmatch(recipe.name):
        refuse("name", f"{recipe.name!r} is not of the form specialist/skill in lower-case letters, digits and '.-_'.")
    if recipe.max_tokens < 1:
        refuse("max_tokens", f"{recipe.max_tokens} must be at least 1.")
    _check_sources(recipe, refuse)
    _check_data(recipe, refuse)
    _check_answers(recipe, refuse)
    _check_training(recipe, refuse)
    _check_measures(recipe, refuse)


def _check_sources(recipe: Recipe, refuse: Refuse) -> None:
    if not recipe.data.sources:
        refuse("data.sources", "name at least one file.")
    for number, source in enumerate(recipe.data.sources):
        where = f"data.sources[{number}]"
        if source.part not in ("", "train", "test"):
            refuse(f"{where}.part", f"{source.part!r} must be train, test or empty.")
        templates = {"text": source.text, "label": source.label, "tests": source.tests}
        for key, template in templates.items():
            if (key == "text" or "{" in template) and (problem := problem_with(template)):
                refuse(f"{where}.{key}", f"{template!r}: {problem}")
        if calculates(source.label) and not recipe.calculate:
            refuse("calculate", f"the answers of {source.path} may be calculations; set it to true.")


def _check_data(recipe: Recipe, refuse: Refuse) -> None:
    data, split = recipe.data, recipe.data.split
    for name, share in (("dev", split.dev), ("calibration", split.calibration), ("test", split.test)):
        if not 0 <= share < 1:
            refuse(f"data.split.{name}", f"{share} is not a share between 0 and 1.")
    if split.dev + split.calibration + split.test >= 1:
        refuse("data.split", "dev, calibration and test together leave nothing to train on.")
    entries = {entry.partition("#")[0] for entry in (*data.background, *data.decontaminate)}
    for path in data.licences:
        if path not in entries:
            refuse(
                "data.licences", f"{path!r} is no path of background or decontaminate; a source has its own licence."
            )
    if not 0 < data.near_duplicate <= 1:
        refuse("data.near_duplicate", f"{data.near_duplicate} is no similarity: more than 0, at most 1, which is off.")
    if data.max_characters < 1:
        refuse("data.max_characters", f"{data.max_characters} must be at least 1.")
    if not 0 <= data.min_characters <= data.max_characters:
        refuse("data.min_characters", f"{data.min_characters} must be 0 to data.max_characters, {data.max_characters}.")
    if data.min_label_rows < 1:
        refuse("data.min_label_rows", f"{data.min_label_rows} must be at least 1.")


def _check_answers(recipe: Recipe, refuse: Refuse) -> None:
    if recipe.calculate and not recipe.free_text:
        refuse("calculate", "labels are not calculated; set free_text to true, or leave it out.")
    if not 1 <= recipe.beams <= MOST_BEAMS:
        refuse("beams", f"{recipe.beams} must lie between 1 and {MOST_BEAMS}.")
    if recipe.beams > 1 and not recipe.free_text:
        refuse("beams", "a label is one of a closed set, and needs no search; leave it out.")
    if recipe.free_text and recipe.labels:
        refuse("labels", "a skill that answers with free text has no labels; leave one of the two out.")
    if recipe.free_text and recipe.training.engine is Engine.ENCODER:
        refuse("training.engine", "an encoder gives labels only; use causal for free text.")
    if recipe.on_low_confidence not in ("abstain", "escalate"):
        refuse("on_low_confidence", f"{recipe.on_low_confidence!r} must be abstain or escalate.")
    metric = recipe.evaluation.metric
    if metric.graded and not recipe.free_text:
        refuse("evaluation.metric", f"{metric} grades prose, which is free text; set `free_text: true`.")
    if metric is not Metric.TESTS:
        return
    if not recipe.free_text:
        refuse("evaluation.metric", "tests_pass judges programs, which are free text; set `free_text: true`.")
    for number, source in enumerate(recipe.data.sources):
        if not source.tests:
            refuse(f"data.sources[{number}].tests", "tests_pass needs the rows' tests; name the field that has them.")


def _check_training(recipe: Recipe, refuse: Refuse) -> None:
    plan = recipe.training
    for name in _AT_LEAST_ONE:
        if getattr(plan, name) < 1:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be at least 1.")
    for name in _AT_LEAST_NONE:
        if getattr(plan, name) < 0:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be 0 or more.")
    for name, most in (("rank", _LARGEST_RANK), ("members", _MOST_MEMBERS)):
        if not 1 <= getattr(plan, name) <= most:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be 1 to {most:,}.")
    if not 0 <= plan.threads <= _MOST_THREADS:
        refuse("training.threads", f"{plan.threads} must be 0 to {_MOST_THREADS:,}; 0 takes all cores.")
    if abs(plan.seed) > _LARGEST_SEED:
        refuse("training.seed", f"{plan.seed} is too large; at most 2**62.")
    if not 0 < plan.epochs < math.inf:
        refuse("training.epochs", f"{plan.epochs} must be a number above 0.")
    for name in ("learning_rate", "head_learning_rate"):
        if not 0 < getattr(plan, name) <= 1:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be more than 0 and at most 1; 0.001 is usual.")
    for name in ("dropout", "label_smoothing"):
        if not 0 <= getattr(plan, name) < 1:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be 0 or more, and less than 1.")
    for name in ("warmup", "class_balance"):
        if not 0 <= getattr(plan, name) <= 1:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be 0 to 1.")
    for name in ("weight_decay", "alpha"):
        if not 0 <= getattr(plan, name) < math.inf:
            refuse(f"training.{name}", f"{getattr(plan, name)} must be a number, 0 or more.")
    if plan.export_rank and not 0 < plan.export_rank <= plan.rank:
        refuse("training.export_rank", f"{plan.export_rank} must be 1 to training.rank, or 0.")
    if plan.export_rank and plan.engine is Engine.ENCODER:
        refuse("training.export_rank", "is for causal bases; an encoder's adapter is written as trained.")
    if plan.cycles > 1 and plan.engine is Engine.ENCODER:
        refuse("training.cycles", "is for causal bases; give an encoder more epochs.")


def _check_measures(recipe: Recipe, refuse: Refuse) -> None:
    plan, promotion = recipe.evaluation, recipe.promotion
    if not 0 < plan.alpha < 1:
        refuse("evaluation.alpha", f"{plan.alpha} is not a share between 0 and 1.")
    if not 0 <= plan.right_score <= 1:
        refuse("evaluation.right_score", f"{plan.right_score} is no score: more than 0, at most 1; 0 sets none.")
    if plan.right_score and not plan.metric.graded:
        graded = ", ".join(metric for metric in Metric if metric.graded)
        refuse("evaluation.right_score", f"{plan.metric} says itself what is right; it is for {graded}.")
    for name in ("generalist_rows", "selection_rows", "shots"):
        if getattr(plan, name) < 0:
            refuse(f"evaluation.{name}", f"{getattr(plan, name)} must be 0 or more.")
    for name in ("margin", "max_regression"):
        if not -1 <= getattr(promotion, name) <= 1:
            refuse(f"promotion.{name}", f"{getattr(promotion, name)} must be a number, -1 to 1.")
    if not promotion.max_cpu_ratio > 0:
        refuse("promotion.max_cpu_ratio", f"{promotion.max_cpu_ratio} must be more than 0.")
