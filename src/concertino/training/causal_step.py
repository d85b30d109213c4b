"""One step of causal training: from batches of examples to a gradient, and to new weights.

Needs torch; imported by `training.causal` when a training begins.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache

from concertino.recipe import Training
from concertino.training.causal_data import Example
from concertino.training.causal_generate import CACHE
from concertino.training.lora import gathered

CLIP = 1.0
"""Largest norm of a step's gradient."""


class Trainee(torch.nn.Module):
    """A causal model as it is trained: given places and targets it returns the summed loss, else the model's output.

    The vocabulary's logits, a fifth of a small model's arithmetic, are computed at the supervised places alone. The
    first `shared` tokens, which are those of every row, are read once for all rows.
    """

    def __init__(self, model: Any, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self._no_split_modules = getattr(model, "_no_split_modules", None)  # what FSDP shards by
        self._smoothing = label_smoothing

    def forward(
        self, ids: Any, places: Any = None, targets: Any = None, weights: Any = None, shared: int = 0, **options: Any
    ) -> Any:
        if places is None:
            return self.model(input_ids=ids, **options)
        hidden = self._hidden(ids, shared)
        logits = self.model.get_output_embeddings()(hidden.flatten(0, 1)[places]).float()
        losses = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=self._smoothing)
        return (losses * weights).sum()

    def _hidden(self, ids: Any, shared: int) -> Any:
        """The last layer's output after the shared tokens, `[rows, longest - shared, width]`."""
        # Padding stands on the right, where causal attention never looks, so no mask is needed.
        if not shared:
            return self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        cache = DynamicCache()
        kept = {CACHE: cache, "use_cache": True}
        self.model.base_model(input_ids=ids[:1, :shared], **kept)
        cache.batch_repeat_interleave(len(ids))  # the gradients of all rows meet in the one reading
        return self.model.base_model(input_ids=ids[:, shared:], **kept).last_hidden_state


def tensors(examples: Sequence[Example], pad: int, device: Any, share: bool = True) -> dict[str, Any]:
    """A batch for `Trainee`: ids `[rows, longest]`, how many of them all rows share (0 without `share`), and for each
    supervised token its place after the shared ones, its id and its weight."""
    longest = max(len(example.ids) for example in examples)
    shared = shared_prefix(examples) if share else 0
    ids = [[*example.ids, *[pad] * (longest - len(example.ids))] for example in examples]
    places, targets, weights = [], [], []
    for row, example in enumerate(examples):
        for position in range(example.prompt, len(example.ids)):
            # A token is predicted at the place before it.
            places.append(row * (longest - shared) + position - 1 - shared)
            targets.append(example.ids[position])
            weights.append(example.weight)
    return {
        "ids": torch.tensor(ids, device=device),
        "places": torch.tensor(places, device=device),
        "targets": torch.tensor(targets, device=device),
        "weights": torch.tensor(weights, device=device),
        "shared": shared,
    }


def shared_prefix(examples: Sequence[Example]) -> int:
    """Tokens with which every row begins, such as the instruction's, but none that a supervised one follows."""
    first, last = min(example.ids for example in examples), max(example.ids for example in examples)
    alike = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return min(alike, *(example.prompt - 1 for example in examples)) if len(examples) > 1 else 0


