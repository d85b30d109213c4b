"""Outcome tables: how well each candidate did on each text, with holes where nobody measured.

Two line formats are read: `{"text", "scores": {candidate: 0..1}}` (LLMRouter's, and the one to write), and `{"text",
"correct": {candidate: true}}` (RouteLLM's). An optional `"costs": {candidate: number}` is averaged per candidate. Lines
of one text are one row: a table may have a line for each text and candidate, and repeats of a cell count as their mean.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, structs

from concertino.errors import ConfigurationError
from concertino.training.routing.overlap import normalised

_MIXTURE = re.compile(r"(\d+)x(\d+(?:\.\d+)?)b\b", re.I)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b\b", re.I)
_CHOICES = re.compile(r"\nA[.)] .*", re.S)
TRAIN, VALIDATION, TEST = "train", "validation", "test"


class OutcomeTable(Struct, frozen=True):
    """`quality` is float `[texts, candidates]` between 0 and 1, NaN for a hole; `costs` is `[candidates]`."""

    texts: tuple[str, ...]
    candidates: tuple[str, ...]
    quality: np.ndarray
    costs: np.ndarray
    merged: int
    """Lines that were joined with an earlier one of the same text."""
    differing: int
    """Texts for which the lines give a candidate different outcomes."""
    sha256: str
    notes: tuple[str, ...] = ()
    """What is to be said of its costs."""

    @property
    def holes(self) -> int:
        return int(np.isnan(self.quality).sum())

    def part(self, places: Sequence[int] | np.ndarray) -> "OutcomeTable":
        """The rows at `places`."""
        kept = [int(place) for place in places]
        texts = tuple(self.texts[place] for place in kept)
        return structs.replace(self, texts=texts, quality=self.quality[kept])


def guessed_cost(name: str) -> float | None:
    """Billions of parameters that a model's name speaks of (`llama-3-8b`, `Mixtral-8x7B`), or None."""
    if mixture := _MIXTURE.search(name):
        return float(mixture[1]) * float(mixture[2])
    sizes = _SIZE.findall(name.replace("_", "-").replace("-", " "))
    return float(sizes[-1]) if sizes else None


def read_outcomes(path: Path, costs: Mapping[str, float] | None = None) -> OutcomeTable:
    """Read a table. Costs come from `costs`, else from the rows, else from the sizes in the candidates' names.

    Raises ConfigurationError with the line and what is wrong: no JSON object, no text, no outcome, a score that is no
    number between 0 and 1; for a candidate without any cost; and for costs of a candidate that the table has not.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the outcome table {path}: {error}", param="outcomes") from error
    rows: dict[str, _Measured] = {}
    lines = 0
    for number, line in enumerate(raw.decode("utf-8-sig", "replace").split("\n"), 1):
        if not line.strip():
            continue
        text, outcomes, paid = _row(line, f"{path.name}, line {number}")
        lines += 1
        rows.setdefault(normalised(_CHOICES.sub("", text)) or text, _Measured(text)).add(outcomes, paid)
    found = list(rows.values())
    names = sorted({name for row in found for name in row.outcomes})
    if len(names) < 2:
        said = ", ".join(names) or "none"
        raise ConfigurationError(
            f"{path.name} has outcomes of {len(names)} candidates ({said}); a choice needs two", param="outcomes"
        )
    if strange := sorted(set(costs or {}) - set(names)):
        raise ConfigurationError(
            f"--cost {strange[0]}: {path.name} has no such candidate; it has {', '.join(names)}", param="cost"
        )
    paid_for = {name for row in found for name in row.paid}
    charged = {name: [row.cost(name) for row in found if name in row.paid] for name in sorted(paid_for)}
    return OutcomeTable(
        tuple(row.text for row in found),
        tuple(names),
        np.array([[row.outcome(name) for name in names] for row in found]),
        np.array([_cost(name, costs or {}, charged) for name in names]),
        lines - len(found),
        sum(row.differs for row in found),
        hashlib.sha256(raw).hexdigest(),
        tuple(_cost_notes(names, costs or {}, charged)),
    )


class _Measured:
    """All that the lines of one text say."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.outcomes: defaultdict[str, list[float]] = defaultdict(list)
        self.paid: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, outcomes: Mapping[str, float], paid: Mapping[str, float]) -> None:
        for name, value in outcomes.items():
            self.outcomes[name].append(value)
        for name, value in paid.items():
            self.paid[name].append(value)

    def outcome(self, name: str) -> float:
        return float(np.mean(self.outcomes[name])) if name in self.outcomes else math.nan

    def cost(self, name: str) -> float:
        return float(np.mean(self.paid[name]))

    @property
    def differs(self) -> bool:
        return any(len(set(values)) > 1 for values in self.outcomes.values())


