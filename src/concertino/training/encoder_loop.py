"""One member of an encoder adapter: the training loop, readable from top to bottom."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from concertino.recipe import Metric, Recipe, Training
from concertino.training.checkpoint import Checkpoints
from concertino.training.curves import Curves
from concertino.training.progress import Progress
from concertino.training.run_away import refuse_run_away


class Example(Struct, frozen=True):
    tokens: list[int]
    target: tuple[int, ...]
    """Numbers of the labels that are right."""


class Trained(Struct, frozen=True):
    """What a member's training came to; the model itself holds the best weights."""

    steps: int
    tokens: int
    best_value: float
    best_step: int


def train_member(
    torch: Any,
    model: Any,
    recipe: Recipe,
    seed: int,
    rows: Sequence[Example],
    dev: Sequence[Example],
    run: Path,
    checkpoints: Checkpoints,
    progress: Progress,
) -> Trained:
    """Train `model` in place on `rows`; it ends with the weights that did best on `dev`.

    AdamW with linear warm-up and cosine decay; cross-entropy, spread evenly over a row's labels where it has several.
    Goes on from the newest checkpoint.
    """
    plan = recipe.training
    optimizer = torch.optim.AdamW(
        [
            {"params": model.adapter_parameters(), "lr": plan.learning_rate},
            {"params": model.head.parameters(), "lr": plan.head_learning_rate},
        ],
        weight_decay=plan.weight_decay,
    )
    order = _Batches(rows, plan, seed)
    steps = steps_of(plan, len(rows))
    warm = max(1, round(steps * plan.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    every = plan.evaluate_steps or max(1, order.per_epoch // plan.accumulate)
    state: dict[str, Any] = {"best": None, "best_step": 0, "best_value": -1.0, "bad": 0, "tokens": 0}
    step, saved = 0, checkpoints.latest()
    if saved is not None:
        step, state = saved.step, saved.state["state"]
        model.load_state_dict(saved.state["model"])
        optimizer.load_state_dict(saved.state["optimizer"])
        schedule.load_state_dict(saved.state["schedule"])
        torch.set_rng_state(saved.state["random"])
        progress.say(f"going on from step {step} of {steps}")
    curves = Curves(run, step)
    while step < steps:
        if plan.patience and state["bad"] >= plan.patience:
            progress.say(f"no gain on dev in {plan.patience} evaluations; stopping at step {step}")
            break
        step += 1
        batches = [order[(step - 1) * plan.accumulate + place] for place in range(plan.accumulate)]
        loss = _step(torch, model, optimizer, batches, plan.label_smoothing)
        refuse_run_away(loss, step, plan.learning_rate)
        schedule.step()
        tokens = sum(len(example.tokens) for batch in batches for example in batch)
        state["tokens"] += tokens
        progress.update(step, loss, tokens)
        if step % 20 == 0 or step == steps:
            curves.add(step, loss=loss, learning_rate=schedule.get_last_lr()[0])
        if dev and (step % every == 0 or step == steps):
            value = value_of(recipe.evaluation.metric, log_probabilities(torch, model, dev, plan.batch), dev)
            curves.add(step, dev=value)
            progress.say(f"step {step}: dev {recipe.evaluation.metric} {value:.4f}, loss {loss:.4f}")
            if value > state["best_value"]:
                kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
                state |= {"best": kept, "best_step": step, "best_value": value, "bad": 0}
            else:
                state["bad"] += 1
        if checkpoints.due(step) or step == steps:
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
    curves.plot()
    return Trained(step, state["tokens"], state["best_value"], state["best_step"] or step)


def steps_of(plan: Training, rows: int) -> int:
    """Optimiser steps of one member."""
    return max(1, round(plan.epochs * -(-rows // plan.batch) / plan.accumulate))


def _step(torch: Any, model: Any, optimizer: Any, batches: Sequence[Sequence[Example]], smoothing: float) -> float:
    """One optimiser step over the mean loss of all rows in `batches`; that loss. NaN, and no step, where it or the
    gradient is not finite."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    count, total = sum(len(batch) for batch in batches), 0.0
    for batch in batches:
        logits = model([example.tokens for example in batch])
        loss = _loss(torch, logits, batch, smoothing) / count
        loss.backward()
        total += float(loss.detach())
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    if not math.isfinite(total + norm):
        return math.nan
    optimizer.step()
    return total


class _Batches:
    """The batches of a training by number: a function of the rows and the seed, so a resumed run reads the same."""

    def __init__(self, rows: Sequence[Example], plan: Training, seed: int) -> None:
        self._rows, self._plan, self._seed = rows, plan, seed
        self.per_epoch = -(-len(rows) // plan.batch)
        self._epoch = -1
        self._batches: list[list[Example]] = []

    def __getitem__(self, number: int) -> list[Example]:
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, _epoch(self._rows, self._plan, f"{self._seed} {epoch}")
        return self._batches[place]


def _epoch(rows: Sequence[Example], plan: Training, seed: str) -> list[list[Example]]:
    rng = random.Random(seed)  # noqa: S311 - sampling, not secrets
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


def log_probabilities(torch: Any, model: Any, rows: Sequence[Example], batch: int) -> np.ndarray:
    """Log-probabilities of the labels for each row, in order, `[rows, labels]`."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].tokens))
    found: dict[int, np.ndarray] = {}
    with torch.no_grad():
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            logits = model([rows[place].tokens for place in places])
            found |= zip(places, torch.log_softmax(logits, -1).numpy(), strict=True)
    return np.stack([found[place] for place in range(len(rows))])


def value_of(metric: Metric, logs: np.ndarray, rows: Sequence[Example]) -> float:
    """The metric of the likeliest labels: macro-F1 if it is that, else accuracy."""
    predicted = logs.argmax(axis=1).tolist()
    if metric is not Metric.MACRO_F1:
        return float(np.mean([label in row.target for label, row in zip(predicted, rows, strict=True)]))
    scores = []
    for label in sorted({target for row in rows for target in row.target} | set(predicted)):
        right = sum(found == label and label in row.target for found, row in zip(predicted, rows, strict=True))
        said = sum(found == label for found in predicted)
        wanted = sum(label in row.target for row in rows)
        scores.append(2 * right / (said + wanted))
    return float(np.mean(scores))
