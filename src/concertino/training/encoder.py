"""The encoder engine: LoRA adapters and linear heads on a sentence encoder, for skills that answer with labels.

Each member is trained by `encoder_loop`, with a seed of its own. A scope head is fitted afterwards on the first
member's vectors: logistic regression that tells the skill's own texts from the dataset's background.
"""

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concertino.backends.encoder.session import GRAPH, SHIPPED_SHAPE, WEIGHTS, EncoderFiles, clip_text, clip_tokens
from concertino.backends.encoder.shape import read_shape
from concertino.datasets.folder import Dataset, Part
from concertino.errors import ConfigurationError
from concertino.models.adapters import AdapterManifest, write_manifest
from concertino.models.file_hash import file_sha256
from concertino.recipe import Recipe
from concertino.training.checkpoint import Checkpoints, Note, written_whole
from concertino.training.earlier import read_members
from concertino.training.encoder_loop import Example, log_probabilities, steps_of, train_member, value_of
from concertino.training.encoder_rows import check_lengths, read_part
from concertino.training.lexical import fit_lexical
from concertino.training.parts import check_parts
from concertino.training.precision import in_bf16
from concertino.training.progress import Progress
from concertino.training.result import ADAPTER, TrainingResult, library_versions, write_result

MAX_SCOPE_ROWS = 1_200
"""Rows of either side that the scope head is fitted on."""


