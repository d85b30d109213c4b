"""Intervals and paired tests. No SciPy: each formula stands here, and the tests compare it with SciPy's."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from msgspec import Struct

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
EXACT_BELOW = 25
"""Discordant pairs from which the chi-square approximation of McNemar's test is good enough."""
RESAMPLES = 10_000
_AT_ONCE = 250


class Interval(Struct, frozen=True):
    """A two-sided 95 % interval."""

    lower: float
    upper: float


class McNemar(Struct, frozen=True):
    """A paired test of two yes/no outcomes on the same rows."""

    first_only: int
    """Rows that only the first got right."""
    second_only: int
    p: float
    """Two-sided."""
    exact: bool

    @property
    def discordant(self) -> int:
        return self.first_only + self.second_only


class Resampled(Struct, frozen=True):
    """A difference between two figures on the same rows, from a paired bootstrap over clusters."""

    difference: float
    lower: float
    upper: float
    p: float
    """Two-sided, by inverting the percentile interval; never below 2 / (resamples + 1)."""


def wilson(right: int, rows: int) -> Interval:
    """Wilson's score interval of a share at 95 % (Wilson 1927); of no rows, all of 0 to 1."""
    if rows == 0:
        return Interval(0.0, 1.0)
    share, z2 = right / rows, Z95 * Z95
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows)) / (1 + z2 / rows)
    return Interval(0.0 if right == 0 else max(0.0, centre - half), 1.0 if right == rows else min(1.0, centre + half))


def upper_bound(errors: int, rows: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of an error rate (Clopper & Pearson 1934)."""
    if errors >= rows:
        return 1.0
    low, high = errors / rows, 1.0
    for _ in range(60):  # the tail falls as the rate rises, so bisection ends at the bound
        middle = (low + high) / 2
        if binomial_tail(errors, rows, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def binomial_tail(most: int, trials: int, rate: float) -> float:
    """P(X <= most) for X ~ Binomial(trials, rate)."""
    if most >= trials or rate <= 0:
        return 1.0
    if rate >= 1:
        return 0.0
    logs = [_log_binomial(count, trials, rate) for count in range(most + 1)]
    top = max(logs)
    return min(1.0, math.exp(top) * math.fsum(math.exp(value - top) for value in logs))


def _log_binomial(count: int, trials: int, rate: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return ways + count * math.log(rate) + (trials - count) * math.log1p(-rate)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's test: exact below 25 discordant pairs, else chi-square with Edwards' continuity correction."""
    pairs = list(zip(first, second, strict=True))
    one, two = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    discordant = one + two
    if discordant < EXACT_BELOW:
        p = min(1.0, 2 * binomial_tail(min(one, two), discordant, 0.5)) if discordant else 1.0
        return McNemar(one, two, p, True)
    chi_square = max(0.0, abs(one - two) - 1) ** 2 / discordant
    return McNemar(one, two, math.erfc(math.sqrt(chi_square / 2)), False)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values, in the order given (Holm 1979)."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


def compare(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[str],
    figure: Callable[[np.ndarray], np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Paired bootstrap over clusters of `figure(first) - figure(second)`.

    `first` and `second` are `[rows, statistics]`: what a row adds to the sums that the figure is made of. `figure`
    takes `[n, statistics]` sums and gives n figures. Rows of one cluster are drawn together.
    """
    of_first, of_second = _by_cluster(first, clusters), _by_cluster(second, clusters)
    point = float((figure(of_first.sum(0)[None]) - figure(of_second.sum(0)[None]))[0])
    differences = np.concatenate(
        [figure(w @ of_first) - figure(w @ of_second) for w in _weights(len(of_first), resamples, seed)]
    )
    lower, upper = np.percentile(differences, [2.5, 97.5])
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Resampled(point, float(lower), float(upper), p)


def resampled_interval(
    values: np.ndarray,
    clusters: Sequence[str],
    figure: Callable[[np.ndarray], np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The percentile bootstrap interval of one figure; arguments as for `compare`."""
    sums = _by_cluster(values, clusters)
    drawn = np.concatenate([figure(w @ sums) for w in _weights(len(sums), resamples, seed)])
    lower, upper = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(lower), float(upper))


def permutation_p(
    first: np.ndarray, second: np.ndarray, clusters: Sequence[str], draws: int = RESAMPLES, seed: int = 0
) -> float:
    """Two-sided p of a paired permutation test that two runners' scores of the same rows, `[rows]`, have one mean.

    Under that hypothesis who scored what is chance, so the differences of a cluster, all at once, may as well have the
    other sign (Fisher 1935; Noreen 1989). Signs are drawn, and the draw that was observed is counted among them; never
    below 1 / (draws + 1).
    """
    differences = _by_cluster((first - second)[:, None], clusters)[:, 0]
    observed, slack = abs(float(differences.sum())), 1e-9 * float(np.abs(differences).sum())
    draw = np.random.default_rng(seed)
    as_large = 0
    for start in range(0, draws, _AT_ONCE):
        signs = draw.choice([-1.0, 1.0], size=(min(_AT_ONCE, draws - start), len(differences)))
        as_large += int((np.abs(signs @ differences) >= observed - slack).sum())
    return (as_large + 1) / (draws + 1)


def mean(sums: np.ndarray) -> np.ndarray:
    """A figure for `compare`: of `[n, 2]` sums of (value, 1) the mean."""
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 1], 1e-12))


def _by_cluster(values: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    _, place = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, values.shape[1]))
    np.add.at(sums, place, values)
    return sums


def _weights(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, a few resamples at a time: the draws of one seed are the same for every pair."""
    draw = np.random.default_rng(seed)
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        yield draw.multinomial(clusters, np.full(clusters, 1 / clusters), size=count).astype(float)
