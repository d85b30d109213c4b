"""What of an evaluation is run: its options, the rows of a sample, and the task of a recipe."""

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from concertino.config import Price
from concertino.datasets.folder import Part, Row
from concertino.evaluation.tasks.base import Task
from concertino.evaluation.tasks.labels import LabelTask
from concertino.evaluation.tasks.program import ProgramTask
from concertino.evaluation.tasks.prose import ProseTask
from concertino.evaluation.tasks.text import TextTask
from concertino.recipe import Metric, Recipe


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What of an evaluation is run."""

    rows: int = 0
    """Rows of the part at most, drawn by a hash; 0 is all."""
    part: Part = Part.TEST
    generalist: bool = True
    baselines: bool = True
    price: Price = Price()
    """Of the specialist."""
    generalist_price: Price = Price()
    command: str = ""
    """The command that repeats this, for the report."""


def sample(rows: Sequence[Row], most: int) -> list[Row]:
    """The first `most` rows in the order of a hash (0: all); a smaller sample is a part of every larger one."""
    ranked = sorted(rows, key=lambda row: hashlib.sha256(f"{row.id}\n{row.text}".encode("utf-8", "replace")).digest())
    return ranked[:most] if most else ranked


def task_for(recipe: Recipe, labels: tuple[str, ...]) -> Task:
    """The task that a recipe describes."""
    if recipe.evaluation.metric is Metric.TESTS:
        return ProgramTask(recipe.name)
    if recipe.evaluation.metric.graded:
        return ProseTask(recipe.name, recipe.evaluation.metric, recipe.evaluation.right_score)
    if recipe.free_text or not labels:
        return TextTask(recipe.name, recipe.evaluation.metric)
    return LabelTask(recipe.name, labels)
