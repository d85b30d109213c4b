"""Whether a dataset has what a training and a measurement need, known before either begins."""

from collections import Counter
from collections.abc import Sequence

from concertino.datasets.folder import Dataset, Part
from concertino.errors import DataRefused
from concertino.recipe import Recipe

_SHOWN = 5


def check_parts(recipe: Recipe, dataset: Dataset, parts: Sequence[Part] = (Part.TRAIN, Part.TEST)) -> None:
    """Raises DataRefused, naming the key of the recipe, where a part is empty or bare, or a label is not trained on.

    `parts` are those that will be read; the part to train on is always among them.
    """
    trained: Counter[str] = Counter()
    for part in parts:
        rows = bare = 0
        for row in dataset.rows(part):
            rows += 1
            bare += not (row.answer.strip() if recipe.free_text else row.labels)
            if part is Part.TRAIN:
                trained.update(row.labels)
        if not rows:
            raise DataRefused(_empty(dataset, part), param="data.split.test" if part is Part.TEST else "data.split")
        if bare:
            what = "answer" if recipe.free_text else "label"
            raise DataRefused(
                f"{bare} of {rows} {part} rows have no {what}, so nothing could be right or wrong. Name the field that "
                "has it as `label` of every source.",
                param="data.sources",
            )
    if not recipe.free_text:
        _check_labels(recipe, dataset, trained)


def _empty(dataset: Dataset, part: Part) -> str:
    share = f" data.split.{part} is its share of the rows." if part is Part.TEST else ""
    return (
        f"No row is in the {part} part of {dataset.folder}.{share} Give it a share, or find more rows (or groups); "
        "datasheet.md says what was removed."
    )


def _check_labels(recipe: Recipe, dataset: Dataset, trained: Counter[str]) -> None:
    labels = recipe.labels or dataset.labels
    missing = [label for label in labels if not trained[label]]
    if missing:
        counts = dataset.manifest.labels
        shown = ", ".join(f"{label!r} ({counts.get(label, 0)} rows elsewhere)" for label in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DataRefused(
            f"{len(missing)} of {len(labels)} labels have no training row: {shown}{more}. Find more rows, raise "
            "data.min_label_rows so that they are left out, or merge them into others with `rename`.",
            param="data",
        )
    if len(labels) < 2:
        raise DataRefused(
            f"All rows of {dataset.folder} have one label, {labels[0]!r}: there is nothing to tell apart. Add rows "
            "with others.",
            param="data",
        )
