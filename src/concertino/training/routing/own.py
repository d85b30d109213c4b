"""Fit a router for a team's own domains on labelled examples: settings, temperature and abstention by calibration.

Without a calibration file the rows are divided into five folds, and what calibration sees of each fold is what a router
says that was fitted on the other four (cross-fitting); the router that is written is fitted on all. So ten examples a
domain are enough to calibrate on, and none is lost.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from concertino.errors import ConfigurationError, DataRefused, ModelMissing
from concertino.router.alternatives import METHODS, calibrated, class_logits, vote_floor
from concertino.router.fitted import BASE, BOTH, DOMAINS, HEAD, FittedManifest, joined, open_encoder, write_fitted
from concertino.router.novelty import CENTROID, CONFIDENCE, ENERGY, chance, measure, needed, readable
from concertino.router.outcomes import make_model
from concertino.training.routing.classes import available, finer_classes, fit_model, fit_novelty, pieces_of
from concertino.training.routing.examples import (
    FOLDS,
    NOBODY,
    Example,
    Examples,
    Trouble,
    check_labels,
    folds,
    held_out,
)
from concertino.training.routing.figures import auroc, fit_temperature
from concertino.training.routing.kept import Keep, kept_texts
from concertino.training.routing.novelty import WORTH, Held, choose_measures, fit_function, named, together
from concertino.training.routing.out import check_out
from concertino.training.routing.own_figures import Latency, OwnFigures, from_scores, own_figures, time_decisions

Arrays = dict[str, np.ndarray]
Note = Callable[[str], None]
Embed = Callable[[str, Sequence[str]], np.ndarray]
"""Name of an encoder (`head` or `base`) and texts -> unit-length vectors, `[texts, width]`."""

OUTSIDE_SHARE = 0.1
"""What share of the requests is taken to be nobody's, unless said otherwise."""
FINER = 0
"""In place of a number of pieces: the rows' finer labels."""
PIECES = (1, 5, 15, 30)
NUMBERS = {"linear": (50.0, 5.0, 200.0), "knn": (10.0, 5.0, 20.0, 40.0), "clusters": (150.0, 20.0, 60.0)}
"""Settings of each method, the one to begin with first: strength of the regression, neighbours, clusters."""
ENOUGH_OUTSIDE = 20
"""With fewer rows that are nobody's there is no choosing what tells them best: it is the nearest class's mean."""
FEWEST_OUTSIDE = 5
"""With fewer, domains that were left out stand in for them."""
_ENOUGH = 2000
"""Held rows by which a setting is chosen: of more, as many folds as have so many."""
_THRESHOLDS = np.arange(0.05, 0.955, 0.01)


class Setting(Struct, frozen=True):
    """What calibration chooses. `pieces` are classes a domain, `FINER` the finer labels."""

    encoder: str
    pieces: int
    number: float


class OwnReport(Struct, frozen=True):
    """What `concertino router fit --examples` found. `measures`: AUROC of each on held rows, and together."""

    method: str
    domains: tuple[str, ...]
    rows: dict[str, int]
    troubles: tuple[Trouble, ...]
    setting: Setting
    tried: dict[str, float]
    measures: dict[str, float]
    kept: tuple[str, ...]
    stand_ins: bool
    """Whether left-out domains stood in for what is nobody's."""
    temperature: float
    threshold: float
    calibration: OwnFigures
    test: OwnFigures | None
    latency: Latency
    bytes_on_disk: int


class Part(Struct, frozen=True):
    """Fit on the rows at `train`, see what becomes of those at `held`. `labels` are of all rows, -1 for nobody."""

    train: np.ndarray
    held: np.ndarray
    labels: np.ndarray