def _row(line: str, where: str) -> tuple[str, dict[str, float], dict[str, float]]:
    def refuse(what: str) -> ConfigurationError:
        return ConfigurationError(f"{where}: {what}", param="outcomes")

    try:
        row: Any = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise refuse(f"not JSON ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise refuse('no object with a string "text"')
    found = row.get("scores", row.get("correct"))
    if not isinstance(found, dict):
        raise refuse('neither "scores" nor "correct" with an outcome for each candidate')
    outcomes = {}
    for name, value in found.items():
        if value is None:
            continue  # measured by nobody: a hole, written out
        if not name.strip():
            raise refuse("a candidate has no name")
        if not isinstance(value, int | float) or not 0.0 <= float(value) <= 1.0:
            raise refuse(f"the outcome of {name} is {value!r}; it must be true, false or between 0 and 1")
        outcomes[name] = float(value)
    paid = row.get("costs") or {}
    if not isinstance(paid, dict) or not all(_is_cost(value) for value in paid.values()):
        raise refuse('"costs" must give each candidate a finite number that is not negative')
    return row["text"], outcomes, {name: float(value) for name, value in paid.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, none of whose names stands twice: the last one would win, whatever the others say."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _is_cost(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _cost_notes(names: Sequence[str], costs: Mapping[str, float], charged: Mapping[str, Sequence[float]]) -> list[str]:
    """What is to be said of costs that were given for some candidates only, or for candidates that are none."""
    notes = []
    if unknown := [name for name in charged if name not in names]:
        notes.append(f"costs of {', '.join(unknown)} are left aside: the table has no outcome of that name")
    known = [name for name in names if name in costs or name in charged]
    if known and (guessed := [name for name in names if name not in known]):
        notes.append(
            f"the costs of {', '.join(guessed)} are guessed: billions of parameters, by the name. Those of "
            f"{', '.join(known)} were given; if they are in another unit, give all of them"
        )
    return notes


def _cost(name: str, given: Mapping[str, float], charged: Mapping[str, Sequence[float]]) -> float:
    if name in given:
        return given[name]
    if charged.get(name):
        return float(np.mean(charged[name]))
    if (guess := guessed_cost(name)) is not None:
        return guess
    raise ConfigurationError(f"what does {name} cost? Give --cost {name}=NUMBER, in any one unit.", param="cost")


def split_table(table: OutcomeTable, seed: int = 7) -> tuple[OutcomeTable, OutcomeTable, OutcomeTable]:
    """70 % train, 10 % validation, 20 % test, by a hash of the normalised question: a text never straddles parts."""
    places: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for place, text in enumerate(table.texts):
        key = f"{seed}:{normalised(_CHOICES.sub('', text)) or text}"
        value = int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:4], "big") % 10
        places[0 if value < 7 else 1 if value == 7 else 2].append(place)
    return table.part(places[0]), table.part(places[1]), table.part(places[2])


def check_parts(parts: Mapping[str, OutcomeTable]) -> list[str]:
    """What is to be said of the parts before anything is made of them: which candidate the parts beside `train` lack.

    Raises ConfigurationError for a part without texts, and for a candidate without outcomes in `train`.
    """
    sizes = ", ".join(f"{name} {len(part.texts)}" for name, part in parts.items())
    if empty := [name for name, part in parts.items() if not part.texts]:
        raise ConfigurationError(
            f"the table is too small to be divided ({sizes} texts): the part {empty[0]} is empty. Some fifty different "
            "texts give every part its share.",
            param="outcomes",
        )
    said = []
    for name, part in parts.items():
        told = (~np.isnan(part.quality)).sum(axis=0).tolist()
        lacking = [candidate for candidate, count in zip(part.candidates, told, strict=True) if not count]
        if not lacking:
            continue
        counts = ", ".join(f"{candidate} {count}" for candidate, count in zip(part.candidates, told, strict=True))
        if name == TRAIN:
            raise ConfigurationError(
                f"{', '.join(lacking)} has no outcome among the {len(part.texts)} texts to fit on (outcomes: "
                f"{counts}). Measure it on more texts, or leave it out of the table.",
                param="outcomes",
            )
        said.append(
            f"the {name} part has no outcome of {', '.join(lacking)} (outcomes: {counts}): the mean of the other parts "
            "stands in for it"
        )
    return said
