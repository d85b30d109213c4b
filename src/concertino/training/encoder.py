"""The encoder engine: a LoRA adapter and a linear head on a sentence encoder, for skills that answer with labels.

One process, one pass of a batch at a time; the loop in `train` is the whole of it. A scope head is fitted afterwards
on the tuned vectors: logistic regression that tells the skill's own texts from the dataset's background.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from concertino.backends.encoder.session import GRAPH, SHIPPED_SHAPE, WEIGHTS, EncoderFiles, clip_text, clip_tokens
from concertino.backends.encoder.shape import read_shape
from concertino.datasets.folder import Dataset, Part, Row
from concertino.errors import ConfigurationError, TrainingRefused
from concertino.models.adapters import AdapterManifest, file_sha256, write_manifest
from concertino.recipe import Metric, Recipe, Training
from concertino.training.checkpoint import Checkpoints, Note, written_whole
from concertino.training.curves import Curves
from concertino.training.progress import Progress
from concertino.training.result import ADAPTER, TrainingResult, library_versions, write_result

MAX_SCOPE_ROWS = 3_000
"""Rows of either side that the scope head is fitted on."""


class Example(Struct, frozen=True):
    tokens: list[int]
    target: tuple[int, ...]
    """Numbers of the labels that are right."""


def train(
    recipe: Recipe, dataset: Dataset, base: EncoderFiles, run: Path, note: Note = lambda _: None
) -> TrainingResult:
    """Train the recipe's adapter on a dataset and write it to `run/adapter`; goes on from a checkpoint if there is one.

    AdamW with linear warm-up and cosine decay; cross-entropy, spread evenly over a row's labels where it has several.
    The weights that did best on dev are the ones that are written. Raises TrainingRefused for data that would teach
    nothing, ConfigurationError without the `train` extra, DiskFull.
    """
    torch, model_type, tokenizer_type = _import_torch()
    plan, labels = recipe.training, recipe.labels or dataset.labels
    threads = plan.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    tokenizer = tokenizer_type.from_file(str(base.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def read(part: Part) -> list[Example]:
        return [_example(row, labels, tokenizer, plan.max_tokens) for row in dataset.rows(part)]

    rows, dev = read(Part.TRAIN), read(Part.DEV)
    _check(rows, labels, dataset)
    _show(dataset, note)
    shape = read_shape(base.config)
    model = model_type(shape, base.weights, len(labels), plan.rank, plan.alpha or 2 * plan.rank, plan.dropout)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.adapter_parameters(), "lr": plan.learning_rate},
            {"params": model.head.parameters(), "lr": plan.head_learning_rate},
        ],
        weight_decay=plan.weight_decay,
    )
    order = _Batches(rows, plan)
    steps = max(1, round(plan.epochs * order.per_epoch / plan.accumulate))
    warm = max(1, round(steps * plan.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 * (1 + np.cos(np.pi * step / steps)))
    )
    every = plan.evaluate_steps or max(1, order.per_epoch // plan.accumulate)
    base_hash = file_sha256(base.weights)
    checkpoints = Checkpoints(
        run / "checkpoints",
        plan.checkpoint_steps,
        f"{recipe.digest} {dataset.manifest.content} {base_hash}",
        note,
    )
    state: dict[str, Any] = {"best": None, "best_step": 0, "best_value": -1.0, "bad": 0, "tokens": 0, "seconds": 0.0}
    begun = 0
    saved = checkpoints.latest()
    if saved is not None:
        begun, state = saved.step, saved.state["state"]
        model.load_state_dict(saved.state["model"])
        optimizer.load_state_dict(saved.state["optimizer"])
        schedule.load_state_dict(saved.state["schedule"])
        torch.set_rng_state(saved.state["random"])
        note(f"going on from step {begun} of {steps}")
    curves = Curves(run, begun)
    started = time.monotonic() - state["seconds"]
    step = begun
    with Progress(recipe.name, steps, note, done=begun) as progress:
        for step in range(begun + 1, steps + 1):
            if plan.patience and state["bad"] >= plan.patience:
                progress.say(f"no gain on dev in {plan.patience} evaluations; stopping at step {step - 1}")
                step -= 1
                break
            model.train()
            optimizer.zero_grad(set_to_none=True)
            batches = [order[(step - 1) * plan.accumulate + place] for place in range(plan.accumulate)]
            count = sum(len(batch) for batch in batches)
            total = 0.0
            for batch in batches:
                logits = model([example.tokens for example in batch])
                loss = _loss(torch, logits, batch, plan.label_smoothing) / count
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            read_tokens = sum(len(example.tokens) for batch in batches for example in batch)
            state["tokens"] += read_tokens
            progress.update(step, total, read_tokens)
            if step % 20 == 0 or step == steps:
                curves.add(step, loss=total, learning_rate=schedule.get_last_lr()[0])
            if dev and (step % every == 0 or step == steps):
                value = _value(recipe.evaluation.metric, _predict(torch, model, dev, plan.batch), dev)
                curves.add(step, dev=value)
                progress.say(f"step {step}: dev {recipe.evaluation.metric} {value:.4f}, loss {total:.4f}")
                if value > state["best_value"]:
                    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
                    state |= {"best": kept, "best_step": step, "best_value": value, "bad": 0}
                else:
                    state["bad"] += 1
            if checkpoints.due(step) and step < steps:
                state["seconds"] = time.monotonic() - started
                checkpoints.save(
                    step,
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "random": torch.get_rng_state(),
                        "state": state,
                    },
                )
    if state["best"] is not None:
        model.load_state_dict(state["best"])
    model.eval()
    arrays = model.arrays()
    scope = _fit_scope(torch, model, rows, dataset, tokenizer, plan)
    if scope is not None:
        arrays |= scope
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
            scope=scope is not None,
        ),
    )
    curves.plot()
    result = TrainingResult(
        name=recipe.name,
        recipe_digest=recipe.digest,
        dataset=dataset.manifest.content,
        engine=plan.engine,
        base=plan.base,
        base_sha256=base_hash,
        seed=plan.seed,
        steps=step,
        epochs=round(step * plan.accumulate / order.per_epoch, 3),
        tokens=state["tokens"],
        seconds=round(time.monotonic() - started, 1),
        metric=recipe.evaluation.metric,
        best_dev=state["best_value"] if dev else None,
        best_step=state["best_step"] or step,
        threads=threads,
        rows=len(rows),
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


def _example(row: Row, labels: Sequence[str], tokenizer: Any, limit: int) -> Example:
    unknown = [label for label in row.labels if label not in labels]
    if unknown:
        raise TrainingRefused(
            f"Row {row.id} ({row.source}) has the label {unknown[0]!r}, which the recipe does not list.", param="labels"
        )
    tokens = clip_tokens(tokenizer.encode(clip_text(row.text)).ids, limit)
    return Example(tokens, tuple(labels.index(label) for label in row.labels))


def _check(rows: Sequence[Example], labels: Sequence[str], dataset: Dataset) -> None:
    """Raises TrainingRefused where there is nothing to learn."""
    bare = sum(not row.target for row in rows)
    if bare:
        raise TrainingRefused(f"{bare} of {len(rows)} training rows have no label. Curate the dataset again.")
    seen = Counter(target for row in rows for target in row.target)
    if len(seen) < 2:
        raise TrainingRefused(
            f"The training part of {dataset.folder} has {len(rows)} rows and {len(seen)} labels; "
            "a classifier needs at least two labels with rows."
        )
    missing = [label for number, label in enumerate(labels) if number not in seen]
    if missing:
        raise TrainingRefused(
            f"{len(missing)} labels have no training row, for example {missing[0]!r}. Add rows, or leave them out."
        )


def _show(dataset: Dataset, note: Note) -> None:
    """What is trained on, as a person can check it."""
    for _, row in zip(range(3), dataset.rows(Part.TRAIN), strict=False):
        note(f"  {row.text[:90]!r} -> {', '.join(row.labels)}")


class _Batches:
    """The batches of a training by number: a function of the rows and the seed, so a resumed run reads the same."""

    def __init__(self, rows: Sequence[Example], plan: Training) -> None:
        self._rows, self._plan = rows, plan
        self.per_epoch = -(-len(rows) // plan.batch)
        self._epoch = -1
        self._batches: list[list[Example]] = []

    def __getitem__(self, number: int) -> list[Example]:
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, _epoch(self._rows, self._plan, epoch)
        return self._batches[place]


def _epoch(rows: Sequence[Example], plan: Training, epoch: int) -> list[list[Example]]:
    rng = random.Random(f"{plan.seed} {epoch}")  # noqa: S311 - sampling, not secrets
    drawn = list(rows)
    if plan.class_balance:
        counts = Counter(target for row in rows for target in row.target)
        weights = [max(counts[target] ** -plan.class_balance for target in row.target) for row in rows]
        drawn = rng.choices(drawn, weights, k=len(rows))
    drawn.sort(key=lambda row: len(row.tokens) + rng.random() * 8)
    batches = [drawn[start : start + plan.batch] for start in range(0, len(drawn), plan.batch)]
    rng.shuffle(batches)
    return batches


def _loss(torch: Any, logits: Any, batch: Sequence[Example], smoothing: float) -> Any:
    """Cross-entropy summed over the batch."""
    target = torch.zeros_like(logits)
    for place, row in enumerate(batch):
        target[place, list(row.target)] = 1 / len(row.target)
    return torch.nn.functional.cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")


def _predict(torch: Any, model: Any, rows: Sequence[Example], batch: int) -> list[int]:
    """The likeliest label's number for each row, in order."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].tokens))
    found = [0] * len(rows)
    with torch.no_grad():
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            best = model([rows[place].tokens for place in places]).argmax(-1).tolist()
            for place, label in zip(places, best, strict=True):
                found[place] = label
    return found


def _value(metric: Metric, predicted: Sequence[int], rows: Sequence[Example]) -> float:
    if metric is not Metric.MACRO_F1:
        return float(np.mean([label in row.target for label, row in zip(predicted, rows, strict=True)]))
    scores = []
    for label in sorted({target for row in rows for target in row.target} | set(predicted)):
        right = sum(found == label and label in row.target for found, row in zip(predicted, rows, strict=True))
        said = sum(found == label for found in predicted)
        wanted = sum(label in row.target for row in rows)
        scores.append(2 * right / (said + wanted))
    return float(np.mean(scores))


def _fit_scope(
    torch: Any, model: Any, rows: Sequence[Example], dataset: Dataset, tokenizer: Any, plan: Training
) -> dict[str, np.ndarray] | None:
    """A logistic regression that tells the skill's texts (1) from its background (0); None without background."""
    outside = [
        clip_tokens(tokenizer.encode(clip_text(row.text)).ids, plan.max_tokens)
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
        own = random.Random(plan.seed).sample(own, MAX_SCOPE_ROWS)  # noqa: S311
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
