"""Near-duplicates: rows whose sets of word 3-grams have a Jaccard similarity of at least a threshold.

MinHash finds candidates (Broder 1997), banding keeps them few (Leskovec et al., "Mining of Massive Datasets", 3.4), and
every candidate is then compared exactly, so nothing is removed by chance. This is written out here because datasketch
takes a text at a time, at about 3,000 short texts a second on one core, and keeps its tables in dictionaries, about
3 KB a text; here a batch is one array operation, and a row costs 8 bytes a band, on disk. Buckets of many
rows are for `crowded`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from concertino.datasets import normalise
from concertino.datasets.crowded import Crowds
from concertino.datasets.ngrams import Words, mix
from concertino.datasets.staging import Staging

_SHINGLE = 3
_PERMUTATIONS = 64
_FEW = 4
"""Rows of a bucket of which each pair is compared at once."""
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
) -> tuple[np.ndarray, int]:
    """For each of `places` the position (in `places`) of the row that stands for its cluster; its own where it stays.

    `places` are rows of different texts. Similar rows form clusters, transitively, so that no two similar rows are
    left that could land in two parts; the row with the smallest `first` value, then the earliest, stands for each.
    The second value is the number of rows that resemble too many others to be compared with all of them.
    """
    count, width = bands(threshold)
    paths = [folder / f"band{number}" for number in range(count)]
    whole = folder / "band-of-all"
    sizes = _sign(staging, places, count, width, paths, whole, advance)
    clusters = _Clusters(first, _Similar(staging, places, threshold))
    for path, most in (*((path, _FEW) for path in paths), (whole, len(places))):
        for left, right in _pairs(np.fromfile(path, np.uint64), sizes, threshold, most):
            clusters.join(left, right)
    crowds = Crowds(staging, places, sizes, _SHINGLE, threshold, clusters.root, clusters.join)
    unsure = crowds.compare(paths, _FEW + 1)
    for path in (*paths, whole):
        path.unlink()
    return clusters.roots(), unsure


def _sign(
    staging: Staging, places: np.ndarray, count: int, width: int, paths: list[Path], whole: Path, advance: Advance
) -> np.ndarray:
    """Write the bucket of every row in every band to the band's file; the number of different shingles of each row.

    `whole` is one more band, by a hash of all of a row's shingles.
    """
    generator = np.random.default_rng(0)
    odd = np.uint64(1)
    factors = generator.integers(0, 2**63, count * width, np.uint64) | odd
    offsets = generator.integers(0, 2**63, count * width, np.uint64)
    sizes = np.zeros(len(places), np.uint32)
    files = [path.open("wb") for path in (*paths, whole)]
    try:
        start = 0
        for batch in staging.batches(places):
            hashes, owners = Words([normalise.words(row.text) for row in staging.rows(batch)]).shingles(_SHINGLE)
            starts = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
            sizes[start : start + len(batch)], all_of_it = _sets(hashes, owners, starts)
            files[-1].write(all_of_it.tobytes())
            for number, file in enumerate(files[:-1]):
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


def _sets(hashes: np.ndarray, owners: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of different hashes, hash of them all) of each text; a text's hashes begin at its start."""
    # A batch has fewer than 2 ** 12 texts, and one sort is quicker than two.
    ranked = np.sort((owners.astype(np.uint64) << np.uint64(52)) | (hashes >> np.uint64(12)))
    new = np.concatenate(([True], ranked[1:] != ranked[:-1]))
    whole = np.add.reduceat(np.where(new, mix(ranked << np.uint64(12)), np.uint64(0)), starts)
    return np.add.reduceat(new.astype(np.uint32), starts), whole


def _pairs(buckets: np.ndarray, sizes: np.ndarray, threshold: float, most: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose sizes allow the threshold, in buckets of at most so many rows: each with those before it."""
    order = np.argsort(buckets, kind="stable")
    ranked = buckets[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    lengths = np.diff(np.append(starts, len(ranked)))
    ranks = np.arange(len(ranked)) - np.repeat(starts, lengths)
    few = np.repeat(lengths <= most, lengths)
    found: list[np.ndarray] = []
    for back in range(1, _FEW):
        have = np.flatnonzero(few & (ranks >= back))
        found.append(np.stack((order[have - back], order[have])))
    pairs = np.concatenate(found, axis=1)
    smaller = np.minimum(sizes[pairs[0]], sizes[pairs[1]])
    larger = np.maximum(sizes[pairs[0]], sizes[pairs[1]])
    pairs = pairs[:, smaller >= threshold * larger]
    yield from zip(*pairs.tolist(), strict=True)


class _Clusters:
    """Which rows belong together, as trees whose roots stand for them."""

    def __init__(self, first: np.ndarray, similar: Callable[[int, int], bool]) -> None:
        self._first = first
        self._similar = similar
        self._parent = np.arange(len(first))

    def root(self, place: int) -> int:
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    def join(self, left: int, right: int) -> bool:
        """Put two rows into one cluster where they are similar; are they in one now?"""
        a, b = self.root(left), self.root(right)
        if a == b:
            return True
        if not self._similar(left, right):
            return False
        if (self._first[b], b) < (self._first[a], a):
            a, b = b, a
        self._parent[b] = a
        return True

    def roots(self) -> np.ndarray:
        """The root of every row."""
        while True:
            higher = self._parent[self._parent]
            if np.array_equal(higher, self._parent):
                return higher
            self._parent = higher


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