def supervision(examples: Sequence[Example]) -> float:
    """What a loss over these examples is divided by: their supervised tokens, each as heavy as its row."""
    return sum(example.weight * example.supervised for example in examples)


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """Share of the full rate at a step (from 0): linear warm-up, then a cosine down to 0."""
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Machine:
    """Where a training runs: one CPU process, or whatever accelerate finds (CUDA in bf16, several processes)."""

    def __init__(self) -> None:
        self.accelerator: Any = None
        self.device: Any = torch.device("cpu")
        self.rank, self.world = 0, 1
        cuda = torch.cuda.is_available()
        if cuda or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            import accelerate

            self.accelerator = accelerate.Accelerator(mixed_precision="bf16" if cuda else "no", cpu=not cuda)
            self.device = self.accelerator.device
            self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def place(self, trainee: Trainee, optimizer: Any) -> tuple[Any, Any]:
        """Put model and optimizer where they run, wrapped as the number of processes asks."""
        if self.accelerator is None:
            return trainee, optimizer
        trainee, optimizer = self.accelerator.prepare(trainee, optimizer)
        return trainee, optimizer

    def seed(self, seed: int, step: int) -> None:
        """Seed what a step draws (dropout), so that a training that goes on draws as one that was never interrupted.

        Each process draws for itself, on whatever device.
        """
        digest = hashlib.sha256(f"{seed} {step} {self.rank}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7]))

    def wait(self) -> None:
        """Let the other processes come as far as this one."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def step(
        self, trainee: Any, optimizer: Any, batches: Sequence[Sequence[Example]], parameters: Sequence[Any], pad: int
    ) -> float:
        """One optimizer step over `batches`, of which each process takes its share; the loss a token, over all.

        Every batch counts by its supervised tokens, whatever batch and process they fell into. Where the loss or the
        gradient is not finite, no step is made and the loss is NaN.
        """
        whole = sum(supervision(batch) for batch in batches)
        mine = list(batches[self.rank :: self.world])
        # Processes must make equally many passes; one that has no batch left passes over another's, for nothing.
        idle = -(-len(batches) // self.world) - len(mine)
        total = 0.0
        passes = [(batch, 1.0) for batch in mine] + [(batches[0], 0.0)] * idle
        # FSDP gathers a block when a gradient reaches its output. What is read once for all rows ends in a cache, so
        # its gradients come by another way, to weights that are no longer there.
        share = not self._sharded(trainee)
        for number, (batch, counted) in enumerate(passes, 1):
            with self._last_pass_syncs(trainee, number == len(passes)):
                loss = trainee(**tensors(batch, pad, self.device, share)) * (counted / whole)
                total += float(loss.detach())
                # Processes' gradients are averaged where they are wanted summed.
                self._backward(loss * self.world)
        if self.accelerator is not None:
            total = float(self.accelerator.reduce(torch.tensor(total, device=self.device), "sum"))
            norm = self.accelerator.clip_grad_norm_(parameters, CLIP)
        else:
            norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        if not math.isfinite(total + (0.0 if norm is None else float(gathered(norm)))):
            return math.nan
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    def _backward(self, loss: Any) -> None:
        if self.accelerator is not None:
            self.accelerator.backward(loss)
        else:
            loss.backward()

    @contextlib.contextmanager
    def _last_pass_syncs(self, trainee: Any, last: bool) -> Iterator[None]:
        if self.accelerator is None or last:
            yield
        else:
            with self.accelerator.no_sync(trainee):
                yield

    def optimizer_state(self, trainee: Any, optimizer: Any) -> dict[str, Any]:
        """The optimizer's state, whole, on the CPU."""
        if not self._sharded(trainee):
            return dict(optimizer.state_dict())
        from torch.distributed.checkpoint import state_dict

        options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        return dict(state_dict.get_optimizer_state_dict(trainee, inner, options=options))

    def put_optimizer_state(self, trainee: Any, optimizer: Any, state: dict[str, Any]) -> None:
        """Set what `optimizer_state` gave."""
        if not self._sharded(trainee):
            optimizer.load_state_dict(state)
            return
        from torch.distributed.checkpoint import state_dict

        options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
        inner = getattr(optimizer, "optimizer", optimizer)
        state_dict.set_optimizer_state_dict(trainee, inner, state, options=options)

    @staticmethod
    def _sharded(trainee: Any) -> bool:
        return any(hasattr(parameter, "full_tensor") for parameter in trainee.parameters())


def make_optimizer(parameters: Sequence[Any], training: Training) -> Any:
    """AdamW (Loshchilov and Hutter 2019) over the LoRA matrices."""
    return torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)
