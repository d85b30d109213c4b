"""Rows with the same comparable text: one is kept, none where their labels contradict each other."""

from enum import IntEnum
from typing import Any

import numpy as np

from concertino.datasets.staging import Fixed

Index = np.ndarray[Any, np.dtype[Any]]


class Fate(IntEnum):
    """What becomes of a row among the rows with its text."""

    KEEP = 0
    DUPLICATE = 1
    LEAK = 2
    """A row of the fixed test part has the same text."""
    CONTRADICTION = 3
    OTHER_GROUP = 4
    """Another answer to the same text, in a group that may land in another part."""


def fates(index: Index, free_text: bool) -> tuple[np.ndarray, np.ndarray]:
    """(fate of each row, the row that it is held against or -1), both int64 `[rows]`.

    A fixed test row outranks others. Where a skill answers with free text, several answers to one text may stand.
    """
    fate = np.zeros(len(index), np.int64)
    against = np.full(len(index), -1, np.int64)
    test = index["fixed"] == Fixed.TEST
    order = np.lexsort((np.arange(len(index)), ~test, index["key"]))
    keys = index["key"][order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(keys))
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        _settle(order[start:end].tolist(), index, test, free_text, fate, against)
    return fate, against


def _settle(
    places: list[int], index: Index, test: np.ndarray, free_text: bool, fate: np.ndarray, against: np.ndarray
) -> None:
    """Fates of rows with one text, test rows first."""
    first = places[0]
    if test[first]:
        for place in places:
            if not test[place]:
                fate[place], against[place] = Fate.LEAK, first
        places = [place for place in places if test[place]]
    seen: dict[int, int] = {}
    for place in places:
        labels = int(index["labels"][place])
        if labels in seen:
            fate[place], against[place] = Fate.DUPLICATE, seen[labels]
            continue
        seen[labels] = place
        if len(seen) > 1 and free_text and not test[place] and index["group"][place] != index["group"][first]:
            fate[place], against[place] = Fate.OTHER_GROUP, first
    if len(seen) > 1 and not free_text:
        other = list(seen.values())[1]
        for place in places:
            fate[place] = Fate.CONTRADICTION
            against[place] = first if index["labels"][place] != index["labels"][first] else other
