"""What the promotion gate judges by, gathered from a recipe, a run and a dataset."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from msgspec import structs

from concertino import config
from concertino.config import Settings
from concertino.datasets.folder import Dataset, Part, Row, open_dataset
from concertino.datasets.normalise import words
from concertino.datasets.prose import grade
from concertino.errors import PromotionRefused
from concertino.evaluation.measured import group_of, paired_test
from concertino.evaluation.metrics import statistics_of
from concertino.evaluation.statistics import compare
from concertino.models.adapters import MANIFEST as ADAPTER_MANIFEST
from concertino.models.adapters import AdapterManifest, read_adapter
from concertino.models.catalogue import load_catalogue
from concertino.models.file_hash import file_sha256
from concertino.recipe import Metric, Recipe
from concertino.recipe_file import load_recipe
from concertino.registry import Served, serving
from concertino.registry.candidate import (
    PREDICTIONS,
    Candidate,
    Prediction,
    check_predictions,
    make_candidate,
    read_predictions,
    read_report,
)
from concertino.registry.gate import SPECIALIST, Evidence, Incumbent, LabelChange
from concertino.registry.version import ADAPTER, SourceFile
from concertino.training.result import read_result

DATASHEET = "datasheet.md"
_SHINGLE = 3
_PAIRED_SHARE = 0.5
"""The incumbent counts where it was measured on at least this share of the candidate's test rows."""
_LEAKS_LISTED = 1000
_WEIGHTS = (".safetensors", ".gguf")

Shingles = frozenset[tuple[str, ...]]


def gather(
    recipe_file: Path, run: Path, dataset_folder: Path, home: Path, accepted: str, settings: Settings | None = None
) -> tuple[Evidence, Candidate]:
    """The evidence for the gate, and the version that it is about.

    `settings` is the team whose version of the skill it is judged against; None: the team that is configured, in
    `home`. Raises RecipeInvalid, DataRefused, TrainingRefused, ConfigurationError, UnknownModel, RegistryCorrupt or
    PromotionRefused where a part is missing or damaged.
    """
    team = settings or structs.replace(config.load(), home=str(home))
    recipe, dataset = load_recipe(recipe_file), open_dataset(dataset_folder)
    if not (run / ADAPTER / ADAPTER_MANIFEST).is_file():
        raise PromotionRefused(
            f"{run} holds no trained adapter, so there is nothing to promote. Name with --run the folder that "
            "`concertino train` wrote, or the folder `run` of a `concertino build`."
        )
    adapter, report = read_adapter(run / ADAPTER), read_report(run)
    if report.specialist is None:
        raise PromotionRefused(f"The evaluation of {run} has no figures of the specialist. Run `concertino evaluate`.")
    check_predictions(run, report.specialist)
    base = load_catalogue(home).entry(adapter.base)
    evidence = Evidence(
        recipe=recipe,
        report=report,
        adapter=adapter,
        adapter_sha256=file_sha256(run / ADAPTER / ADAPTER_MANIFEST),
        trained_dataset=read_result(run).dataset,
        dataset=dataset.manifest.content,
        base_hashes=frozenset(file.sha256 for file in base.files),
        leaks=tuple(_leaks(dataset, recipe.data.near_duplicate)),
        incumbent=incumbent(recipe, run, report.specialist.name, serving(team, recipe.name), adapter),
        accepted=accepted,
    )
    sources = tuple(
        SourceFile(file.path, file.sha256, file.licence or recipe.data.licence_of(file.path), file.origin)
        for file in dataset.manifest.sources
    )
    return evidence, make_candidate(evidence, run, recipe_file, dataset_folder / DATASHEET, sources, base)


