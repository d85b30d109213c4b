"""The bank of training texts that the router asks where its head is unsure: which texts, and what they add."""

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from concertino.backends.encoder.session import SHIPPED_SHAPE, EncoderFiles
from concertino.backends.encoder.shape import read_shape
from concertino.errors import ConfigurationError
from concertino.models.file_hash import file_sha256
from concertino.router.encoder import Encoder
from concertino.router.linear import SHIPPED, LinearRouter
from concertino.router.manifest import FILES, NEIGHBOURS, Manifest, NeighbourSettings, load_manifest
from concertino.router.neighbours import Neighbours, joined
from concertino.router.published import PublishedEncoder
from concertino.router.untuned import untuned_encoder
from concertino.training.routing.data import CLASSES, WRITTEN, Row, Splits
from concertino.training.routing.figures import fit_threshold
from concertino.training.routing.out import check_out, write_manifest
from concertino.training.routing.overlap import OverlapIndex
from concertino.training.routing.tune import GENERAL_WEIGHT, SHARES, draw_epoch

Note = Callable[[str], None]

EXAM = "mmlu_"
"""Sources of exam questions begin so."""
_CENTRES = 256
DRAWS = 5
SHARES_SHOWN = (0.0, 0.2, 0.4, 0.6, 0.8)


class NeighbourRecipe(Struct, frozen=True):
    """What the bank holds, and how it is asked. Chosen on calibration rows that are like none of the bank's."""

    seed: int = 7
    per_source: int = 300
    """Texts of each source but exams and written questions, of which all are taken."""
    heaviest: float = 3.0
    """What a text counts at most, where the mean is 1: a small source's texts stand for the share of their source."""
    pieces: int = 64
    """Bytes of a vector."""
    nearest: int = 50
    width: float = 0.02
    share: float = 0.6
    temperature: float = 1.4
    below: float = 0.9


class Gain(Struct, frozen=True):
    """Calibration rows that are like none of the bank's, at one share of the neighbours."""

    share: float
    rows: int
    asked: float
    """Share of the rows whose neighbours are asked."""
    accuracy: dict[str, float]
    """`exam`, `written` and the mean over all `sources`."""
    log_loss: float
    """Mean over the sources."""


def bank_rows(rows: Sequence[Row], recipe: NeighbourRecipe) -> tuple[list[Row], np.ndarray]:
    """The texts of the bank and what each counts, 1 on average."""
    pools: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.source in SHARES[row.label] and "lettered" not in row.source:
            pools[row.source].append(row)
    chosen: list[Row] = []
    for source, pool in sorted(pools.items()):
        whole = source.startswith((EXAM, WRITTEN)) or len(pool) <= recipe.per_source
        chosen += pool if whole else random.Random(recipe.seed).sample(pool, recipe.per_source)  # noqa: S311 - no secret
    counts = Counter(row.source for row in chosen)
    present = {label: sum(share for name, share in SHARES[label].items() if counts[name]) for label in CLASSES}
    weights = np.array(
        [
            (GENERAL_WEIGHT if row.label == "general" else 1.0)
            * SHARES[row.label][row.source] / present[row.label] / counts[row.source]
            for row in chosen
        ]
    )  # fmt: skip
    return chosen, np.minimum(weights / weights.mean(), recipe.heaviest)