def train(
    recipe: Recipe,
    dataset: Dataset,
    base: EncoderFiles,
    run: Path,
    note: Note = lambda _: None,
    members_from: Path | None = None,
) -> TrainingResult:
    """Train the recipe's adapter on a dataset and write it to `run/adapter`; goes on from checkpoints if there are any.

    `members_from` is the folder of an earlier version, whose members are taken over and not trained again.

    Raises DataRefused for data that would teach nothing, TrainingRefused where recipe and data do not fit,
    ConfigurationError without the `train` extra, DiskFull.
    """
    torch, model_type, tokenizer_type = _import_torch()
    plan, labels = recipe.training, recipe.labels or dataset.labels
    threads = plan.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    tokenizer = tokenizer_type.from_file(str(base.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    shape, base_hash, started = read_shape(base.config), file_sha256(base.weights), time.monotonic()
    limit = min(plan.max_tokens, shape.positions)
    check_parts(recipe, dataset, (Part.TRAIN,))
    read = read_part(dataset, Part.TRAIN, labels, tokenizer, limit)
    rows, dev = read.examples, read_part(dataset, Part.DEV, labels, tokenizer, limit).examples
    check_lengths(read, plan.max_tokens, shape.positions, note)
    _show(dataset, note)
    identity = f"{recipe.member_digest} {dataset.manifest.content} {base_hash}"
    earlier = read_members(members_from, recipe, dataset, base_hash) if members_from else None
    taken = earlier.members if earlier else ()
    arrays: dict[str, np.ndarray] = {}
    trained, logs = [], []
    for member in range(plan.members):
        torch.manual_seed(plan.seed + member)
        alpha = plan.alpha or 2 * plan.rank
        model = model_type(shape, base.weights, len(labels), plan.rank, alpha, plan.dropout, in_bf16(plan.precision))
        title = recipe.name if plan.members == 1 else f"{recipe.name}, member {member + 1} of {plan.members}"
        if earlier and member < len(taken):
            note(f"{title}: taken over from version {earlier.version}")
            model.take(taken[member])
        else:
            folder = run if plan.members == 1 else run / f"member-{member}"
            checkpoints = Checkpoints(folder / "checkpoints", plan.checkpoint_steps, identity, note)
            with Progress(title, steps_of(plan, len(rows)), note) as progress:
                trained.append(
                    train_member(torch, model, recipe, plan.seed + member, rows, dev, folder, checkpoints, progress)
                )
        arrays |= {f"{member}.{name}": value for name, value in model.arrays().items()}
        if member == 0:
            scope = earlier.scope if earlier else _fit_scope(torch, model, rows, dataset, tokenizer, limit, plan.seed)
            arrays |= scope or {}
        if dev:
            logs.append(log_probabilities(torch, model, dev, plan.batch))
    if plan.lexical:
        note(f"{recipe.name}: fitting the lexical half")
        half, logs = _lexical_half(recipe, dataset, rows, dev, logs, len(labels), note)
        arrays |= half
    _write(run / ADAPTER, arrays, shape)
    write_manifest(
        run / ADAPTER,
        AdapterManifest(
            engine="encoder",
            base=plan.base,
            base_sha256=base_hash,
            rank=plan.rank,
            alpha=plan.alpha or 2.0 * plan.rank,
            labels=tuple(labels),
            max_tokens=plan.max_tokens,
            members=plan.members,
            scope=scope is not None,
        ),
    )
    result = TrainingResult(
        name=recipe.name,
        recipe_digest=recipe.training_digest,
        dataset=dataset.manifest.content,
        engine=plan.engine,
        base=plan.base,
        base_sha256=base_hash,
        seed=plan.seed,
        steps=sum(member.steps for member in trained),
        epochs=plan.epochs,
        tokens=sum(member.tokens for member in trained),
        seconds=round(time.monotonic() - started, 1),
        metric=recipe.evaluation.metric,
        best_dev=value_of(recipe.evaluation.metric, np.mean(logs, axis=0), dev) if dev else None,
        best_step=trained[0].best_step if trained else 0,
        threads=threads,
        rows=len(rows),
        rows_cut=read.cut,
        members_from=f"{len(taken)} of {plan.members} from version {earlier.version}" if earlier else "",
        versions=library_versions("torch", "numpy", "tokenizers"),
    )
    write_result(run, result)
    return result


def _import_torch() -> tuple[Any, Any, Any]:
    try:
        import torch
        from tokenizers import Tokenizer

        from concertino.training.encoder_model import EncoderModel
    except ImportError as error:
        raise ConfigurationError("training needs torch: pip install 'concertino[train]'") from error
    return torch, EncoderModel, Tokenizer


def _show(dataset: Dataset, note: Note) -> None:
    """What is trained on, as a person can check it."""
    for _, row in zip(range(3), dataset.rows(Part.TRAIN), strict=False):
        note(f"  {row.text[:90]!r} -> {', '.join(row.labels)}")


def _lexical_half(
    recipe: Recipe,
    dataset: Dataset,
    rows: Sequence[Example],
    dev: Sequence[Example],
    logs: list[np.ndarray],
    labels: int,
    note: Note,
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The arrays of the lexical half, and the dev rows' log-probabilities with it; none and as they were where dev has
    no use for one."""
    texts, dev_texts = (
        [(row.text, example.target) for row, example in zip(dataset.rows(part), examples, strict=True)]
        for part, examples in ((Part.TRAIN, rows), (Part.DEV, dev))
    )
    encoded = np.mean(logs, axis=0) if logs else None
    lexical = fit_lexical(texts, dev_texts, encoded, labels, recipe.training.class_balance)
    if lexical is None:
        return {}, logs
    note(f"{recipe.name}: the lexical half weighs {lexical.share}")
    arrays = {f"lexical.{name}": getattr(lexical, name).astype(np.float16) for name in ("idf", "weight", "bias")}
    arrays["lexical.share"] = np.array([lexical.share], np.float32)
    own = np.stack([lexical.probabilities(row.text) for row in dataset.rows(Part.DEV)])
    return arrays, [np.log((1 - lexical.share) * np.exp(np.mean(logs, axis=0)) + lexical.share * own + 1e-30)]


def _fit_scope(
    torch: Any, model: Any, rows: Sequence[Example], dataset: Dataset, tokenizer: Any, limit: int, seed: int
) -> dict[str, np.ndarray] | None:
    """A logistic regression that tells the skill's texts (1) from its background (0); None without background."""
    outside = [
        clip_tokens(tokenizer.encode(clip_text(row.text)).ids, limit)
        for row in dataset.rows(Part.BACKGROUND)
        if row.group in ("", Part.TRAIN)
    ][:MAX_SCOPE_ROWS]
    if not outside:
        return None
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigurationError("fitting a scope head needs scikit-learn: pip install 'concertino[train]'") from error
    own = [row.tokens for row in rows]
    if len(own) > MAX_SCOPE_ROWS:
        own = random.Random(seed).sample(own, MAX_SCOPE_ROWS)  # noqa: S311
    texts = sorted([(tokens, 1) for tokens in own] + [(tokens, 0) for tokens in outside], key=lambda pair: len(pair[0]))
    vectors = []
    with torch.no_grad():
        for start in range(0, len(texts), 32):
            vectors.append(model.pooled([tokens for tokens, _ in texts[start : start + 32]]).numpy())
    fitted = LogisticRegression(max_iter=2000, class_weight="balanced").fit(
        np.concatenate(vectors), [side for _, side in texts]
    )
    return {
        "scope.weight": fitted.coef_[0].astype(np.float16),
        "scope.bias": fitted.intercept_.astype(np.float16),
    }


def _write(folder: Path, arrays: dict[str, np.ndarray], shape: Any) -> None:
    from safetensors.numpy import save

    with written_whole(folder / WEIGHTS) as partial:
        partial.write_bytes(save({name: arrays[name] for name in sorted(arrays)}))
    if shape != SHIPPED_SHAPE:
        from concertino.training.encoder_graph import write_graph

        with written_whole(folder / GRAPH) as partial:
            write_graph(shape, partial)
