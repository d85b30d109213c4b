"""Train the router's first tier: data folder and base model in, a folder of verified weights out."""

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from concertino.backends.encoder.session import EncoderFiles
from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import ConfigurationError, DataRefused
from concertino.models.file_hash import file_sha256
from concertino.router.encoder import MAX_TOKENS
from concertino.router.fitted import MANIFEST as FITTED
from concertino.router.linear import LinearRouter
from concertino.router.manifest import REQUIRED, Manifest
from concertino.training.routing.data import CLASSES, Splits, load_splits, with_written
from concertino.training.routing.examples import Examples
from concertino.training.routing.export import Precision, quantise_rows, write_encoder
from concertino.training.routing.figures import (
    ABSTAINED_TO,
    Figures,
    Speed,
    figures,
    fit_temperature,
    fit_threshold,
    time_router,
)
from concertino.training.routing.neighbours import Gain, NeighbourRecipe, add_neighbours, copied
from concertino.training.routing.out import check_out, write_manifest
from concertino.training.routing.report import Details, TierSpeed, details, read_questions, tier_speeds
from concertino.training.routing.tune import Recipe, Tuned, draw_epoch, tune

CALIBRATION_PER_CLASS = 600
_SHORT = 200
"""Characters of the texts that are timed."""

Note = Callable[[str], None]


class Report(msgspec.Struct, frozen=True):
    """What `concertino router evaluate` prints. `parts` and `details` are by name: test, exam, questions if given."""

    parts: dict[str, Figures]
    details: dict[str, Details]
    tiers: dict[str, TierSpeed]
    speed: Speed
    temperature: float
    threshold: float
    bytes_on_disk: int


def _silent(_: str) -> None:
    return None


def write_weights(tuned: Tuned, base: EncoderFiles, out: Path, data: Mapping[str, str], recipe: Recipe) -> None:
    """Write encoder, token table and tokenizer to `out`, with a manifest of temperature 1 that never abstains."""
    out.mkdir(parents=True, exist_ok=True)
    values, scales = quantise_rows(tuned.encoder["embeddings.word_embeddings.weight"])
    positions = tuned.encoder["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    positions = positions + tuned.encoder["embeddings.token_type_embeddings.weight"][0]
    np.save(out / "tokens.npy", values)
    np.savez(out / "tables.npz", scales=scales, positions=positions.astype(np.float16))
    write_encoder(tuned.encoder, tuned.head, out / "encoder.onnx", Precision.INT8)
    shutil.copyfile(base.tokenizer, out / "tokenizer.json")
    manifest = Manifest(
        classes=CLASSES,
        temperature=1.0,
        threshold=0.0,
        files={name: file_sha256(out / name) for name in sorted(REQUIRED)},
        base_model=SENTENCE_ENCODER,
        base_sha256=file_sha256(base.weights),
        data=dict(sorted(data.items())),
        recipe=msgspec.to_builtins(recipe),
    )
    write_manifest(manifest, out)


def calibrate(out: Path, splits: Splits, seed: int) -> Manifest:
    """Fit temperature and threshold of the weights in `out` on the calibration part, as they will be served."""
    router = LinearRouter(weights=out)
    drawn = draw_epoch(splits.calibration, CALIBRATION_PER_CLASS, random.Random(seed))  # noqa: S311
    truth = np.array([label for _, label in drawn])
    logits = np.log(np.maximum(router.probabilities([text for text, _ in drawn]), 1e-30))
    temperature = fit_temperature(logits, truth)
    scaled = np.exp(logits / temperature)
    threshold = fit_threshold(scaled / scaled.sum(axis=1, keepdims=True), truth, CLASSES.index("general"))
    manifest = msgspec.structs.replace(router.manifest, temperature=round(temperature, 4), threshold=threshold)
    write_manifest(manifest, out)
    return manifest


def evaluate(
    data_dir: Path, weights: Path | None = None, note: Note = _silent, questions: Path | None = None
) -> Report:
    """Judge weights on the test part, the exam and a file of questions. Needs the data folder, but not torch.

    Raises ConfigurationError for a folder that `concertino router fit` wrote: it may have other classes.
    """
    if weights is not None and (weights / FITTED).exists():
        raise ConfigurationError(
            f"{weights} holds a router that `concertino router fit` wrote. Measure it on rows of yours, with "
            f"--examples FILE --weights {weights}; --data-dir measures what `concertino router train` wrote.",
            param="weights",
        )
    router = LinearRouter(weights=weights)
    asked = read_questions(questions) if questions is not None else []
    splits = load_splits(data_dir, note)
    parts: dict[str, Figures] = {}
    found: dict[str, Details] = {}
    tiers: dict[str, TierSpeed] = {}
    for name, rows in (("test", splits.test), ("exam", splits.exam), ("questions", asked)):
        if rows:
            note(f"routing {len(rows)} {name} rows")
            probabilities, looked_at = router.read([row.text for row in rows])
            labels, sources = [row.label for row in rows], [row.source for row in rows]
            parts[name] = figures(probabilities, labels, router.manifest.classes, router.threshold, sources)
            found[name] = details(router, rows, probabilities)
            if name == "test":
                unsure = [row.text for place, row in enumerate(rows) if place in looked_at and len(row.text) < _SHORT]
                tiers = tier_speeds(router, probabilities, looked_at, unsure[:200])
    short = [row.text for row in splits.test if len(row.text) < _SHORT][:1000]
    return Report(
        parts=parts,
        details=found,
        tiers=tiers,
        speed=time_router(router, "How do I reverse a linked list without recursion?", short),
        temperature=router.manifest.temperature,
        threshold=router.threshold,
        bytes_on_disk=sum(path.stat().st_size for path in router.folder.iterdir() if path.is_file()),
    )


def train(
    data_dir: Path,
    base: EncoderFiles,
    out: Path,
    recipe: Recipe,
    note: Note = _silent,
    examples: Examples | None = None,
) -> Manifest:
    """Tune, export and calibrate. `examples` are more questions of the router's classes, what is nobody's as `general`.

    Raises ConfigurationError for a missing data set or `train` extra, DataRefused for examples of other classes.
    """
    check_out(out)
    if examples is not None and (strange := sorted(set(examples.domains) - set(CLASSES))):
        raise DataRefused(
            f"{examples.name} has labels that are none of the router's classes ({', '.join(CLASSES)}): "
            f"{', '.join(map(repr, strange))}. `concertino router fit --examples` learns domains of your own.",
            param="examples",
        )
    splits = load_splits(data_dir, note)
    if examples is not None:
        rows = [(row.text, row.label or ABSTAINED_TO) for row in examples.rows]
        splits = with_written(splits, rows, {examples.name: examples.sha256})
        note(f"{len(rows)} rows of {examples.name} beside the written questions")
    tuned = tune(splits.train, base, recipe, note)
    write_weights(tuned, base, out, splits.hashes, recipe)
    note("calibrating")
    calibrate(out, splits, recipe.seed)
    return add_neighbours(out, splits, base, NeighbourRecipe(seed=recipe.seed), CALIBRATION_PER_CLASS, note)[0]


def train_neighbours(
    data_dir: Path, base: EncoderFiles, weights: Path | None, out: Path, recipe: NeighbourRecipe, note: Note = _silent
) -> tuple[Manifest, list[Gain]]:
    """Copy weights (None: the package's) to `out` with a bank of neighbours, made anew where they have one.

    Raises ConfigurationError for a missing data set, and as `add_neighbours` does.
    """
    copied(weights, out)
    return add_neighbours(out, load_splits(data_dir, note), base, recipe, CALIBRATION_PER_CLASS, note)
