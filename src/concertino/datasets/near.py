"""Near-duplicates: rows whose sets of word 3-grams have a Jaccard similarity of at least a threshold.

MinHash finds candidates (Broder 1997), banding keeps them few (Leskovec et al., "Mining of Massive Datasets", 3.4), and
every candidate is then compared exactly, so nothing is removed by chance. This is written out here because datasketch
takes a text at a time, at about 3,000 short texts a second on one core, and keeps its tables in dictionaries, about
3 KB a text; here a batch is one array operation, and a row costs 8 bytes a band, on disk.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from concertino.datasets import normalise
from concertino.datasets.ngrams import Words, mix
from concertino.datasets.staging import Staging

_SHINGLE = 3
_PERMUTATIONS = 64
_NEIGHBOURS = 3
_KEPT = 300_000
"""Shingles of compared texts that are kept, some 200 bytes each."""
_MISSED = 1e-3
"""Probability, at the threshold itself, that a pair is in no common bucket."""

Advance = Callable[[int], None]


def bands(threshold: float) -> tuple[int, int]:
    """(bands, hashes in each): the most selective that misses a pair at the threshold with at most `_MISSED`."""
    for rows in range(_PERMUTATIONS, 1, -1):
        count = _PERMUTATIONS // rows
        if (1 - threshold**rows) ** count <= _MISSED:
            return count, rows
    return _PERMUTATIONS, 1


def near_duplicates(
    staging: Staging, places: np.ndarray, first: np.ndarray, threshold: float, folder: Path, advance: Advance
) -> np.ndarray:
    """For each of `places` the position (in `places`) of the row that stands for its cluster; its own where it stays.

    `places` are rows of different texts. Similar rows form clusters, transitively, so that no two similar rows are
    left that could land in two parts; the row with the smallest `first` value, then the earliest, stands for each.
    """
    count, width = bands(threshold)
    paths = [folder / f"band{number}" for number in range(count)]
    sizes = _sign(staging, places, count, width, paths, advance)
    parent = np.arange(len(places))
    similar = _Similar(staging, places, threshold)
    for path in paths:
        buckets = np.fromfile(path, np.uint64)
        path.unlink()
        for left, right in _pairs(buckets, sizes, threshold):
            a, b = _root(parent, left), _root(parent, right)
            if a != b and similar(left, right):
                if (first[b], b) < (first[a], a):
                    a, b = b, a
                parent[b] = a
    while True:
        higher = parent[parent]
        if np.array_equal(higher, parent):
            return parent
        parent = higher


def _sign(
    staging: Staging, places: np.ndarray, count: int, width: int, paths: list[Path], advance: Advance
) -> np.ndarray:
    """Write the bucket of every row in every band to the band's file; the number of shingles of each row."""
    generator = np.random.default_rng(0)
    odd = np.uint64(1)
    factors = generator.integers(0, 2**63, count * width, np.uint64) | odd
    offsets = generator.integers(0, 2**63, count * width, np.uint64)
    sizes = np.zeros(len(places), np.uint32)
    files = [path.open("wb") for path in paths]
    try:
        start = 0
        for batch in staging.batches(places):
            hashes, owners = Words([normalise.words(row.text) for row in staging.rows(batch)]).shingles(_SHINGLE)
            starts = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
            sizes[start : start + len(batch)] = np.diff(np.append(starts, len(owners)))
            for number, file in enumerate(files):
                bucket = np.zeros(len(batch), np.uint64)
                for place in range(number * width, (number + 1) * width):
                    # Multiply-shift hashing (Dietzfelbinger et al. 1997): its high bits are what is random.
                    smallest = np.minimum.reduceat((hashes * factors[place] + offsets[place]) >> np.uint64(16), starts)
                    bucket = mix(bucket + smallest)
                file.write(bucket.tobytes())
            start += len(batch)
            advance(len(batch))
    finally:
        for file in files:
            file.close()
    return sizes


def _pairs(buckets: np.ndarray, sizes: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows in one bucket whose sizes allow the threshold: each with the bucket's first and those before it."""
    order = np.argsort(buckets, kind="stable")
    ranked = buckets[order]
    new = np.concatenate(([True], ranked[1:] != ranked[:-1]))
    heads = np.maximum.accumulate(np.where(new, np.arange(len(ranked)), 0))
    ranks = np.arange(len(ranked))
    found: list[np.ndarray] = []
    for back in range(1, _NEIGHBOURS + 1):
        have = np.flatnonzero(ranks - heads >= back)
        found.append(np.stack((order[have - back], order[have])))
    far = np.flatnonzero(ranks - heads > _NEIGHBOURS)
    found.append(np.stack((order[heads[far]], order[far])))
    pairs = np.concatenate(found, axis=1)
    smaller = np.minimum(sizes[pairs[0]], sizes[pairs[1]])
    larger = np.maximum(sizes[pairs[0]], sizes[pairs[1]])
    pairs = pairs[:, smaller >= threshold * larger]
    yield from zip(*pairs.tolist(), strict=True)


def _root(parent: np.ndarray, place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = int(parent[place])
    return place


class _Similar:
    """Compares two rows exactly. The last texts are kept, since the rows of a bucket come together."""

    def __init__(self, staging: Staging, places: np.ndarray, threshold: float) -> None:
        self._staging = staging
        self._places = places
        self._threshold = threshold
        self._kept: dict[int, frozenset[tuple[str, ...]]] = {}
        self._size = 0

    def __call__(self, left: int, right: int) -> bool:
        a, b = self._shingles(left), self._shingles(right)
        return len(a & b) >= self._threshold * len(a | b)

    def _shingles(self, place: int) -> frozenset[tuple[str, ...]]:
        found = self._kept.get(place)
        if found is None:
            if self._size > _KEPT:
                self._kept.clear()
                self._size = 0
            text = normalise.words(self._staging.row(int(self._places[place])).text)
            found = frozenset(zip(*(text[at:] for at in range(_SHINGLE)), strict=False)) or frozenset((tuple(text),))
            self._kept[place] = found
            self._size += len(found)
        return found