def quantised(vectors: np.ndarray, pieces: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes `[pieces, texts]` and centres `[pieces, 256, width / pieces]` of unit vectors `[texts, width]`, by k-means.

    Raises ConfigurationError without scikit-learn or where there are fewer texts than centres.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise ConfigurationError("neighbours need scikit-learn: pip install 'concertino[train]'") from error
    if len(vectors) < _CENTRES:
        raise ConfigurationError(f"{len(vectors)} texts are too few for a bank of neighbours; {_CENTRES} are needed")
    codes, centres = [], []
    for piece in np.split(vectors, pieces, axis=1):
        found = MiniBatchKMeans(_CENTRES, n_init=1, batch_size=4096, max_iter=40, random_state=seed).fit(piece)
        codes.append(found.predict(piece).astype(np.uint8))
        centres.append(found.cluster_centers_.astype(np.float16))
    return np.stack(codes), np.stack(centres)


def add_neighbours(
    folder: Path,
    splits: Splits,
    base: EncoderFiles,
    recipe: NeighbourRecipe,
    per_class: int,
    note: Note = lambda _: None,
) -> tuple[Manifest, list[Gain]]:
    """Give the weights in `folder` a bank, fit their threshold anew on draws of `per_class` calibration texts of each
    class, and say what the neighbours add.

    The bank's vectors are of the base in fp32, where its shape can be run so: codes are coarse enough.

    Raises ConfigurationError where the weights were tuned from another base than `base`, or as `quantised` does.
    """
    before = load_manifest(folder)
    manifest = structs.replace(before, neighbours=None, files={name: before.files[name] for name in FILES})
    if file_sha256(base.weights) != manifest.base_sha256:
        raise ConfigurationError(
            f"the weights in {folder} were tuned from another {manifest.base_model} than {base.weights}",
            param="base_model",
        )
    encoder = untuned_encoder(folder, base.weights, manifest.recipe)
    rows, weights = bank_rows(splits.train, recipe)
    note(f"reading {len(rows)} texts for the bank of neighbours")
    whole = PublishedEncoder(base) if read_shape(base.config) == SHIPPED_SHAPE else encoder
    codes, centres = quantised(whole.whole([row.text for row in rows]), recipe.pieces, recipe.seed)
    labels = np.array([CLASSES.index(row.label) for row in rows], np.uint8)
    path = folder / NEIGHBOURS
    write_manifest(manifest, folder)  # it says nothing of the bank while that is written and judged
    np.savez_compressed(path, codes=codes, centres=centres, labels=labels, weights=weights.astype(np.float16))
    settings = NeighbourSettings(
        below=recipe.below,
        share=recipe.share,
        nearest=recipe.nearest,
        width=recipe.width,
        temperature=recipe.temperature,
        rows=len(rows),
    )
    files = manifest.files | {NEIGHBOURS: file_sha256(path)}
    manifest = structs.replace(manifest, files=files, neighbours=settings)

    router = LinearRouter(weights=folder)
    router.neighbours = Neighbours(folder, manifest, settings, recipe.below, encoder=encoder)
    threshold = drawn_threshold(router, splits.calibration, per_class, recipe.seed)
    manifest = structs.replace(manifest, threshold=threshold)
    write_manifest(manifest, folder)
    known = OverlapIndex(row.text for row in rows)
    unlike = [row for row in splits.calibration if not known.overlaps(row.text)]
    note(f"{len(unlike)} of {len(splits.calibration)} calibration rows are like none of the bank's")
    return manifest, gains(router.head, router.neighbours, settings, encoder, unlike)


def drawn_threshold(router: LinearRouter, rows: Sequence[Row], per_class: int, seed: int) -> float:
    """The threshold of a router on `DRAWS` draws of calibration texts together: on one it was 0.43 to 0.54."""
    drawn = [
        pair
        for number in range(DRAWS)
        for pair in draw_epoch(rows, per_class, random.Random(seed + number))  # noqa: S311 - sampling, not secrets
    ]
    truth = np.array([label for _, label in drawn])
    return fit_threshold(router.probabilities([text for text, _ in drawn]), truth, CLASSES.index("general"))


def gains(
    head: LinearRouter, neighbours: Neighbours, settings: NeighbourSettings, encoder: Encoder, rows: Sequence[Row]
) -> list[Gain]:
    """What the neighbours add to the head at each of `SHARES_SHOWN`; 0 is the head alone."""
    if not rows:
        return []
    alone = head.whole([row.text for row in rows])
    unsure = neighbours.unsure(alone)
    votes = neighbours.votes(encoder, [rows[place].text for place in unsure]) if unsure else alone[unsure]
    truth = np.array([CLASSES.index(row.label) for row in rows])
    sources = np.array([row.source for row in rows])
    by_source = [sources == source for source in sorted(set(sources.tolist()))]
    groups = {
        "exam": np.array([s.startswith(EXAM) and "lettered" not in s for s in sources]),
        "written": np.array([s.startswith(WRITTEN) for s in sources]),
    }
    found = []
    for share in SHARES_SHOWN:
        both = alone.copy()
        if share:
            both[unsure] = joined(alone[unsure], votes, structs.replace(settings, share=share))
        right, loss = both.argmax(axis=1) == truth, -np.log(np.maximum(both[np.arange(len(truth)), truth], 1e-9))
        accuracy = {name: float(right[mask].mean()) for name, mask in groups.items() if mask.any()}
        accuracy["sources"] = float(np.mean([right[mask].mean() for mask in by_source]))
        found.append(
            Gain(share, len(rows), len(unsure) / len(rows), accuracy,
                 float(np.mean([loss[mask].mean() for mask in by_source])))
        )  # fmt: skip
    return found


def copied(weights: Path | None, out: Path) -> None:
    """Copy a folder of weights (None: the package's) to `out`, unless it is that. Raises ConfigurationError where they
    are none, or `out` cannot be written."""
    check_out(out)
    source = weights or SHIPPED
    load_manifest(source)
    if source.resolve() != out.resolve():
        shutil.copytree(source, out, dirs_exist_ok=True)
