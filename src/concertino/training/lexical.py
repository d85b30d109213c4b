"""Fit the lexical half of an encoder adapter, and how much it has to say."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from concertino.backends.encoder.lexical import BUCKETS, Lexical, counts, weighed
from concertino.errors import ConfigurationError

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
STRENGTHS = (3.0, 10.0, 30.0)
"""Inverse strengths of the regression's penalty; dev decides."""


def fit_lexical(
    rows: Sequence[tuple[str, Sequence[int]]],
    dev: Sequence[tuple[str, Sequence[int]]],
    encoder: np.ndarray | None,
    labels: int,
    class_balance: float = 0.0,
) -> Lexical | None:
    """Fit on `rows` (texts with numbers of their labels); None where dev is better off without it.

    `encoder` holds the encoder's log-probabilities for the dev rows, `[rows, labels]`; the share of the lexical half
    and its penalty are those under which dev's labels are likeliest. A row with several labels trains as its first.
    Rows weigh their label's number to the power of `-class_balance`, 1 on average.
    """
    if encoder is None or not dev:
        return None
    try:
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigurationError("training needs scikit-learn: pip install 'concertino[train]'") from error

    seen = np.zeros(BUCKETS)
    for text, _ in rows:
        seen[list(counts(text))] += 1
    idf = (np.log((1 + len(rows)) / (1 + seen)) + 1).astype(np.float16).astype(np.float64)

    def matrix(texts: Sequence[str]) -> Any:
        pairs = [weighed(text, idf) for text in texts]
        ends = np.cumsum([0, *(len(places) for places, _ in pairs)])
        places, values = (np.concatenate(column) for column in zip(*pairs, strict=True))
        return csr_matrix((values, places, ends), shape=(len(texts), BUCKETS))

    features, wanted = matrix([text for text, _ in rows]), [right[0] for _, right in rows]
    weights = np.bincount(wanted)[wanted].astype(float) ** -class_balance
    best: tuple[float, Lexical | None] = (_likelihood(np.exp(encoder), dev), None)
    for strength in STRENGTHS:
        fitted = LogisticRegression(C=strength, max_iter=200).fit(features, wanted, weights / weights.mean())
        weight, bias = np.zeros((BUCKETS, labels)), np.full(labels, -20.0)
        two = len(fitted.classes_) == 2
        weight[:, fitted.classes_] = np.concatenate([-fitted.coef_, fitted.coef_]).T / 2 if two else fitted.coef_.T
        bias[fitted.classes_] = np.array([-1, 1]) * fitted.intercept_[0] / 2 if two else fitted.intercept_
        weight, bias = weight.astype(np.float16).astype(np.float64), bias.astype(np.float16).astype(np.float64)
        own = np.stack([Lexical(idf, weight, bias, 1.0).probabilities(text) for text, _ in dev])
        for share in SHARES[1:]:
            value = _likelihood((1 - share) * np.exp(encoder) + share * own, dev)
            if value > best[0]:
                best = (value, Lexical(idf, weight, bias, share))
    return best[1]


def _likelihood(probabilities: np.ndarray, rows: Sequence[tuple[str, Sequence[int]]]) -> float:
    """Mean log-probability of the rows' labels; any of a row's labels is right."""
    right = [row[list(wanted)].sum() for row, (_, wanted) in zip(probabilities, rows, strict=True)]
    return float(np.log(np.maximum(right, 1e-12)).mean())