class Job:
    """The rows of a fit with their vectors, those to fit on first."""

    def __init__(
        self, method: str, rows: Sequence[Example], domains: Sequence[str], vectors: Mapping[str, np.ndarray]
    ) -> None:
        self.method, self.domains, self.vectors = method, domains, vectors
        number = {name: place for place, name in enumerate(domains)}
        self.labels = np.array([-1 if row.label is None else number[row.label] for row in rows])
        self.fine = [row.fine for row in rows]

    def fit(self, setting: Setting, train: np.ndarray, labels: np.ndarray) -> tuple[Arrays, Arrays]:
        """The arrays of the model, over the domains that `train` has, and those of the measures."""
        vectors = self.vectors[setting.encoder]
        mine, outside = train[labels[train] >= 0], train[labels[train] < 0]
        _, own = np.unique(labels[mine], return_inverse=True)
        if setting.pieces == FINER:
            classes, owner = finer_classes(own, [self.fine[place] for place in mine])
        else:
            classes, owner = pieces_of(vectors[mine], own, setting.pieces)
        model = fit_model(self.method, vectors[mine], own, classes, owner, setting.number)
        return model, fit_novelty(vectors[mine], classes, vectors[outside])

    def held(self, setting: Setting, part: Part) -> Held:
        """Fit on one part of the rows and look at the other."""
        arrays, far = self.fit(setting, part.train, part.labels)
        return self.seen(setting, arrays, far, part)

    def seen(self, setting: Setting, arrays: Arrays, far: Arrays, part: Part) -> Held:
        """What fitted arrays make of the rows at `part.held`."""
        model, vectors = make_model(self.method, arrays), self.vectors[setting.encoder][part.held]
        found, logits, ready = model.predict(vectors), class_logits(model, vectors), readable(far)
        votes = np.zeros((len(vectors), len(self.domains)))
        votes[:, np.unique(part.labels[part.train][part.labels[part.train] >= 0])] = found
        names = available(far, logits is not None)
        measures = {name: measure(name, ready, vectors, found, logits) for name in names}
        return Held(votes, measures, part.labels[part.held])


def fit_own(
    examples: Examples,
    out: Path,
    method: str = "linear",
    *,
    calibration: Examples | None = None,
    test: Examples | None = None,
    outside_share: float = OUTSIDE_SHARE,
    note: Note,
    embed: Embed | None = None,
    keep_texts: Keep = Keep.IMPERSONAL,
) -> OwnReport:
    """Fit, calibrate, judge on the test part, and write the folder `out`.

    Raises DataRefused for labels that cannot be learned, ConfigurationError for a method that does not learn labels and
    for a folder that cannot be written. `embed` spares the encoders where the caller has the vectors. `keep_texts`
    says which rows are laid beside the router, for `concertino router explain`.
    """
    if method not in NUMBERS:
        raise ConfigurationError(f"{method} cannot be fitted on examples; {', '.join(NUMBERS)} can", param="method")
    if not 0.0 < outside_share < 1.0:
        raise ConfigurationError(f"a share lies between 0 and 1, not at {outside_share}", param="out_of_scope_share")
    check_out(out)
    known = len(examples.troubles)
    examples = _apart(examples, calibration, test)
    for trouble in examples.troubles[known:]:
        note(f"{examples.name}: {trouble}")
    domains = examples.domains
    rows, kept = (list(examples.rows), list(test.rows)) if test else held_out(examples.rows)
    held = list(calibration.rows) if calibration else []
    everything = [*rows, *held, *kept]
    note(f"{len(rows)} rows to fit on, {len(held)} to calibrate, {len(kept)} to judge; {len(domains)} domains")
    job = Job(method, everything, domains, embedded([row.text for row in everything], embed, note))
    fitted, middle = np.arange(len(rows)), len(rows) + len(held)
    parts = [Part(fitted, np.arange(len(rows), middle), job.labels)] if held else crossed(rows, job.labels)
    setting, tried = choose(job, parts, examples.finer, note)
    seen = together([job.held(setting, part) for part in parts])
    lent, stand_ins = seen, int((seen.truth < 0).sum()) < FEWEST_OUTSIDE
    if stand_ins:
        left = left_out(rows, job.labels, len(domains))
        lent = together([job.held(setting, part) for part in left]) if left else seen
    arrays, far = job.fit(setting, fitted, job.labels)
    found, features, function = dict[str, float](), list[str](), Arrays()
    if (lent.truth < 0).any():
        found, features = choose_measures(lent)
        if (seen.truth < 0).sum() < ENOUGH_OUTSIDE:
            features = [CENTROID]
        function = fit_function(lent.columns(features), lent.truth >= 0, outside_share)
        arrays |= {name: far[name] for name in needed(features) if name in far} | named(function, features)
    temperature = _temperature(seen, method)
    scores = _scores(seen, method, temperature, features, function)
    lent_scores = scores if lent is seen else _scores(lent, method, temperature, features, function)
    threshold = fit_threshold(scores, seen.truth, lent_scores[lent.truth < 0], outside_share)
    data = {part.name: part.sha256 for part in (examples, calibration, test) if part is not None}
    chosen = {"number": setting.number, "pieces": float(setting.pieces)}
    manifest = FittedManifest(
        method, DOMAINS, domains, setting.encoder, "", "", temperature=temperature, threshold=threshold,
        rows=len(rows), outside=int((job.labels[fitted] < 0).sum()), outside_share=outside_share, settings=chosen,
        data=data,
    )  # fmt: skip
    texts = kept_texts([(row.text, row.label or NOBODY) for row in rows], keep_texts, note)
    write_fitted(out, manifest, arrays, texts)
    judged = None
    if kept:
        part = Part(fitted, np.arange(middle, len(everything)), job.labels)
        last = job.seen(setting, arrays, far, part)
        told = from_scores(_scores(last, method, temperature, features, function), domains, threshold)
        judged = own_figures(kept, told)
    order = np.concatenate([part.held for part in parts])
    return OwnReport(
        method=method,
        domains=domains,
        rows={"fit": len(rows), "calibration": len(held), "test": len(kept)},
        troubles=examples.troubles,
        setting=setting,
        tried=tried,
        measures=found,
        kept=tuple(features),
        stand_ins=stand_ins and bool(features),
        temperature=temperature,
        threshold=threshold,
        calibration=own_figures([everything[place] for place in order], from_scores(scores, domains, threshold)),
        test=judged,
        latency=time_decisions(METHODS[method](weights=out), [row.text for row in rows[:50]]),
        bytes_on_disk=sum(path.stat().st_size for path in out.iterdir() if path.is_file()),
    )


