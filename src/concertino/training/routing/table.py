"""Outcome tables: how well each candidate did on each text, with holes where nobody measured.

Two line formats are read: `{"text", "scores": {candidate: 0..1}}` (LLMRouter's, and the one to write), and `{"text",
"correct": {candidate: true}}` (RouteLLM's). An optional `"costs": {candidate: number}` is averaged per candidate.
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
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.training.routing.overlap import normalised

_MIXTURE = re.compile(r"(\d+)x(\d+(?:\.\d+)?)b\b", re.I)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b\b", re.I)
_CHOICES = re.compile(r"\nA[.)] .*", re.S)


class OutcomeTable(Struct, frozen=True):
    """`quality` is float `[texts, candidates]` between 0 and 1, NaN for a hole; `costs` is `[candidates]`."""

    texts: tuple[str, ...]
    candidates: tuple[str, ...]
    quality: np.ndarray
    costs: np.ndarray
    duplicates: int
    """Rows that repeated an earlier text; the first counts."""
    sha256: str

    @property
    def holes(self) -> int:
        return int(np.isnan(self.quality).sum())

    def part(self, places: Sequence[int] | np.ndarray) -> "OutcomeTable":
        """The rows at `places`."""
        kept = [int(place) for place in places]
        texts = tuple(self.texts[place] for place in kept)
        return OutcomeTable(texts, self.candidates, self.quality[kept], self.costs, self.duplicates, self.sha256)


def guessed_cost(name: str) -> float | None:
    """Billions of parameters that a model's name speaks of (`llama-3-8b`, `Mixtral-8x7B`), or None."""
    if mixture := _MIXTURE.search(name):
        return float(mixture[1]) * float(mixture[2])
    sizes = _SIZE.findall(name.replace("_", "-").replace("-", " "))
    return float(sizes[-1]) if sizes else None


def read_outcomes(path: Path, costs: Mapping[str, float] | None = None) -> OutcomeTable:
    """Read a table. Costs come from `costs`, else from the rows, else from the sizes in the candidates' names.

    Raises ConfigurationError with the line and what is wrong: no JSON object, no text, no outcome, a score that is no
    number between 0 and 1; and for a candidate without any outcome or cost.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the outcome table {path}: {error}", param="outcomes") from error
    rows: dict[str, tuple[str, dict[str, float]]] = {}
    charged: defaultdict[str, list[float]] = defaultdict(list)
    duplicates = 0
    for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        text, outcomes, paid = _row(line, f"{path.name}, line {number}")
        for name, value in paid.items():
            charged[name].append(value)
        key = normalised(_CHOICES.sub("", text)) or text
        if key in rows:
            duplicates += 1
        else:
            rows[key] = (text, outcomes)
    names = sorted({name for _, outcomes in rows.values() for name in outcomes})
    if len(names) < 2:
        raise ConfigurationError(f"{path.name} has {len(names)} candidates; a choice needs two", param="outcomes")
    quality = np.array([[outcomes.get(name, math.nan) for name in names] for _, outcomes in rows.values()])
    if (empty := np.isnan(quality).all(axis=0)).any():
        raise ConfigurationError(f"{path.name}: {names[int(empty.argmax())]} has no outcome at all", param="outcomes")
    return OutcomeTable(
        tuple(text for text, _ in rows.values()),
        tuple(names),
        quality,
        np.array([_cost(name, costs or {}, charged) for name in names]),
        duplicates,
        hashlib.sha256(raw).hexdigest(),
    )


def _row(line: str, where: str) -> tuple[str, dict[str, float], dict[str, float]]:
    def refuse(what: str) -> ConfigurationError:
        return ConfigurationError(f"{where}: {what}", param="outcomes")

    try:
        row: Any = json.loads(line)
    except ValueError as error:
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
        if not isinstance(value, int | float) or not 0.0 <= float(value) <= 1.0:
            raise refuse(f"the outcome of {name} is {value!r}; it must be true, false or between 0 and 1")
        outcomes[name] = float(value)
    paid = row.get("costs") or {}
    if not isinstance(paid, dict) or not all(isinstance(v, int | float) and v >= 0 for v in paid.values()):
        raise refuse('"costs" must give each candidate a number that is not negative')
    return row["text"], outcomes, {name: float(value) for name, value in paid.items()}


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
