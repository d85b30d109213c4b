"""Which measure tells best what is nobody's, and the logistic function that makes a probability of it."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.router.novelty import FEATURES, MEASURES, NEIGHBOURS, chance
from concertino.training.routing.descriptions import fit_logistic
from concertino.training.routing.figures import auroc

Arrays = dict[str, np.ndarray]

WORTH = 0.002
"""Several measures must tell so much better than one, and one that needs all vectors than one that does not."""
_RIDGE = 1.0
_FOLDS = 5


class Held(Struct, frozen=True):
    """What calibration knows of rows that a fit did not see: votes `[rows, domains]`, measures, and domain or -1."""

    votes: np.ndarray
    measures: dict[str, np.ndarray]
    truth: np.ndarray

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Measures side by side, `[rows, names]`."""
        return np.stack([self.measures[name] for name in names], axis=1)


def together(parts: Sequence[Held]) -> Held:
    """All rows of several parts."""
    names = [name for name in MEASURES if all(name in part.measures for part in parts)]
    return Held(
        np.concatenate([part.votes for part in parts]),
        {name: np.concatenate([part.measures[name] for part in parts]) for name in names},
        np.concatenate([part.truth for part in parts]),
    )


def choose_measures(held: Held, seed: int = 7) -> tuple[dict[str, float], list[str]]:
    """AUROC of each measure and of their combinations (cross-fitted), and which are kept: the simplest that is within
    `WORTH` of the best."""
    inside = held.truth >= 0
    names = list(held.measures)
    light = [name for name in names if name != NEIGHBOURS]
    candidates = [[name] for name in light] + [[name] for name in names if name == NEIGHBOURS] + [light, names]
    fold = np.zeros(len(inside), dtype=int)
    rng = np.random.default_rng(seed)
    for kind in (inside, ~inside):
        places = rng.permutation(np.flatnonzero(kind))
        fold[places] = np.arange(len(places)) % _FOLDS
    found: dict[str, float] = {}
    ranked: list[tuple[float, list[str]]] = []
    for features in candidates:
        name = " + ".join(features)
        if name in found:
            continue
        found[name] = auroc(_cross_fitted(held.columns(features), inside, fold), inside)
        ranked.append((found[name], features))
    best = max(value for value, _ in ranked)
    singles = [item for item in ranked if len(item[1]) == 1 and item[1] != [NEIGHBOURS]]
    for group in (singles, [item for item in ranked if NEIGHBOURS not in item[1]], ranked):
        value, features = max(group, key=lambda item: item[0])
        if value >= best - WORTH:
            return found, features
    raise AssertionError("the last group holds the best")


def _cross_fitted(columns: np.ndarray, inside: np.ndarray, fold: np.ndarray) -> np.ndarray:
    if columns.shape[1] == 1:
        return np.asarray(columns[:, 0])
    scores = np.empty(len(columns))
    for number in range(_FOLDS):
        away = fold == number
        scores[away] = chance(columns[away], fit_function(columns[~away], inside[~away]))
    return scores


def fit_function(columns: np.ndarray, inside: np.ndarray, outside_share: float | None = None) -> Arrays:
    """The logistic function of measures `[rows, features]`. Its intercept is moved to where `outside_share` of what
    comes is nobody's, whatever their share of the rows (King and Zeng 2001, "Logistic Regression in Rare Events Data").
    """
    mean, spread = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
    coefficients, intercept = fit_logistic((columns - mean) / spread, inside.astype(float), _RIDGE)
    if outside_share is not None:
        intercept += np.log((1 - outside_share) / outside_share) - np.log(inside.sum() / (~inside).sum())
    return {
        "novelty.mean": mean.astype(np.float32),
        "novelty.spread": spread.astype(np.float32),
        "novelty.coefficients": coefficients.astype(np.float32),
        "novelty.intercept": np.array(intercept, dtype=np.float32),
    }


def named(function: Arrays, features: Sequence[str]) -> Arrays:
    """The function with the names of its features, as it is stored."""
    return function | {FEATURES: np.array(features)}
