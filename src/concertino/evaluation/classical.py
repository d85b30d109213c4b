"""The baselines that need no language model: a specialist that does not beat them has not earned its place."""

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec import Struct

from concertino.datasets.folder import Row
from concertino.errors import ConfigurationError
from concertino.evaluation.embedding import Neighbours
from concertino.evaluation.metrics import macro_f1
from concertino.evaluation.prompting import expected
from concertino.evaluation.results import Kind
from concertino.evaluation.running import Kept, Note, Prediction
from concertino.recipe import Metric

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularisation strengths, chosen among on the dev part."""
NEIGHBOURS = (1, 3, 5, 10, 20)
VERSION = "1"
"""Part of the key of kept predictions; it changes when a baseline does."""

Predict = Callable[[str], tuple[str, float]]
"""Text -> answer and confidence."""


class Fitted(Struct, frozen=True):
    """A baseline ready to answer."""

    about: str
    predict: Predict


def baselines(
    neighbours: Neighbours,
    dev: Sequence[Row],
    dev_vectors: np.ndarray,
    vector_of: Any,
    note: Note,
    metric: Metric,
    engine: str,
) -> list[tuple[str, Kind, Callable[[], Fitted]]]:
    """(name, kind, how it is fitted) of each baseline of a skill whose adapter is of this engine."""
    train, vectors = neighbours.rows, neighbours.vectors
    found: list[tuple[str, Kind, Callable[[], Fitted]]] = [
        ("TF-IDF", Kind.CLASSICAL, lambda: fit_tfidf(train, dev, note, metric)),
        ("embedding kNN", Kind.CLASSICAL, lambda: fit_nearest(neighbours, dev, dev_vectors, vector_of, metric)),
    ]
    if engine == "encoder":
        head = partial(fit_frozen, train, vectors, dev, dev_vectors, vector_of, note, metric)
        found.append(("untuned base", Kind.BASE, head))
    return found


def identity_of(metric: Metric) -> str:
    """What of a metric the baselines depend on, for the key of kept predictions."""
    return f"\n{metric}" if metric is Metric.MACRO_F1 else ""


def fit_tfidf(train: Sequence[Row], dev: Sequence[Row], note: Note, metric: Metric = Metric.ACCURACY) -> Fitted:
    """TF-IDF of words 1-2 and characters 2-5 within words, with logistic regression; its strength chosen on dev.

    By macro-F1 the labels are weighed alike too, where that does better on dev: a specialist may learn so as well.
    """
    sklearn = _sklearn()
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    rare = 2 if len(train) > 2000 else 1
    union = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=rare)),
        ]
    )
    texts, labels = _expanded(train)
    note(f"TF-IDF: {len(texts)} rows to learn")
    features = union.fit_transform(texts)
    if not train[0].labels:
        return _fit_tfidf_nearest(union, features, labels)
    dev_features = union.transform([row.text for row in dev]) if dev else None
    best, chosen = _choose(features, labels, dev_features, dev, note, metric)
    about = f"words 1-2, characters 2-5, {chosen}; scikit-learn {sklearn.__version__}"
    return Fitted(f"TF-IDF and logistic regression ({about})", lambda text: _likeliest(best, union.transform([text])))


def _fit_tfidf_nearest(union: Any, features: Any, answers: Sequence[str]) -> Fitted:
    def predict(text: str) -> tuple[str, float]:
        near = (features @ union.transform([text]).T).toarray().ravel()
        return answers[int(near.argmax())], float(near.max()) / 2  # two parts of length 1 make a product of at most 2

    return Fitted("the answer of the nearest training row by TF-IDF (words 1-2, characters 2-5)", predict)


def fit_frozen(
    train: Sequence[Row],
    vectors: np.ndarray,
    dev: Sequence[Row],
    dev_vectors: np.ndarray,
    vector_of: Any,
    note: Note,
    metric: Metric = Metric.ACCURACY,
) -> Fitted:
    """Logistic regression over the base encoder's vectors: what a head alone gives, without tuning the encoder."""
    _sklearn()
    places = [place for place, row in enumerate(train) for _ in row.labels]
    labels = [label for row in train for label in row.labels]
    best, chosen = _choose(vectors[places], labels, dev_vectors if dev else None, dev, note, metric)
    about = f"the untuned encoder under a logistic regression ({chosen})"
    return Fitted(about, lambda text: _likeliest(best, vector_of(text)[None]))


