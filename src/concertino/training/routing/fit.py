"""Fit neighbours, clusters and matrix factorisation on a table, on vectors and numpy alone, settings by validation."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.router.alternatives import calibrated
from concertino.router.fitted import BASE, DOMAINS, HEAD, OUTCOMES, FittedManifest, open_encoder, write_fitted
from concertino.router.outcomes import make_model
from concertino.training.routing.curve import Curve, column_means, curve, reference_curves
from concertino.training.routing.data import CLASSES, Row
from concertino.training.routing.figures import fit_temperature, fit_threshold
from concertino.training.routing.kept import Keep, kept_texts
from concertino.training.routing.out import check_out
from concertino.training.routing.table import TEST, TRAIN, VALIDATION, OutcomeTable, check_parts, split_table

Arrays = dict[str, np.ndarray]
Note = Callable[[str], None]

NEIGHBOURS = (5, 10, 20, 40, 80, 160)
CLUSTERS = (10, 25, 40, 60)
RANKS = (16, 64)
LABEL_METHODS = ("knn", "clusters")
METHODS = ("knn", "clusters", "matrix-factorisation")


class OutcomeReport(Struct, frozen=True):
    """What `concertino router fit --outcomes` measured on the test part of the table."""

    candidates: tuple[str, ...]
    costs: tuple[float, ...]
    rows: dict[str, int]
    holes: int
    merged: int
    """Lines that were joined with an earlier one of the same text."""
    differing: int
    """Texts for which the lines give a candidate different outcomes; their mean counts."""
    notes: tuple[str, ...]
    """What else the parts lack."""
    settings: dict[str, dict[str, float]]
    curves: tuple[Curve, ...]


def quantised(vectors: np.ndarray) -> np.ndarray:
    """Unit rows as int8, each scaled to its largest component; reading them back divides by their length."""
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-9)
    return np.asarray(np.rint(vectors / largest * 127), dtype=np.int8)


def neighbours(vectors: np.ndarray, quality: np.ndarray, k: int) -> Arrays:
    """The table itself."""
    return {
        "vectors": quantised(vectors),
        "quality": quality.astype(np.float16),
        "prior": column_means(quality),
        "k": np.array(k),
    }


def clusters(vectors: np.ndarray, quality: np.ndarray, count: int, seed: int = 7) -> Arrays:
    """Spherical k-means, and in each cluster the mean of what was measured, drawn to the overall mean by one row."""
    rng = np.random.default_rng(seed)
    count = min(count, len(vectors))
    centres = vectors[rng.permutation(len(vectors))[:count]].copy()
    owner = np.zeros(len(vectors), dtype=int)
    for _ in range(25):
        likeness = vectors @ centres.T
        owner = likeness.argmax(axis=1)
        for place in range(count):
            mine = vectors[owner == place]
            # An empty cluster takes the text that is worst off.
            centre = mine.mean(axis=0) if len(mine) else vectors[likeness.max(axis=1).argmin()]
            centres[place] = centre / max(float(np.linalg.norm(centre)), 1e-9)
    prior = column_means(quality)
    rows = []
    for place in range(count):
        mine = quality[owner == place]
        told = (~np.isnan(mine)).sum(axis=0)
        rows.append((np.nansum(mine, axis=0) + prior) / (told + 1.0))
    return {"centres": centres.astype(np.float16), "quality": np.stack(rows).astype(np.float16)}


def factors(vectors: np.ndarray, quality: np.ndarray, rank: int, seed: int = 7, rounds: int = 400) -> Arrays:
    """Maximise the likelihood of the outcomes by Adam over all texts at once; holes have no part in it.

    `w` of the paper is absorbed by `W`'s scale, and kept as ones so that the arrays are those of the formula.
    """
    rng = np.random.default_rng(seed)
    known = ~np.isnan(quality)
    truth = np.where(known, quality, 0.0)
    share = np.clip(column_means(quality), 1e-3, 1 - 1e-3)
    candidates = rng.normal(size=(quality.shape[1], rank))
    values = {
        "candidates": candidates / np.linalg.norm(candidates, axis=1, keepdims=True),
        "project": rng.normal(scale=0.1, size=(vectors.shape[1], rank)),
        "bias": np.log(share / (1 - share)),
    }
    first = {name: np.zeros_like(value) for name, value in values.items()}
    second = {name: np.zeros_like(value) for name, value in values.items()}
    total = known.sum()
    for step in range(1, rounds + 1):
        length = np.linalg.norm(values["candidates"], axis=1, keepdims=True)
        unit = values["candidates"] / length
        read = vectors @ values["project"]
        chance = 1.0 / (1.0 + np.exp(-np.clip(read @ unit.T + values["bias"], -30, 30)))
        error = np.where(known, chance - truth, 0.0) / total
        to_unit = error.T @ read
        slopes = {
            "candidates": (to_unit - unit * (to_unit * unit).sum(axis=1, keepdims=True)) / length,
            "project": vectors.T @ (error @ unit) + 2e-5 * values["project"],
            "bias": error.sum(axis=0),
        }
        for name, slope in slopes.items():
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            move = (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-9)
            values[name] = values[name] - 0.05 * move
    return {name: value.astype(np.float32) for name, value in values.items()} | {"weights": np.ones(rank, np.float32)}


def fit_method(method: str, vectors: np.ndarray, quality: np.ndarray, setting: int) -> Arrays:
    """The arrays of one method. Raises ConfigurationError for an unknown method."""
    makers: Mapping[str, Callable[[np.ndarray, np.ndarray, int], Arrays]] = {
        "knn": neighbours,
        "clusters": clusters,
        "matrix-factorisation": factors,
    }
    if method not in makers:
        raise ConfigurationError(f"no method {method!r}; there are: {', '.join(METHODS)}", param="method")
    return makers[method](vectors, quality, setting)


def settings_of(method: str) -> Sequence[int]:
    """The settings that validation chooses from: neighbours, clusters, or the rank."""
    return {"knn": NEIGHBOURS, "clusters": CLUSTERS, "matrix-factorisation": RANKS}[method]


def check_outcome_method(method: str) -> None:
    """Raises ConfigurationError for a method that does not learn outcomes."""
    if method not in METHODS:
        raise ConfigurationError(
            f"{method} cannot be fitted on a table of outcomes; {', '.join(METHODS)} can", param="method"
        )


def check_label_method(method: str) -> None:
    """Raises ConfigurationError for matrix factorisation, which over labels is the linear head by another name, and for
    what is no method."""
    if method not in LABEL_METHODS:
        raise ConfigurationError(
            f"{method} cannot be fitted on the data folder; {' and '.join(LABEL_METHODS)} can", param="method"
        )


def fit_outcomes(
    table: OutcomeTable, out: Path | None, method: str, note: Note, vectors: np.ndarray | None = None
) -> OutcomeReport:
    """Fit all methods on a table, compare them on its test part, and write `method`'s folder to `out`.

    Settings are those with the highest `aiq` on the validation part; then each is fitted on train and validation.
    `vectors` spares the embedding where the caller has them. Raises ConfigurationError, before anything is embedded,
    as `check_outcome_method`, `check_out` and `check_parts` do.
    """
    check_outcome_method(method)
    if out is not None:
        check_out(out)
    train, validation, test = split_table(table)
    notes = [*check_parts({TRAIN: train, VALIDATION: validation, TEST: test}), *table.notes]
    if table.differing:
        notes.insert(
            0, f"the lines differ on {table.differing} texts in what a candidate made of them: the mean counts"
        )
    for said in notes:
        note(said)
    if vectors is None:
        note(f"embedding {len(table.texts)} texts")
        vectors = open_encoder(BASE).whole(table.texts)
    places = {text: place for place, text in enumerate(table.texts)}
    train_vectors, validation_vectors, test_vectors = (
        vectors[[places[text] for text in part.texts]] for part in (train, validation, test)
    )
    both = np.vstack([train_vectors, validation_vectors]), np.vstack([train.quality, validation.quality])
    means = column_means(both[1])
    chosen: dict[str, dict[str, float]] = {}
    curves = reference_curves(both[1], test.quality, table.costs)
    for name in METHODS:
        tried = {}
        for setting in settings_of(name):
            model = make_model(name, fit_method(name, train_vectors, train.quality, setting))
            seen = model.predict(validation_vectors)
            tried[setting] = curve(name, seen, validation.quality, table.costs, column_means(train.quality)).aiq
        best = max(tried, key=lambda setting: tried[setting])
        note(f"{name}: {best} of {', '.join(map(str, tried))}")
        chosen[name] = {"setting": best, "validation_aiq": tried[best]}
        arrays = fit_method(name, *both, best)
        predicted = make_model(name, arrays).predict(test_vectors)
        curves.append(curve(name, predicted, test.quality, table.costs, means))
        if name == method and out is not None:
            manifest = FittedManifest(
                name, OUTCOMES, table.candidates, BASE, "", "", tuple(table.costs.tolist()),
                rows=len(both[0]), holes=table.holes, data={"outcomes": table.sha256},
            )  # fmt: skip
            write_fitted(out, manifest, arrays)
    return OutcomeReport(
        table.candidates,
        tuple(table.costs.tolist()),
        {TRAIN: len(train.texts), VALIDATION: len(validation.texts), TEST: len(test.texts)},
        table.holes,
        table.merged,
        table.differing,
        tuple(notes),
        chosen,
        tuple(curves),
    )


def fit_domains(
    train: Sequence[Row],
    calibration: Sequence[Row],
    out: Path,
    method: str,
    data: Mapping[str, str],
    note: Note,
    *,
    keep_texts: Keep = Keep.IMPERSONAL,
) -> FittedManifest:
    """Fit neighbours or clusters on labels, over the head's vectors; temperature and threshold on `calibration`.

    Raises ConfigurationError as `check_label_method` and `check_out` do.
    """
    check_label_method(method)
    check_out(out)
    encoder = open_encoder(HEAD)
    note(f"embedding {len(train)} training and {len(calibration)} calibration texts")
    vectors, held = (encoder.whole([row.text for row in part]) for part in (train, calibration))
    labels = np.array([CLASSES.index(row.label) for row in train])
    quality = np.eye(len(CLASSES))[labels]
    truth = np.array([CLASSES.index(row.label) for row in calibration])
    best: tuple[float, int, Arrays] | None = None
    for setting in settings_of(method):
        arrays = fit_method(method, vectors, quality, setting)
        right = float((make_model(method, arrays).predict(held).argmax(axis=1) == truth).mean())
        if best is None or right > best[0]:
            best = (right, setting, arrays)
    assert best is not None
    votes = make_model(method, best[2]).predict(held)
    temperature = fit_temperature(np.log(votes + 1e-3), truth)
    threshold = fit_threshold(calibrated(votes, temperature), truth, CLASSES.index("general"))
    note(f"{method}: {best[1]} of {', '.join(map(str, settings_of(method)))}, {best[0]:.3f} right in calibration")
    manifest = FittedManifest(
        method, DOMAINS, CLASSES, HEAD, "", "", temperature=round(temperature, 4), threshold=threshold,
        rows=len(train), data=dict(sorted(data.items())),
    )  # fmt: skip
    return write_fitted(out, manifest, best[2], kept_texts([(row.text, row.label) for row in train], keep_texts, note))


def drawn_rows(rows: Sequence[Row], per_class: int, seed: int = 7) -> list[Row]:
    """Up to `per_class` rows a class, as even as can be over sources."""
    rng = random.Random(seed)  # noqa: S311
    by_class: defaultdict[str, defaultdict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_class[row.label][row.source].append(row)
    found: list[Row] = []
    for _, sources in sorted(by_class.items()):
        share = -(-per_class // len(sources))
        for _, mine in sorted(sources.items()):
            found += rng.sample(mine, min(share, len(mine)))
    return found
