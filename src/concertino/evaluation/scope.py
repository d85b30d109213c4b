"""Fitting whether a text is one that a language model's adapter is for, and the texts that tell how well it does.

Against the skill's training texts stand the dataset's background, where it has one, and the bank of the description
tier: vectors of training texts of all domains, which ships with the package. A few of the bank may be texts of this
very skill; among fifteen hundred they do no harm.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import structs

from concertino.backends.encoder.session import Encoder, EncoderFiles, shared_encoder
from concertino.backends.scope import Scope, read_scope, write_scope
from concertino.confidence import EVEN
from concertino.datasets.folder import Dataset, Part, Row
from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import ConfigurationError, ModelMissing
from concertino.evaluation.calibration import OWN_BELOW
from concertino.evaluation.results import OutOfScope
from concertino.evaluation.running import Note, Prediction
from concertino.models import Store
from concertino.models.adapters import read_adapter, write_manifest
from concertino.models.file_hash import file_sha256
from concertino.router.description_weights import load_description_weights
from concertino.training.result import ADAPTER
from concertino.training.routing.data import SEEDS
from concertino.training.routing.figures import auroc

MOST = 2000
"""Texts of either side that the scope is fitted on."""
_SUREST = 10
SAME = 0.999
"""Vectors with this cosine are of one text."""


def open_scope_encoder(store: Store) -> Encoder:
    """The encoder that scopes are read with. Raises ModelMissing."""
    return shared_encoder(EncoderFiles.found(lambda name: store.resolve(SENTENCE_ENCODER, name)))


def fit_scope(dataset: Dataset, run_folder: Path, store: Store, note: Note) -> Scope | None:
    """Fit the scope of a run's causal adapter into its folder, and return it; None for an encoder's adapter.

    Without the encoder in the store the adapter gets none, and the note says so. Raises ConfigurationError without the
    `evaluate` extra.
    """
    folder = run_folder / ADAPTER
    manifest = read_adapter(folder)
    if manifest.engine != "causal":
        return None
    try:
        store.require(SENTENCE_ENCODER)
    except ModelMissing as error:
        note(f"the adapter cannot say whether a text is for it: {error}")
        return None
    scope = _fitted(dataset, store)
    if scope is not None and scope != read_scope(folder):
        write_scope(folder, scope)
        write_manifest(folder, structs.replace(manifest, scope=True))
        note(f"{folder / 'scope.json'} says which texts the skill is for")
    return scope


def _fitted(dataset: Dataset, store: Store) -> Scope | None:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigurationError("fitting a scope needs scikit-learn: pip install 'concertino[evaluate]'") from error
    encoder, sha256 = open_scope_encoder(store), file_sha256(store.resolve(SENTENCE_ENCODER, "model.safetensors"))
    own = [encoder.embed(text)[0] for text in _drawn([row.text for row in dataset.rows(Part.TRAIN)])]
    background = [row.text for row in dataset.rows(Part.BACKGROUND) if row.group in ("", Part.TRAIN)]
    others = [encoder.embed(text)[0] for text in _drawn(background)]
    bank = load_description_weights()
    if bank.manifest.base_sha256 == sha256:
        others += list(bank.bank)
    if not own or not others:
        return None
    sides = np.repeat([1, 0], [len(own), len(others)])
    fitted = LogisticRegression(max_iter=2000, class_weight="balanced").fit(np.stack([*own, *others]), sides)
    weights = tuple(round(float(value), 4) for value in fitted.coef_[0])
    return Scope(SENTENCE_ENCODER, sha256, weights, round(float(fitted.intercept_[0]), 4))


def _drawn(texts: Sequence[str]) -> list[str]:
    """The first of the texts in the order of a hash."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8", "replace")).digest())[:MOST]


def threshold_on(scope: Scope, rows: Sequence[Row], encoder: Encoder) -> float | None:
    """From this scope on a question is answered: all but `OWN_BELOW` of `rows`, the skill's own, are above."""
    if not rows:
        return None
    found = [scope.probability(row.text, encoder) for row in rows]
    return round(min(EVEN, float(np.quantile(found, OWN_BELOW))), 4)


def questions_of_others(specialist: str, encoder: Encoder) -> list[str]:
    """Questions of other domains, for a dataset without texts of others: those that the router is trained on and that
    ship with the package, but for the ones in the bank. None for a specialist whose domain the router does not know.
    """
    rows = [json.loads(line) for line in SEEDS.read_text("utf-8").splitlines()]
    if specialist not in {row["label"] for row in rows}:
        return []
    texts = _drawn([row["text"] for row in rows if row["label"] != specialist])
    bank = load_description_weights().bank
    return [text for text in texts if float((bank @ encoder.embed(text)[0]).max()) < SAME]


def judge_outside(
    inside: Sequence[Prediction],
    texts: Sequence[str],
    outside: Sequence[Prediction],
    threshold: float | None,
    scope_threshold: float | None,
    sure: bool = True,
) -> OutOfScope:
    """What a skill made of `texts` that it is not for, beside its predictions on its own. All have a confidence, which
    is nothing but the scope where answers have none of their own (`sure` is off).
    """
    confidence = _values([item.confidence for item in outside])
    answered = np.ones(len(texts), bool)
    if threshold is not None:
        answered &= confidence >= threshold
    if scope_threshold is not None:
        answered &= _values([item.scope for item in outside]) >= scope_threshold
    told = all(item.scope is not None for item in (*inside, *outside))
    surest = np.argsort(-confidence)[:_SUREST]
    return OutOfScope(
        rows=len(texts),
        answered=None if threshold is None and scope_threshold is None else float(answered.mean()),
        auroc=_apart([item.confidence for item in inside], [item.confidence for item in outside]) if sure else None,
        examples=[(texts[place], outside[place].text, float(confidence[place])) for place in surest],
        scope_auroc=_apart([item.scope for item in inside], [item.scope for item in outside]) if told else None,
    )


def _values(values: Sequence[float | None]) -> np.ndarray:
    """An array; nan where nothing is known, which is below every threshold."""
    return np.asarray(values, float)


def _apart(inside: Sequence[float | None], outside: Sequence[float | None]) -> float:
    mine = np.repeat([True, False], [len(inside), len(outside)])
    return float(auroc(_values([*inside, *outside]), mine))