def _apart(examples: Examples, calibration: Examples | None, test: Examples | None) -> Examples:
    """The examples less what the other files hold. Raises DataRefused for labels that cannot be learned or judged."""
    for other in filter(None, (calibration, test)):
        left = examples.without({row.key for row in other.rows}, f"rows stand in {other.name} too")
        if gone := sorted(left.emptied.keys() - examples.emptied.keys()):
            said = ", ".join(f"{label!r} ({left.emptied[label]})" for label in gone)
            raise DataRefused(
                f"Every row of {said} in {examples.name} stands in {other.name} too. What is calibrated or judged on "
                "is not learned from, so that nothing is left: give files of different rows, or the one file alone.",
                param="examples",
            )
        examples = left
    check_labels(examples)
    for other in filter(None, (calibration, test)):
        strange = sorted(set(other.domains) - set(examples.domains))
        if strange:
            said = ", ".join(map(repr, strange))
            raise DataRefused(f"{other.name} has labels that {examples.name} lacks: {said}.", param="examples")
    return examples


def embedded(texts: Sequence[str], embed: Embed | None, note: Note) -> dict[str, np.ndarray]:
    """Vectors of the texts by each encoder that is there, and by both. The one to begin with is first: what the tuned
    one was not tuned for lies close together, so that it is cheaper but tells less of what is nobody's."""
    found: dict[str, np.ndarray] = {}
    for name in (BASE, HEAD):
        try:
            note(f"reading {len(texts)} texts with the encoder {name}")
            found[name] = embed(name, texts) if embed else open_encoder(name).whole(texts)
        except ModelMissing as error:
            note(f"without the encoder {name}, which would probably be better: {error.message}")
    if len(found) == 2:
        found[BOTH] = joined([found[HEAD], found[BASE]])
    return found


def crossed(rows: Sequence[Example], labels: np.ndarray) -> list[Part]:
    """Five parts: fit on four folds, see the fifth."""
    fold = np.array(folds(rows))
    places = np.arange(len(rows))
    return [Part(places[fold != number], places[fold == number], labels) for number in range(FOLDS)]


