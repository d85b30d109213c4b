"""Rows between reading and writing: their JSON in one file, what they are compared by in a column file beside it.

Only numbers come back into memory (45 bytes a row); texts are read again when they are needed.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from concertino.datasets.folder import Row
from concertino.datasets.prepare import Prepared

BATCH_ROWS, BATCH_CHARACTERS = 2_000, 1_000_000
"""Of rows that are compared at once, so that long ones take no more memory than short ones."""


class Fixed(IntEnum):
    """The part that a row's source is fixed to."""

    NONE = 0
    TRAIN = 1
    TEST = 2


INDEX = np.dtype(
    [
        ("offset", "<u8"),
        ("key", "<u8"),
        ("labels", "<u8"),
        ("group", "<u8"),
        ("id", "<u8"),
        ("characters", "<u4"),
        ("source", "<u2"),
        ("fixed", "<u1"),
    ]
)


class Staging:
    """Written once, then read in any order. `index` has a record (INDEX) a row."""

    def __init__(self, folder: Path, fixed: Sequence[Fixed]) -> None:
        """`fixed` by source."""
        self._path = folder / "rows.jsonl"
        self._columns = folder / "rows.index"
        self._fixed = fixed
        self._file: BinaryIO = self._path.open("wb")
        self._index: BinaryIO = self._columns.open("wb")
        self._offset = 0
        self._decoder = msgspec.json.Decoder(Row)
        self.index: np.ndarray[Any, np.dtype[Any]] = np.zeros(0, INDEX)

    def add(self, rows: Sequence[Prepared]) -> None:
        records = np.zeros(len(rows), INDEX)
        for place, row in enumerate(rows):
            fixed = self._fixed[row.source]
            records[place] = (self._offset, row.key, row.labels, row.group, row.id, row.characters, row.source, fixed)
            self._offset += len(row.line)
        self._file.write(b"".join(row.line for row in rows))
        self._index.write(records.tobytes())

    def finish(self) -> None:
        """No more rows come; reading may begin."""
        self._file.close()
        self._index.close()
        self.index = np.fromfile(self._columns, INDEX)
        self._file = self._path.open("rb")

    def close(self) -> None:
        self._file.close()
        self._index.close()

    def lines(self, places: np.ndarray) -> Iterator[bytes]:
        """The JSON of rows, in the order of `places`; quickest where that is ascending."""
        offsets = self.index["offset"]
        expected = -1
        for place in places.tolist():
            if place != expected:
                self._file.seek(int(offsets[place]))
            expected = place + 1
            yield self._file.readline()

    def rows(self, places: np.ndarray) -> Iterator[Row]:
        for line in self.lines(places):
            yield self._decoder.decode(line)

    def batches(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """`places` in runs of at most BATCH_ROWS rows and about BATCH_CHARACTERS characters."""
        read = np.cumsum(self.index["characters"][places].astype(np.int64)) // BATCH_CHARACTERS
        new = np.flatnonzero(np.diff(read) != 0) + 1
        for run in np.split(places, new):
            for start in range(0, len(run), BATCH_ROWS):
                yield run[start : start + BATCH_ROWS]

    def row(self, place: int) -> Row:
        return next(self.rows(np.array([place])))
