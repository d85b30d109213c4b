"""Near-duplicates among many rows that share a bucket, as texts under one letterhead or above one disclaimer do.

What nearly all of them have tells nothing, so rows are compared by the shingles that few of them have: two similar rows
share some of these, or have so few that what is common to all is most of both. The first are found by the lists of
rows that have a shingle, the second by a product of matrices with a column for each common shingle; other shingles
are hashed into a thousand columns, so that a product is never less than the number of shingles that two rows share.
What that leaves is compared exactly (after the prefix filter of Bayardo et al. 2007, "Scaling up all pairs similarity
search").
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from concertino.datasets import normalise
from concertino.datasets.ngrams import Words
from concertino.datasets.staging import Staging

SHINGLES = 4_000_000
"""Of rows that are compared at once."""
ROWS = 4_096
"""Of a matrix."""
_PAIRS = 4_000_000
"""Pairs of rows that are listed at once, since they have a shingle that few have."""
_RARE = 256
"""Rows that a shingle may be in to be one that few have."""
_WORK, _WORK_A_ROW, _WORK_A_PAIR, _WORK_A_BLOCK = 1e12, 5e6, 1e6, 2e7
"""Multiplications that may be done in all, so that hostile data takes minutes and not days, and what the rest costs."""
_COMMON = 8
"""A shingle has a column of its own where one row in so many has it."""
_HASHED = 1_024
"""Columns for all others."""
_STRIPE = 512
_BEFORE = 3

Join = Callable[[int, int], bool]
"""Two positions -> are they in one cluster now? Compares them exactly."""


class Crowds:
    """Compares the rows of large buckets."""

    def __init__(
        self,
        staging: Staging,
        places: np.ndarray,
        sizes: np.ndarray,
        shingle: int,
        threshold: float,
        root: Callable[[int], int],
        join: Join,
    ) -> None:
        """`sizes` are the shingles of each row; `shingle` is the words of one."""
        self._staging = staging
        self._places = places
        self._sizes = sizes
        self._shingle = shingle
        self._threshold = threshold
        self._share = threshold / (1 + threshold)
        """Of the shingles of two similar rows together, the least that both have."""
        self._root = root
        self._join = join
        self._left = _WORK + _WORK_A_ROW * len(places)
        self._done: set[bytes] = set()
        self._unsure = np.zeros(len(places), bool)

    def compare(self, paths: Sequence[Path], fewest: int) -> int:
        """Compare the rows of all buckets of at least so many; the number of rows that were too many for it.

        Buckets that are too large are cut by the buckets of the other bands, and those still too large into runs.
        """
        # Where one shingle more or less is too much, similar rows have the same ones: another bucket is for these.
        able = self._sizes >= self._threshold / (1 - self._threshold)
        for path in paths:
            buckets = np.fromfile(path, np.uint64)
            for crowd in _groups(buckets, np.flatnonzero(able), fewest):
                if self._fits(crowd) and self._left > 0:
                    self._block(crowd)
                    continue
                self._neighbours(crowd)
                for other in paths:
                    if other != path and not self._settled(crowd):
                        self._split(crowd, np.memmap(other, np.uint64, "r"))
        return int(self._unsure.sum())

    def _split(self, crowd: np.ndarray, values: np.ndarray) -> None:
        if self._left <= 0:
            self._unsure[crowd] = True
            return
        for group in list(_groups(values, crowd, 2)):
            if self._fits(group):
                self._block(group)
            elif not self._settled(group):
                self._unsure[group] = True
                for run in self._runs(group):
                    self._block(run)

    def _fits(self, group: np.ndarray) -> bool:
        return int(self._sizes[group].sum(dtype=np.int64)) <= SHINGLES

    def _runs(self, group: np.ndarray) -> Iterator[np.ndarray]:
        number = np.cumsum(self._sizes[group], dtype=np.int64) // SHINGLES
        return iter(np.split(group, np.flatnonzero(np.diff(number)) + 1))

    def _settled(self, group: np.ndarray) -> bool:
        """Is all of it one cluster?"""
        first = self._root(int(group[0]))
        return all(self._root(place) == first for place in group.tolist())

    def _block(self, group: np.ndarray) -> None:
        """Compare all with all, unless that was done, is needless or would take too long."""
        name = blake2b(group.tobytes(), digest_size=16).digest()
        if name in self._done or self._settled(group):
            return
        self._done.add(name)
        if self._left <= 0:
            self._unsure[group] = True
            return
        self._left -= _WORK_A_BLOCK
        rows, names, counts = self._incidence(group)
        few = counts <= _rare(counts)
        common = np.bincount(rows[~few[names]], minlength=len(group))
        pairs = _sharing(rows[few[names]], names[few[names]])
        self._listed(group, *pairs, common)
        self._light(group, rows, names, counts, common)

    def _listed(
        self, group: np.ndarray, left: np.ndarray, right: np.ndarray, shared: np.ndarray, common: np.ndarray
    ) -> None:
        """Compare pairs that share so many rare shingles, where the common ones may make up for the rest."""
        sizes = self._sizes[group].astype(np.int64)
        need = self._share * (sizes[left] + sizes[right]) - np.minimum(common[left], common[right])
        enough = shared >= need - 0.01
        self._left -= _WORK_A_PAIR * int(enough.sum())
        for one, two in zip(group[left[enough]].tolist(), group[right[enough]].tolist(), strict=True):
            self._join(one, two)

    def _light(
        self, group: np.ndarray, rows: np.ndarray, names: np.ndarray, counts: np.ndarray, common: np.ndarray
    ) -> None:
        """Compare rows that may be similar by what is common alone: those with few other shingles, with each other."""
        rare = self._sizes[group].astype(np.int64) - common
        most = (1 / self._threshold - 1) * common
        light = np.flatnonzero(2 * rare <= most + 0.01)
        if not len(light) or self._settled(group):
            return
        others = np.flatnonzero(rare + rare[light].min() <= most.max() + 0.01)
        if len(others) > ROWS:
            self._unsure[group[others]] = True
            self._neighbours(group[others])
            others = others[np.argsort(rare[others], kind="stable")][:ROWS]
        place = np.full(len(group), -1)
        place[others] = np.arange(len(others))
        mine = place[rows] >= 0
        matrix = _matrix(place[rows[mine]], names[mine], counts, len(others))
        members = group[others]
        is_light = np.isin(others, light)
        if not is_light.any():
            return
        self._left -= float(matrix.shape[1]) * len(others) * int(is_light.sum())
        sizes = self._sizes[members].astype(np.float32)
        cluster = np.array([self._root(each) for each in members.tolist()])
        for stripe in np.array_split(np.flatnonzero(is_light), -(-int(is_light.sum()) // _STRIPE)):
            shared = matrix[stripe] @ matrix.T
            close = shared >= self._share * (sizes[stripe, None] + sizes[None, :]) - 0.01
            for at, number in enumerate(stripe.tolist()):
                self._link(members, number, np.flatnonzero(close[at]), cluster)

    def _neighbours(self, group: np.ndarray) -> None:
        """Compare each row with the first and the three before it, which does for rows that are all alike."""
        rows = group.tolist()
        for at, place in enumerate(rows):
            for other in {rows[0], *rows[max(0, at - _BEFORE) : at]} - {place}:
                self._compared(other, place)

    def _compared(self, left: int, right: int) -> None:
        smaller, larger = sorted((int(self._sizes[left]), int(self._sizes[right])))
        if smaller >= self._threshold * larger:
            self._join(left, right)

    def _link(self, group: np.ndarray, place: int, close: np.ndarray, cluster: np.ndarray) -> None:
        """Compare a row exactly with those that may be similar; `cluster` is kept up to date."""
        for other in close[cluster[close] != cluster[place]].tolist():
            mine, theirs = cluster[place], cluster[other]
            if mine != theirs and self._join(int(group[other]), int(group[place])):
                cluster[cluster == mine] = theirs

    def _incidence(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(row, shingle) of each shingle of each row, once; and the rows that each shingle is in."""
        found: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        at = 0
        for batch in self._staging.batches(self._places[group]):
            words = Words([normalise.words(row.text) for row in self._staging.rows(batch)])
            hashes, owners = words.shingles(self._shingle)
            order = np.lexsort((hashes, owners))
            hashes, owners = hashes[order], owners[order]
            new = np.concatenate(([True], (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])))
            found.append(hashes[new])
            rows.append(owners[new] + at)
            at += len(batch)
        _, names, counts = np.unique(np.concatenate(found), return_inverse=True, return_counts=True)
        return np.concatenate(rows), names, counts


