"""Is a text anybody's business? Measures of how far it is from all that the team's domains were learned from.

None of these is best everywhere, so `concertino router fit --examples` measures them on rows that the fit did not see
and keeps one, or a small logistic function of several:

* `confidence`: log-odds of the likeliest domain (Hendrycks and Gimpel 2017, arXiv 1610.02136)
* `energy`: logarithm of the sum of the classes' exponentiated logits (Liu et al. 2020, arXiv 2010.03759)
* `centroid`: cosine with the nearest class's mean
* `neighbours`: cosine with the fifth nearest text (Sun et al. 2022, arXiv 2204.06507)
* `mahalanobis`: squared Mahalanobis distance to the mean of all, less that to the nearest class's (Ren et al. 2021,
  arXiv 2106.09022)
* `outside`: logit of a class of its own for what is nobody's, against all domains together

All are high for texts that are somebody's, and run on numpy alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Arrays = Mapping[str, np.ndarray]

CONFIDENCE, ENERGY, CENTROID, NEIGHBOURS, MAHALANOBIS, OUTSIDE = MEASURES = (
    "confidence", "energy", "centroid", "neighbours", "mahalanobis", "outside",
)  # fmt: skip
FEATURES = "novelty.features"
"""Array of the measures that are in use; its being there says that there is a score at all."""
NEAREST = 5
_NEEDS = {
    CENTROID: ("novelty.centres",),
    NEIGHBOURS: ("novelty.rows",),
    MAHALANOBIS: ("novelty.to_classes", "novelty.class_bias", "novelty.within", "novelty.to_all", "novelty.all_bias"),
    OUTSIDE: ("novelty.outside", "novelty.outside_bias"),
}
_FUNCTION = (FEATURES, "novelty.mean", "novelty.spread", "novelty.coefficients", "novelty.intercept")


def needed(features: Sequence[str]) -> list[str]:
    """The arrays that so many measures need, and those of the logistic function."""
    return [*_FUNCTION, *(name for feature in features for name in _NEEDS.get(feature, ()))]


def measure(
    name: str, arrays: Arrays, vectors: np.ndarray, probabilities: np.ndarray, logits: np.ndarray | None
) -> np.ndarray:
    """One measure, `[texts]`. `vectors` have unit length; `probabilities` are the method's
    own votes, `[texts, domains]`, `logits` those of the
    classes where the method has some."""
    if name == CONFIDENCE:
        best = np.clip(probabilities.max(axis=1), 1e-6, 1 - 1e-6)
        return np.asarray(np.log(best / (1 - best)))
    if name == ENERGY:
        assert logits is not None
        most = logits.max(axis=1)
        return np.asarray(most + np.log(np.exp(logits - most[:, None]).sum(axis=1)))
    if name == CENTROID:
        return np.asarray((vectors @ arrays["novelty.centres"].T).max(axis=1))
    if name == NEIGHBOURS:
        likeness = vectors @ arrays["novelty.rows"].T
        place = likeness.shape[1] - min(NEAREST, likeness.shape[1])
        return np.asarray(np.partition(likeness, place, axis=1)[:, place])
    if name == MAHALANOBIS:
        # What both distances have of the text alone is in `within`: the difference of the two inverse covariances.
        to_class = (vectors @ arrays["novelty.to_classes"] + arrays["novelty.class_bias"]).max(axis=1)
        own = ((vectors @ arrays["novelty.within"]) * vectors).sum(axis=1)
        return np.asarray(to_class - own - vectors @ arrays["novelty.to_all"] - arrays["novelty.all_bias"])
    return np.asarray(vectors @ arrays["novelty.outside"] + arrays["novelty.outside_bias"])


def readable(arrays: Arrays) -> dict[str, np.ndarray]:
    """Stored arrays as `measure` reads them: float32, the neighbours' rows of unit length."""
    found = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}
    if "novelty.rows" in found:
        rows = found["novelty.rows"]
        found["novelty.rows"] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return found


def chance(found: np.ndarray, function: Arrays) -> np.ndarray:
    """The logistic function of measures `[texts, features]`: probability of being somebody's, `[texts]`."""
    scaled = (found - function["novelty.mean"]) / function["novelty.spread"]
    odds = scaled @ function["novelty.coefficients"] + function["novelty.intercept"]
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -30, 30))))


class Novelty:
    """Vectors -> probability that a text is somebody's: a logistic function of the measures that were kept."""

    def __init__(self, arrays: Arrays) -> None:
        self.features = [str(name) for name in arrays[FEATURES]]
        self._arrays = readable({name: arrays[name] for name in needed(self.features) if name != FEATURES})

    def inside(self, vectors: np.ndarray, probabilities: np.ndarray, logits: np.ndarray | None) -> np.ndarray:
        """The probability, `[texts]`. See `measure` for what goes in."""
        found = np.stack(
            [measure(name, self._arrays, vectors, probabilities, logits) for name in self.features], axis=1
        )
        return chance(found, self._arrays)
