"""Recipes and source files for tests of curation."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from concertino.datasets import curate as curation
from concertino.datasets.folder import Dataset, Row, open_dataset
from concertino.datasets.tally import Curation, Removed, read_counts
from concertino.recipe import Recipe

SUBJECTS = ("the bank", "a customer", "my neighbour", "our lawyer", "that clerk", "some teller", "her broker")
VERBS = ("lost", "found", "returned", "mailed", "cancelled", "checked", "signed", "opened", "renewed", "blocked")
THINGS = ("the card", "a cheque", "my statement", "our contract", "that letter", "some coins", "her receipt")


def sentences(count: int) -> list[str]:
    """Different short texts."""
    made = [f"{who} {did} {what}" for who in SUBJECTS for did in VERBS for what in THINGS]
    return [
        f"{text} on day {number}" for number, text in zip(range(count), made * (1 + count // len(made)), strict=False)
    ]


def rows(count: int, labels: Sequence[str] = ("a", "b"), **more: Any) -> list[dict[str, Any]]:
    """Rows whose texts differ, with the labels in turn."""
    return [{"text": text, "label": labels[n % len(labels)], **more} for n, text in enumerate(sentences(count))]


def write(folder: Path, name: str, objects: Iterable[Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), "utf-8")
    return path


def recipe(*sources: dict[str, Any], free_text: bool = False, labels: Sequence[str] = (), **data: Any) -> Recipe:
    """A recipe for sources, each with the label field `label` unless it says otherwise."""
    return msgspec.convert(
        {
            "name": "test/skill",
            "description": "d",
            "instruction": "i",
            "free_text": free_text,
            "labels": list(labels),
            "training": {"engine": "causal"},
            "data": {"sources": [{"label": "label", **source} for source in sources], **data},
        },
        Recipe,
    )


class Made:
    """A dataset just curated, and what was said of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset: Dataset = open_dataset(folder)
        self.counts: Curation = read_counts(folder)
        self.sheet = (folder / "datasheet.md").read_text("utf-8")
        with (folder / "removed.jsonl").open("rb") as file:
            self.removed = [msgspec.json.decode(line, type=Removed) for line in file]

    def rows(self, *parts: str) -> list[Row]:
        return [row for part in parts or ("train", "dev", "calibration", "test") for row in self.dataset.rows(part)]

    def texts(self, *parts: str) -> set[str]:
        return {row.text for row in self.rows(*parts)}

    def because(self, reason: str) -> list[str]:
        return [each.because for each in self.removed if each.reason == reason]


def curate(folder: Path, made_of: Recipe, **more: Any) -> Made:
    """Curate the files of `folder` into `folder/out`."""
    curation.curate(made_of, folder, folder / "out", lambda sentence: None, **more)
    return Made(folder / "out")