def _rare(counts: np.ndarray) -> int:
    """The most rows that a shingle may be in, for the pairs of all those rows to be listed."""
    for most in (_RARE, 128, 64, 32, 16, 8, 4):
        few = counts[counts <= most].astype(np.int64)
        if int((few * (few - 1) // 2).sum()) <= _PAIRS:
            return most
    return 2


def _sharing(rows: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left, right, number of shingles that both have) of all pairs of rows with a shingle in common."""
    order = np.lexsort((rows, names))
    rows, names = rows[order], names[order]
    found: list[np.ndarray] = []
    back = 1
    while len(rows) > back and (same := names[back:] == names[:-back]).any():
        found.append((rows[:-back][same].astype(np.uint64) << np.uint64(32)) | rows[back:][same].astype(np.uint64))
        back += 1
    pairs, shared = np.unique(np.concatenate(found), return_counts=True) if found else (np.zeros(0, np.uint64),) * 2
    return (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(2**32 - 1)).astype(np.int64), shared


def _matrix(rows: np.ndarray, names: np.ndarray, counts: np.ndarray, height: int) -> np.ndarray:
    """float32 `[rows, columns]`: the product of two rows is at least the number of shingles that both have."""
    common = counts >= max(2, height / _COMMON)
    column = np.arange(len(counts)) % _HASHED
    column[common] = _HASHED + np.arange(int(common.sum()))
    kept = counts[names] > 1
    matrix = np.zeros((height, _HASHED + int(common.sum())), np.float32)
    np.add.at(matrix, (rows[kept], column[names[kept]]), 1)
    return matrix


def _groups(values: np.ndarray, of: np.ndarray, fewest: int) -> Iterator[np.ndarray]:
    """Those of the positions `of` that have one value, where they are at least so many."""
    mine = values[of]
    order = np.argsort(mine, kind="stable")
    ranked = mine[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1]))) if len(ranked) else np.zeros(0, int)
    ends = np.append(starts[1:], len(ranked))
    large = ends - starts >= fewest
    for start, end in zip(starts[large].tolist(), ends[large].tolist(), strict=True):
        yield of[order[start:end]]
