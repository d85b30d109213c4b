"""Texts from beside the recipe's rows: evaluation sets to keep clear of, and texts that the skill is not for."""

import heapq
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.datasets import normalise
from concertino.datasets.contamination import LONG, EvaluationSet
from concertino.datasets.folder import Row
from concertino.documents import Documents, Record, find_files
from concertino.errors import DataRefused
from concertino.template import FieldsProblem, clean, fill

BACKGROUND = 3_000
"""Background texts that are kept, over all paths."""
_SHARES = (("train", 0.6), ("calibration", 0.8), ("test", 1.0))


class OtherFile(Struct, frozen=True):
    """A file named by `path` or `path#field`."""

    path: str
    file: Path
    entry: str
    field: str


def named_files(data_dir: Path, entries: Sequence[str]) -> list[OtherFile]:
    """The files of `path` and `path#field` entries."""
    found: list[OtherFile] = []
    for entry in entries:
        path, _, field = entry.partition("#")
        found += [
            OtherFile(file.relative_to(data_dir).as_posix(), file, entry, field) for file in find_files(data_dir, path)
        ]
    return found


def evaluation_sets(files: Sequence[OtherFile], longest: int) -> list[EvaluationSet]:
    """A set a file. Raises DataRefused where a file has no texts, since nothing would be kept clear of."""
    sets: list[EvaluationSet] = []
    for each in files:
        made = EvaluationSet(each.path, _texts(each, longest), () if each.field else _passages(each, longest))
        if not len(made):
            named = each.field or "text"
            raise DataRefused(f"{each.path} has no field {named!r}; name the field as in {each.path}#question.")
        sets.append(made)
    return sets


def _texts(each: OtherFile, longest: int) -> Iterator[str]:
    for _, text in _placed(each, longest):
        yield text


def _placed(each: OtherFile, longest: int) -> Iterator[tuple[str, str]]:
    """(place, text) of each record that has the field."""
    with Documents(longest) as documents:
        for event in documents.read(each.file):
            if isinstance(event, Record):
                try:
                    yield event.place, fill(event.fields, each.field or "text")
                except FieldsProblem:
                    continue


def _passages(each: OtherFile, longest: int) -> Iterator[str]:
    """Long strings of the other fields: contexts and answers, which must not be learnt either."""
    with Documents(longest) as documents:
        for event in documents.read(each.file):
            if isinstance(event, Record):
                for name, value in event.fields.items():
                    for string in value if isinstance(value, list) else [value]:
                        if name != "text" and isinstance(string, str) and string.count(" ") >= LONG - 1:
                            yield string


def background(
    files: Sequence[OtherFile], own: np.ndarray, longest: int, seed: str
) -> tuple[list[Row], dict[str, int]]:
    """(rows, rows by file). Texts whose key is among `own` are left out, and each text is taken once.

    Which texts are drawn depends on a hash of each text alone, so a text added to a file displaces at most one other.
    Every entry gives alike; what one lacks the others make up for.
    """
    taken = set[int]()
    drawn: dict[str, list[tuple[int, Row]]] = {}
    for each in files:
        heap = drawn.setdefault(each.entry, [])
        for place, raw in _placed(each, longest):
            text = clean(raw)
            key = normalise.key(normalise.comparable(text))
            at = np.searchsorted(own, np.uint64(key))
            if not text or len(text) > longest or key in taken or (at < len(own) and int(own[at]) == key):
                continue
            rank = -int.from_bytes(sha256(f"{seed}{key:016x}".encode()).digest()[:8], "big")
            if len(heap) < BACKGROUND or rank > heap[0][0]:
                row = Row(id=f"{key:016x}", text=text, group=_part(key, seed), source=f"{each.path}:{place}")
                taken.add(key)
                if len(heap) < BACKGROUND:
                    heapq.heappush(heap, (rank, row))
                else:
                    heapq.heapreplace(heap, (rank, row))
    rows: list[Row] = []
    left = BACKGROUND
    ordered = sorted(drawn.values(), key=len)
    for number, heap in enumerate(ordered):
        quota = min(len(heap), left // (len(ordered) - number))
        rows += [row for _, row in sorted(heap, reverse=True, key=lambda ranked: ranked[0])[:quota]]
        left -= quota
    rows.sort(key=lambda row: row.id)
    counts = {each.path: 0 for each in files}
    for row in rows:
        counts[row.source.rpartition(":")[0]] += 1
    return rows, counts


def _part(key: int, seed: str) -> str:
    share = int.from_bytes(sha256(f"{seed}background{key:016x}".encode()).digest()[:8], "big") / 2.0**64
    return next(name for name, bound in _SHARES if share < bound)
