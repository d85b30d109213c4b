"""Train a causal language model for one skill: recipe, dataset and base in, a checked LoRA adapter out.

The loss is on completions alone, divided by the supervised tokens of a whole step. Killed at any moment and started
again, a training on a CPU ends with the weights that it would have had.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from concertino.config import SkillCard
from concertino.datasets.folder import Dataset, Part, Row
from concertino.errors import ConfigurationError
from concertino.models.adapters import AdapterManifest
from concertino.recipe import Method, Recipe
from concertino.training.causal_data import Example, PromptFormat, epoch_batches, make_examples, supervised_spans
from concertino.training.checkpoint import Checkpoints
from concertino.training.curves import Curves
from concertino.training.memory import give_back_large_blocks
from concertino.training.metric import is_better, score, score_and_error
from concertino.training.precision import in_bf16
from concertino.training.progress import Progress
from concertino.training.result import TrainingResult, library_versions, write_result
from concertino.training.run_away import refuse_run_away

DEV_ROWS, DEV_ROWS_TEXT = 200, 48
"""Dev rows that an evaluation during training looks at, for labels and for free text."""

PACKAGES = ("torch", "transformers", "tokenizers", "gguf", "xllamacpp")

Note = Callable[[str], None]


class _State(Struct):
    """What changes while a training goes on, beside the weights."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_loss: float = math.inf
    best_step: int = 0
    without_gain: int = 0
    stopped: bool = False