def left_out(rows: Sequence[Example], labels: np.ndarray, domains: int) -> list[Part]:
    """Parts in which some domains are left out, whose rows then stand in for what is nobody's. None for two domains."""
    if domains < 3:
        return []
    fold, places, mine = np.array(folds(rows)), np.arange(len(rows)), labels[: len(rows)]
    groups = min(FOLDS, domains)
    parts = []
    for number in range(groups):
        gone = (mine >= 0) & (mine % groups == number)
        told = labels.copy()
        told[places[gone]] = -1
        parts.append(Part(places[~gone & (fold != number)], places[gone | (fold == number)], told))
    return parts


def choose(job: Job, parts: Sequence[Part], finer: bool, note: Note) -> tuple[Setting, dict[str, float]]:
    """One setting after the other: encoder, classes, then the method's own number. The first of each is kept unless
    another one is better on the held rows, in accuracy and AUROC of what is nobody's together, by `WORTH` and half
    the accuracy's standard error: few rows are no reason to leave what is good elsewhere. Without rows enough that are
    nobody's the encoder stays, since accuracy is only half of what it is for."""
    few: list[Part] = []
    looked = strange = 0
    for part in parts:
        few.append(part)
        looked += len(part.held)
        strange += int((part.labels[part.held] < 0).sum())
        if looked >= _ENOUGH and strange >= ENOUGH_OUTSIDE:
            break
    tried: dict[str, float] = {}

    def value(setting: Setting) -> float:
        seen = together([job.held(setting, part) for part in few])
        inside = seen.truth >= 0
        worth = float((seen.votes.argmax(axis=1) == seen.truth)[inside].mean())
        if strange >= ENOUGH_OUTSIDE:
            cheap = [name for name in (CONFIDENCE, ENERGY, CENTROID) if name in seen.measures]
            worth = (worth + max(auroc(seen.measures[name], inside) for name in cheap)) / 2
        tried[f"{setting.encoder}, {setting.pieces or 'finer'} pieces, {setting.number:g}"] = round(worth, 4)
        note(f"{list(tried)[-1]}: {worth:.4f}")
        return worth

    numbers = NUMBERS[job.method]
    pieces = (FINER, *PIECES) if finer else (15, *(count for count in PIECES if count != 15))
    best = Setting(next(iter(job.vectors)), pieces[0], numbers[0])
    most = value(best)
    options: list[tuple[str, Sequence[object]]] = [
        ("encoder", list(job.vectors)[1:]), ("pieces", pieces[1:]), ("number", numbers[1:]),
    ]  # fmt: skip
    for name, values in options:
        start = best
        if name == "encoder" and strange < ENOUGH_OUTSIDE:
            continue
        for item in values:
            setting = structs.replace(start, **{name: item})
            reached = value(setting)
            if reached > most + WORTH + 0.5 * np.sqrt(most * max(1 - most, 0.0) / looked):
                best, most = setting, reached
    return best, tried


def _temperature(seen: Held, method: str) -> float:
    inside = seen.truth >= 0
    logits = np.log(seen.votes[inside] + vote_floor(method))
    return round(fit_temperature(logits, seen.truth[inside]), 4)


def _scores(seen: Held, method: str, temperature: float, features: Sequence[str], function: Arrays) -> np.ndarray:
    """Probabilities as the router gives them, `[rows, domains]`."""
    rows = calibrated(seen.votes, temperature, vote_floor(method))
    return rows * chance(seen.columns(features), function)[:, None] if features else rows


def fit_threshold(scores: np.ndarray, truth: np.ndarray, outside: np.ndarray, outside_share: float) -> float:
    """The threshold under which most requests are in the right hands, if `outside_share` of them is nobody's: those
    that are somebody's with their domain, the others with nobody. Among equals the middle one.

    `scores` and `outside` are `[rows, domains]`; rows of `scores` without a domain are passed over. Without any rows
    that are nobody's the threshold is 0.5, where a domain is likelier than all else together.
    """
    if not len(outside):
        return 0.5
    mine = scores[truth >= 0]
    right = mine.argmax(axis=1) == truth[truth >= 0]
    sure, unsure = mine.max(axis=1), outside.max(axis=1)
    worth = [
        (1 - outside_share) * float((right & (sure >= at)).mean()) + outside_share * float((unsure < at).mean())
        for at in _THRESHOLDS
    ]
    best = np.flatnonzero(np.array(worth) >= max(worth) - 1e-12)
    return round(float(_THRESHOLDS[best[len(best) // 2]]), 2)
