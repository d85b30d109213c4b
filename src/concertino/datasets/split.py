"""Which part a row is in: a hash of its group, or its source's fixed part."""

from typing import Any

import numpy as np

from concertino.datasets.folder import Part
from concertino.datasets.staging import Fixed
from concertino.errors import DataRefused
from concertino.recipe import Split

PARTS = (Part.TRAIN, Part.DEV, Part.CALIBRATION, Part.TEST)
"""The order of the numbers in arrays of parts."""
TEST = PARTS.index(Part.TEST)

Index = np.ndarray[Any, np.dtype[Any]]


def assign(index: Index, split: Split, fixed_test: bool) -> np.ndarray:
    """The part of each row, as its place in `PARTS`, int8 `[rows]`.

    `fixed_test`: some source is fixed to the test part. Then rows of sources fixed to train are never tested on.
    """
    share = index["group"].astype(np.float64) / 2.0**64
    bounds = np.cumsum([split.dev, split.calibration, split.test])
    order = np.array([PARTS.index(part) for part in (Part.DEV, Part.CALIBRATION, Part.TEST, Part.TRAIN)], np.int8)
    parts = order[np.searchsorted(bounds, share, side="right")]
    if fixed_test:
        parts[(parts == TEST) & (index["fixed"] == Fixed.TRAIN)] = PARTS.index(Part.TRAIN)
    parts[index["fixed"] == Fixed.TEST] = TEST
    return parts


def also_tested(index: Index, parts: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Rows outside of the test part of whose group some row is in it, bool `[rows]`."""
    tested = np.unique(index["group"][alive & (parts == TEST)])
    return np.asarray(alive & (parts != TEST) & np.isin(index["group"], tested))


def check(index: Index, parts: np.ndarray, alive: np.ndarray) -> None:
    """Raises DataRefused where a text or a group is in two parts: a last guard over all that came before."""
    for column, name in (("key", "text"), ("group", "group")):
        values, kept = index[column][alive], parts[alive]
        order = np.argsort(values, kind="stable")
        same = values[order][1:] == values[order][:-1]
        leaks = int(np.count_nonzero(same & (kept[order][1:] != kept[order][:-1])))
        if leaks:
            raise DataRefused(f"The split would leak: {leaks} times one {name} is in two parts. Please report this.")