def train(
    recipe: Recipe, dataset: Dataset, base: Path, run_folder: Path, note: Note = lambda _: None
) -> TrainingResult:
    """Train the adapter that `recipe` describes into `run_folder`, going on from its last checkpoint if it has one.

    `base` is a GGUF file or a Hugging Face folder. Raises TrainingRefused where the training would teach nothing or the
    adapter would not be served as trained, DiskFull, and ConfigurationError without the `train` extra.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ConfigurationError("Training needs torch: pip install 'concertino[train]'") from error
    transformers.logging.set_verbosity_error()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(recipe.training.threads or len(os.sched_getaffinity(0)))
    torch.manual_seed(recipe.training.seed)
    give_back_large_blocks()
    return _Run(recipe, dataset, base, run_folder, note).train()


class _Run:
    """One training in one process."""

    def __init__(self, recipe: Recipe, dataset: Dataset, base: Path, folder: Path, note: Note) -> None:
        from concertino.training import lora
        from concertino.training.causal_step import Machine, Trainee, make_optimizer
        from concertino.training.gguf_base import load_base

        self.recipe, self.plan, self.folder = recipe, recipe.training, folder
        self.machine = Machine()
        self.note: Note = note if self.machine.first else lambda _: None
        self.dataset = dataset
        self.base = load_base(base)
        self.skill = _skill(recipe, dataset)
        loaded = self.base
        self.format = PromptFormat(
            loaded.tokenizer, loaded.chat_template, loaded.eos_token, loaded.bos_token, self.skill
        )
        self.examples = make_examples(
            dataset.rows(Part.TRAIN), self.format, self.plan.max_tokens, self.plan.class_balance, self.note
        )
        self.dev = self._dev_rows()
        self._say_what_is_learned()
        self.alpha = self.plan.alpha or 2.0 * self.plan.rank
        model = loaded.model
        if self.plan.method is Method.QLORA:
            lora.in_four_bits(model, self.machine.device)
        if in_bf16(self.plan.precision, self.machine.device):
            lora.put_in_bf16(model)
        self.branches = lora.attach(model, self.plan.rank, self.alpha, self.plan.dropout, self.plan.seed)
        trainee = Trainee(model, self.plan.label_smoothing)
        optimizer = make_optimizer([p for p in trainee.parameters() if p.requires_grad], self.plan)
        self.trainee, self.optimizer = self.machine.place(trainee, optimizer)
        self.parameters = [p for p in self.trainee.parameters() if p.requires_grad]
        identity = f"{recipe.steps_digest} {dataset.manifest.content} {loaded.sha256} {self.machine.world}"
        self.checkpoints = Checkpoints(folder / "checkpoints", self.plan.checkpoint_steps, identity, self.note)
        self.best_weights: dict[str, Any] | None = None
        self.state = _State()

    @property
    def groups(self) -> list[str]:
        """The group of each example, where rows of one group are read together."""
        return [example.row.group for example in self.examples] if self.plan.group_batches else []

    @property
    def steps_per_epoch(self) -> int:
        batches = -(-len(self.examples) // self.plan.batch)
        if self.plan.group_batches:
            batches = sum(-(-count // self.plan.batch) for count in Counter(self.groups).values())
        return -(-batches // (self.plan.accumulate * self.machine.world))

    @property
    def steps_per_cycle(self) -> int:
        return max(1, math.ceil(self.plan.epochs * self.steps_per_epoch))

    @property
    def steps(self) -> int:
        return self.plan.cycles * self.steps_per_cycle

    def train(self) -> TrainingResult:
        from concertino.training.gguf_export import bytes_needed, refuse_without_room
        from concertino.training.lora import put_weights

        # Twice the export for weights and best weights, twice for the optimizer, in each of three checkpoints.
        wanted = bytes_needed({str(place): p for place, p in enumerate(self.parameters)})
        refuse_without_room(self.folder, 13 * wanted, "This training (checkpoints and adapter)")
        self._resume()
        if self.base.gguf is not None and self.machine.first and self.state.step == 0:
            from concertino.training.causal_check import check_prompts

            check_prompts(
                self.base.gguf, self.format, [e.row.text for e in self.examples[:4]], _threads(self.plan.threads)
            )
        curves = Curves(self.folder, self.state.step) if self.machine.first else None
        with Progress("training", self.steps, self.note, done=self.state.step) as progress:
            while self.state.step < self.steps and not self.state.stopped:
                self._step(progress, curves)
        if self.best_weights is not None:
            put_weights(self.branches, self.best_weights)
        if curves is not None:
            curves.plot()
        return self._finish()

    # Steps

    def _step(self, progress: Progress, curves: Curves | None) -> None:
        from concertino.training.causal_step import learning_rate

        begun = time.perf_counter()
        state, step = self.state, self.state.step
        batches = self._batches(step)
        cycle = self.steps_per_cycle
        rate = self.plan.learning_rate * learning_rate(step % cycle, cycle, self.plan.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.trainee.train()
        self.machine.seed(self.plan.seed, step)
        loss = self.machine.step(self.trainee, self.optimizer, batches, self.parameters, self.format.end)
        refuse_run_away(loss, step + 1, self.plan.learning_rate)
        read = sum(len(example.ids) for batch in batches for example in batch)
        state.step += 1
        state.tokens += read
        state.seconds += time.perf_counter() - begun
        progress.update(state.step, loss, read)
        if curves is not None:
            curves.add(state.step, loss=loss, learning_rate=rate, tokens_per_second=progress.speed)
        if self.dev and self._evaluation_due():
            self._evaluate(progress, curves)
        if self.checkpoints.due(state.step) or state.step == self.steps or state.stopped:
            self._save()

    def _batches(self, step: int) -> list[list[Example]]:
        """The batches of a step, for all processes together."""
        epoch, place = divmod(step, self.steps_per_epoch)
        lengths = [len(example.ids) for example in self.examples]
        size = self.plan.accumulate * self.machine.world
        order = epoch_batches(lengths, self.plan.batch, self.plan.seed, epoch, self.groups)
        chosen = order[place * size : (place + 1) * size]
        return [[self.examples[index] for index in batch] for batch in chosen]

    def _evaluation_due(self) -> bool:
        due = (self.plan.evaluate_steps or self.steps_per_epoch, self.steps_per_cycle)
        return any(self.state.step % interval == 0 for interval in due)

    # Dev

    def _dev_rows(self) -> list[Row]:
        """The same few rows each time, from all over the part; rows that do not fit are left out."""
        rows = [row for row in self.dataset.rows(Part.DEV) if len(self.format.encode(row.text)) < self.plan.max_tokens]
        wanted = DEV_ROWS_TEXT if self.recipe.free_text else DEV_ROWS
        stride = max(1.0, len(rows) / wanted)
        return [rows[int(place * stride)] for place in range(min(wanted, len(rows)))]

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """What the model answers under torch, as token ids, asked as it would be when serving."""
        from concertino.training.causal_generate import LabelTokens, greedy

        labels, end = self.skill.labels, self.format.end
        allowed = LabelTokens(self.base.tokenizer, labels, end) if labels else None
        prompts = [self.format.encode(text) for text in texts]
        self.trainee.eval()
        return greedy(self.trainee, prompts, end, self.skill.max_tokens, allowed, device=self.machine.device)

    def _say(self, texts: Sequence[str]) -> list[str]:
        return [self.format.decode(ids) for ids in self.answers(texts)]

    def _evaluate(self, progress: Progress, curves: Curves | None) -> None:
        from concertino.training.lora import weights_of

        state, metric = self.state, self.recipe.evaluation.metric
        reached, error = score_and_error(metric, self._say([row.text for row in self.dev]), self.dev)
        loss = self._dev_loss()
        better = is_better(reached, loss, state.best, state.best_loss, len(self.dev), error)
        if better:
            state.best, state.best_loss, state.best_step = reached, loss, state.step
            self.best_weights = weights_of(self.branches)
        state.without_gain = 0 if better else state.without_gain + 1
        state.stopped = 0 < self.plan.patience <= state.without_gain
        progress.say(
            f"step {state.step}: dev {metric} {reached:.3f} on {len(self.dev)} rows, loss {loss:.4f}"
            + (", the best so far" if better else "")
            + (f"; no gain in {state.without_gain} evaluations, stopping" if state.stopped else "")
        )
        if curves is not None:
            curves.add(state.step, **{f"dev_{metric}": reached, "dev_loss": loss})

    def _dev_loss(self) -> float:
        """Mean loss a supervised token of the dev rows."""
        import torch

        from concertino.training.causal_step import supervision, tensors

        examples = [self.format.example(row, (row.labels or (row.answer,))[0]) for row in self.dev]
        examples.sort(key=lambda example: len(example.ids))
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(examples), self.plan.batch):
                batch = examples[start : start + self.plan.batch]
                total += float(self.trainee(**tensors(batch, self.format.end, self.machine.device)))
        return total / supervision(examples)

    # Checkpoints

    def _save(self) -> None:
        from concertino.training.lora import weights_of

        state = {
            "progress": msgspec.to_builtins(self.state),
            "weights": weights_of(self.branches),
            "best": self.best_weights,
            "optimizer": self.machine.optimizer_state(self.trainee, self.optimizer),
        }
        if self.machine.first:
            self.checkpoints.save(self.state.step, state)
        self.machine.wait()

    def _resume(self) -> None:
        from concertino.training.lora import put_weights

        saved = self.checkpoints.latest()
        if saved is None:
            return
        self.state = msgspec.convert(saved.state["progress"], _State)
        put_weights(self.branches, saved.state["weights"])
        self.best_weights = saved.state["best"]
        self.machine.put_optimizer_state(self.trainee, self.optimizer, saved.state["optimizer"])
        self.note(f"going on from the checkpoint of step {saved.step} of {self.steps}")

    # The end

    def _finish(self) -> TrainingResult:
        from concertino.training.lora import cut_to, put_weights, shortened, weights_of

        best, rank = self.state.best, self.plan.rank
        if 0 < self.plan.export_rank < rank:
            rank = self.plan.export_rank
            put_weights(self.branches, cut_to(weights_of(self.branches), rank))
            if self.dev:
                best = score(self.recipe.evaluation.metric, self._say([row.text for row in self.dev]), self.dev)
                self.note(
                    f"cut to rank {rank}: dev {self.recipe.evaluation.metric} {best:.3f}, {self.state.best} before"
                )
        # Asked by every process: where the model is sharded, all of them are needed to answer.
        asked = self._ask() if self.base.gguf is not None else []
        weights = shortened(weights_of(self.branches), rank)
        agreement = self._export(weights, asked, rank) if self.machine.first else None
        state = self.state
        result = TrainingResult(
            name=self.recipe.name,
            recipe_digest=self.recipe.training_digest,
            dataset=self.dataset.manifest.content,
            engine=self.plan.engine,
            base=self.plan.base,
            base_sha256=self.base.sha256,
            seed=self.plan.seed,
            steps=state.step,
            epochs=self.plan.epochs * self.plan.cycles,
            tokens=state.tokens,
            seconds=round(state.seconds, 1),
            metric=self.recipe.evaluation.metric,
            best_dev=best,
            best_step=state.best_step or state.step,
            threads=_threads(self.plan.threads),
            rows=len(self.examples),
            agreement=agreement,
            steps_digest=self.recipe.steps_digest,
            versions=library_versions(*PACKAGES),
        )
        if self.machine.first:
            write_result(self.folder, result)
        self.machine.wait()
        return result

    def _ask(self) -> list[Any]:
        """Some rows as torch answers them, for llama.cpp to be held against."""
        from concertino.training.causal_check import ROWS, Asked

        rows = self.dev or [example.row for example in self.examples]
        texts = [row.text for row in rows[:: max(1, len(rows) // ROWS)][:ROWS]]
        asked = []
        for text, ids in zip(texts, self.answers(texts), strict=True):
            ended = [self.format.end] if len(ids) < self.skill.max_tokens else []
            asked.append(Asked(text, self.format.encode(text), [*ids, *ended], self.format.decode(ids)))
        return asked

    def _export(self, weights: dict[str, Any], asked: Sequence[Any], rank: int) -> float | None:
        from concertino.training.causal_export import export

        manifest = AdapterManifest(
            engine=self.plan.engine.value,
            base=self.plan.base,
            base_sha256=self.base.sha256,
            rank=rank,
            alpha=self.alpha * rank / self.plan.rank,
            labels=self.skill.labels,
            max_tokens=self.plan.max_tokens,
        )
        return export(
            weights,
            self.base,
            manifest,
            self.skill,
            asked,
            self.format.end,
            self.folder,
            self.note,
            self.plan.threads,
        )

    def _say_what_is_learned(self) -> None:
        tokens = sum(example.supervised for example in self.examples)
        read = sum(len(example.ids) for example in self.examples)
        self.note(
            f"{len(self.examples)} rows, {read} tokens, the loss on {tokens} of them; learned is what is in [[ ]]:"
        )
        for line in supervised_spans(self.examples, self.format):
            self.note(f"  {line}")


def _skill(recipe: Recipe, dataset: Dataset) -> SkillCard:
    """The skill as it will be served: with the labels that the data has, where the recipe names none."""
    return recipe.card(() if recipe.free_text else recipe.labels or dataset.labels)


def _threads(wanted: int) -> int:
    return wanted or len(os.sched_getaffinity(0))