def incumbent(
    recipe: Recipe, run: Path, runner: str, served: Served | None, adapter: AdapterManifest
) -> Incumbent | None:
    """The run against the version that serves the skill, where both answered the same test rows.

    None too where that has the same weights, which were only calibrated anew: there is nothing to gain over them, and
    the run is judged as its predecessor was.
    """
    if served is None or _weights(adapter.files) == _weights(served.version.files):
        return None
    labels = adapter.labels
    mine = read_predictions(run / PREDICTIONS, runner)
    theirs = read_predictions(served.folder / PREDICTIONS.name, SPECIALIST)
    shared = [(mine[key], theirs[key]) for key in mine if key in theirs and mine[key].expected == theirs[key].expected]
    if len(shared) < _PAIRED_SHARE * len(mine) or not shared:
        return None
    metric = recipe.evaluation.metric
    first, second, groups, figure = _paired(shared, metric, labels)
    whole = compare(first, second, groups, figure)
    changes = {}
    for label in labels:
        about = [pair for pair in shared if label in pair[0].expected]
        if about:
            one, two, clusters, share = _paired(about, Metric.ACCURACY, labels)
            found = compare(one, two, clusters, share, resamples=2_000)
            changes[label] = LabelChange(len(about), found.difference, found.lower, found.upper)
    worth = [_worth(one, metric) for one, _ in shared], [_worth(two, metric) for _, two in shared]
    p, _, _ = paired_test(metric, *worth, groups, whole)
    return Incumbent(served.version.version, len(shared), whole.difference, whole.lower, whole.upper, changes, p)


def _weights(files: Mapping[str, str]) -> frozenset[str]:
    """Hashes of what was trained, of an adapter's or a version's files: calibration leaves these as they are."""
    return frozenset(digest for path, digest in files.items() if path.endswith(_WEIGHTS))


def _paired(
    pairs: list[tuple[Prediction, Prediction]], metric: Metric, labels: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, list[str], Callable[[np.ndarray], np.ndarray]]:
    rows = [Row(a.id, "", a.expected, group=a.group) for a, _ in pairs]
    first, figure = statistics_of(
        rows, [a.answer for a, _ in pairs], [_worth(a, metric) for a, _ in pairs], metric, labels
    )
    second, _ = statistics_of(rows, [b.answer for _, b in pairs], [_worth(b, metric) for _, b in pairs], metric, labels)
    return first, second, [group_of(row) for row in rows], figure


def _worth(prediction: Prediction, metric: Metric) -> float:
    """Whether an answer is right, or its score: graded anew, as what serves may have been judged by another metric."""
    return grade(metric, prediction.answer, prediction.expected[0]) if metric.graded else float(bool(prediction.right))


def _leaks(dataset: Dataset, threshold: float) -> Iterator[str]:
    """Test rows whose words are those of a training row, or whose word 3-grams are nearly the same set.

    Two such sets have one of their rarest members in common, so rows are looked up by these alone: a disclaimer below
    every text would else compare each with each (the prefix filter of Bayardo et al. 2007).
    """
    tested = [(row.id, _shingles(row.text)) for row in dataset.rows(Part.TEST)]
    common = Counter(shingle for _, shingles in tested for shingle in shingles)
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, (_, shingles) in enumerate(tested):
        for shingle in _rarest(shingles, common, threshold):
            holders[shingle].append(place)
    listed = 0
    for part in (Part.TRAIN, Part.DEV, Part.CALIBRATION):
        for row in dataset.rows(part):
            mine = _shingles(row.text)
            found = {place for shingle in _rarest(mine, common, threshold) for place in holders.get(shingle, ())}
            for place in sorted(found):
                name, theirs = tested[place]
                if min(len(mine), len(theirs)) < threshold * max(len(mine), len(theirs)):
                    continue
                if len(mine & theirs) >= threshold * len(mine | theirs):
                    listed += 1
                    yield f"{name} of test and {row.id} of {part}"
                    if listed == _LEAKS_LISTED:
                        return


def _rarest(shingles: Shingles, common: Mapping[tuple[str, ...], int], threshold: float) -> list[tuple[str, ...]]:
    """So many of the rarest shingles that a set which is similar enough has at least one of them among its own."""
    kept = len(shingles) - math.ceil(threshold * len(shingles) - 1e-9) + 1
    return sorted(shingles, key=lambda shingle: (common.get(shingle, 0), shingle))[:kept]


def _shingles(text: str) -> Shingles:
    said = words(text)
    return frozenset(zip(*(said[at:] for at in range(_SHINGLE)), strict=False)) or frozenset({tuple(said)})
