"""The parts of a router for a team's own domains, fitted on vectors: finer classes, the model, what is far from it."""

from collections.abc import Sequence

import numpy as np

from concertino.errors import ConfigurationError
from concertino.router import novelty
from concertino.training.routing.fit import clusters, fit_method, quantised

Arrays = dict[str, np.ndarray]

SHRINKAGE = 0.3
"""Of covariances towards a multiple of the identity (Ledoit and Wolf 2004), so that they can be inverted."""
_FEWEST_A_PIECE = 4
_OUTSIDE_STRENGTH = 10.0
_ROUNDS, _PRECISION = 100, 1e-4


def pieces_of(vectors: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide the rows of each domain into up to `count` classes by k-means. Returns the class of each row and the
    domain that owns each class: a domain that is several things in one is several classes to a linear head."""
    classes = np.zeros(len(labels), dtype=int)
    owner: list[int] = []
    for domain in range(int(labels.max()) + 1):
        mine = np.flatnonzero(labels == domain)
        most = max(1, min(count, len(mine) // _FEWEST_A_PIECE))
        centres = clusters(vectors[mine], np.ones((len(mine), 1)), most)["centres"].astype(np.float32)
        _, piece = np.unique((vectors[mine] @ centres.T).argmax(axis=1), return_inverse=True)
        classes[mine] = piece + len(owner)
        owner += [domain] * (int(piece.max()) + 1)
    return classes, np.array(owner)


def finer_classes(labels: np.ndarray, fine: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The same by the rows' finer labels."""
    pairs = [(int(label), name) for label, name in zip(labels, fine, strict=True)]
    names = sorted(set(pairs))
    number = {pair: place for place, pair in enumerate(names)}
    return np.array([number[pair] for pair in pairs]), np.array([domain for domain, _ in names])


def fit_model(
    method: str, vectors: np.ndarray, labels: np.ndarray, classes: np.ndarray, owner: np.ndarray, number: float
) -> Arrays:
    """The arrays of a method over domains. `number` is the strength of the regression, neighbours or clusters."""
    if method == "linear":
        weights, bias = regression(vectors, classes, number)
        return {"weights": weights.astype(np.float16), "bias": bias.astype(np.float32), "owner": owner}
    return fit_method(method, vectors, np.eye(int(labels.max()) + 1)[labels], int(number))


def regression(
    vectors: np.ndarray, classes: np.ndarray, strength: float, balanced: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression: weights `[width, classes]` and biases `[classes]`.

    Raises ConfigurationError without scikit-learn.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigurationError(
            "a linear router is fitted with scikit-learn: pip install 'concertino[evaluate]'", param="method"
        ) from error
    weight = "balanced" if balanced else None
    model = LogisticRegression(C=strength, max_iter=_ROUNDS, tol=_PRECISION, class_weight=weight).fit(vectors, classes)
    if len(model.classes_) == 2:
        return np.concatenate([-model.coef_, model.coef_]).T / 2, np.array([-0.5, 0.5]) * model.intercept_[0]
    return model.coef_.T, model.intercept_


def fit_novelty(vectors: np.ndarray, classes: np.ndarray, outside: np.ndarray) -> Arrays:
    """The arrays of every measure of `router/novelty.py`; that of `outside` only where there are such rows."""
    count = int(classes.max()) + 1
    member = np.eye(count, dtype=np.float32)[classes]
    means = (member.T @ vectors) / member.sum(axis=0)[:, None]
    centres = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    middle = vectors.mean(axis=0)
    within, overall = _precision(vectors - means[classes]), _precision(vectors - middle)
    to_classes = means @ within
    arrays = {
        "novelty.centres": centres,
        "novelty.rows": quantised(vectors),
        "novelty.to_classes": 2 * to_classes.T,
        "novelty.class_bias": -(to_classes * means).sum(axis=1),
        "novelty.within": within - overall,
        "novelty.to_all": 2 * overall @ middle,
        "novelty.all_bias": -(middle @ overall @ middle),
    }
    if len(outside):
        inside = np.r_[np.ones(len(vectors), dtype=int), np.zeros(len(outside), dtype=int)]
        weights, bias = regression(np.vstack([vectors, outside]), inside, _OUTSIDE_STRENGTH, balanced=True)
        arrays |= {
            "novelty.outside": weights[:, 1] - weights[:, 0],
            "novelty.outside_bias": np.array(bias[1] - bias[0]),
        }
    return {
        name: array if array.dtype == np.int8 else np.asarray(array, dtype=np.float32) for name, array in arrays.items()
    }


def available(arrays: Arrays, has_logits: bool) -> list[str]:
    """The measures that can be taken."""
    return [
        name
        for name in novelty.MEASURES
        if (name != novelty.ENERGY or has_logits) and (name != novelty.OUTSIDE or "novelty.outside" in arrays)
    ]


def _precision(rows: np.ndarray) -> np.ndarray:
    """Inverse of the shrunk covariance of centred rows, `[width, width]`."""
    covariance = (rows.T @ rows).astype(np.float64) / len(rows)
    width = len(covariance)
    scale = max(float(np.trace(covariance)) / width, 1e-9)
    return np.asarray(np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * scale * np.eye(width)))