def fit_nearest(
    neighbours: Neighbours,
    dev: Sequence[Row],
    dev_vectors: np.ndarray,
    vector_of: Any,
    metric: Metric = Metric.ACCURACY,
) -> Fitted:
    """A vote of the nearest training rows, weighted by similarity; their number chosen on dev."""
    free = not neighbours.rows[0].labels
    counts = (1,) if free or not dev else NEIGHBOURS
    reached = {
        count: _value(dev, [_vote(neighbours.nearest(vector, count))[0] for vector in dev_vectors], metric)
        for count in counts
    }
    chosen = max(counts, key=lambda count: (reached[count], -count))
    said = "the answer of the nearest training row" if free else f"a vote of the {chosen} nearest training rows"
    return Fitted(f"{said}, by the untuned encoder", lambda text: _vote(neighbours.nearest(vector_of(text), chosen)))


def _vote(near: Sequence[tuple[Row, float]]) -> tuple[str, float]:
    weights: dict[str, float] = {}
    for row, similarity in near:
        for answer in row.labels or (expected(row),):
            weights[answer] = weights.get(answer, 0.0) + max(similarity, 1e-6)
    best = max(weights, key=lambda answer: weights[answer])
    return best, near[0][1] if len(near) == 1 else weights[best] / sum(weights.values())


def _choose(
    features: Any, labels: Sequence[str], dev_features: Any, dev: Sequence[Row], note: Note, metric: Metric
) -> tuple[Any, str]:
    """The logistic regression that does best on dev by the metric, and what it is; without dev the middle strength."""
    from sklearn.linear_model import LogisticRegression

    best: tuple[float, Any, str] | None = None
    for weight in (None, "balanced") if dev and metric is Metric.MACRO_F1 else (None,):
        for strength in STRENGTHS if dev else STRENGTHS[1:2]:
            model = LogisticRegression(C=strength, max_iter=150, tol=1e-3, class_weight=weight).fit(features, labels)
            about = f"C={strength:g}{', labels weighed alike' if weight else ''}"
            value = _value(dev, model.predict(dev_features).tolist(), metric) if dev else 0.0
            said = f"macro-F1 {value:.3f}" if metric is Metric.MACRO_F1 else f"{value:.0f} of {len(dev)}"
            note(f"logistic regression, {about}: {said} on dev")
            if best is None or value > best[0]:
                best = (value, model, about)
    assert best is not None
    return best[1], best[2]


def _value(rows: Sequence[Row], answers: Sequence[str], metric: Metric) -> float:
    """How good the answers are: macro-F1 where that is the metric, else the rows that are right; 0 without rows."""
    if rows and metric is Metric.MACRO_F1:
        return macro_f1(rows, answers, sorted({label for row in rows for label in row.labels} | set(answers)))
    return float(sum(answer in row.labels for answer, row in zip(answers, rows, strict=True)))


def _likeliest(model: Any, features: Any) -> tuple[str, float]:
    probabilities = model.predict_proba(features)[0]
    place = int(probabilities.argmax())
    return str(model.classes_[place]), float(probabilities[place])


def _expanded(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """A text for each label of its row, or with its answer."""
    pairs = [(row.text, answer) for row in rows for answer in (row.labels or (row.answer,))]
    return [text for text, _ in pairs], [answer for _, answer in pairs]


def predict_kept(
    name: str, identity: str, rows: Sequence[Row], kept: Kept, fit: Callable[[], Fitted]
) -> tuple[str, list[Prediction]]:
    """A baseline's predictions in order, and what it is. It is fitted only if one is missing.

    `identity` stands for all that the fit depends on: the dataset's content and the encoder's hash.
    """
    base = hashlib.sha256(f"{name}\n{VERSION}\n{identity}".encode()).hexdigest()
    keys = [hashlib.sha256(f"{base}{row.text}".encode("utf-8", "replace")).hexdigest() for row in rows]
    told = kept.get(base)
    if told is None or any(kept.get(key) is None for key in keys):
        fitted = fit()
        kept.put(told := Prediction(base, fitted.about))
        for key, row in zip(keys, rows, strict=True):
            if kept.get(key) is None:
                wall, cpu = time.perf_counter(), time.process_time()
                answer, confidence = fitted.predict(row.text)
                spent, cpu_spent = time.perf_counter() - wall, time.process_time() - cpu
                kept.put(Prediction(key, answer, confidence, seconds=spent, cpu_s=cpu_spent))
    found = [kept.get(key) for key in keys]
    return told.text, [prediction for prediction in found if prediction is not None]


def _sklearn() -> Any:
    try:
        import sklearn
    except ImportError as error:
        raise ConfigurationError(
            "The classical baselines need scikit-learn. Install it with `pip install 'concertino[evaluate]'`, "
            "or leave them out with --no-baselines.",
            param="baselines",
        ) from error
    return sklearn
