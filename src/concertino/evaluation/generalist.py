"""The generalist with its best prompt: tried on a few dev rows, then run on the test rows."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
from msgspec import structs

from concertino.backends.base import ModelUse
from concertino.datasets.folder import Row
from concertino.evaluation.embedding import Neighbours
from concertino.evaluation.prompting import NEAREST_LABELS_OF, Prompt, ask, prompts_for
from concertino.evaluation.results import PromptTried
from concertino.evaluation.running import Asked, Engine, Kept, Note, Prediction, engine_for, predict_all
from concertino.evaluation.specialist import CONTEXT_TOKENS
from concertino.evaluation.tasks.base import Task
from concertino.evaluation.tasks.prose import ProseTask
from concertino.models import Store
from concertino.recipe import Recipe

BACKEND = "llamacpp"
OPTIONS = {"parallel": 1}
"""One request at a time is measured, so one is prepared for."""


class Asking:
    """Asks a model for a recipe, by any prompt. `who` is what it is called meanwhile."""

    def __init__(
        self,
        recipe: Recipe,
        labels: tuple[str, ...],
        task: Task,
        engine: Engine,
        neighbours: Neighbours,
        cache: Path,
        who: str = "generalist",
    ) -> None:
        self.recipe, self.labels, self.task, self.who = recipe, labels, task, who
        self._engine, self._neighbours, self._cache = engine, neighbours, cache

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Those worth trying; none with examples where there are no rows to take them from."""
        there = bool(self._neighbours.rows)
        return tuple(prompt for prompt in prompts_for(self.labels) if there or not prompt.needs_neighbours)

    async def answer(
        self, prompt: Prompt, rows: Sequence[Row], vectors: np.ndarray, note: Note
    ) -> tuple[list[Prediction], list[str | None]]:
        """Predictions and, read from them, answers; `vectors` are the rows' embeddings."""
        asked: list[Asked] = []
        for row, vector in zip(rows, vectors, strict=True):
            near = [found for found, _ in self._neighbours.nearest(vector, NEAREST_LABELS_OF)]
            asked.append(ask(prompt, self.recipe, self.labels, self._engine.use.model, row.text, near))
        kept = Kept(self._cache / "generalist.jsonl")
        found = await predict_all(self._engine, kept, asked, f"{self.who}, {prompt.name}", note)
        answers = [self._read(row, prompt, prediction) for row, prediction in zip(rows, found, strict=True)]
        return found, answers

    def _read(self, row: Row, prompt: Prompt, prediction: Prediction) -> str | None:
        if prompt.constrained:
            return prediction.text if prediction.text in self.labels else None
        return self.task.read(row, prediction.text)


async def best_prompt(
    asking: Asking, rows: Sequence[Row], vectors: np.ndarray, note: Note
) -> tuple[Prompt, list[PromptTried]]:
    """The prompt that gets most of the selection rows right, or the best mean score; among equals the one with fewer
    tokens to read."""
    ranked: list[tuple[tuple[float, int], PromptTried, Prompt]] = []
    task = asking.task
    for prompt in asking.prompts:
        found, answers = await asking.answer(prompt, rows, vectors, note)
        right = sum(task.right(row, answer) for row, answer in zip(rows, answers, strict=True))
        tokens = sum(prediction.prompt_tokens or 0 for prediction in found)
        reached, score, said = float(right), None, f"{right} of {len(rows)} right"
        if isinstance(task, ProseTask):
            reached = sum(task.score(row, answer) for row, answer in zip(rows, answers, strict=True))
            score = reached / max(len(rows), 1)
            said = f"mean score {score:.3f} on {len(rows)} rows"
        failures = sum(answer is None for answer in answers)
        ranked.append(((reached, -tokens), PromptTried(prompt.name, right, len(rows), failures, False, score), prompt))
        note(f"{asking.who}, {prompt.name}: {said}")
    chosen = max(ranked, key=lambda item: item[0])[2]
    return chosen, [structs.replace(tried, chosen=prompt is chosen) for _, tried, prompt in ranked]


def generalist_engine(recipe: Recipe, store: Store) -> AbstractAsyncContextManager[Engine]:
    """The engine of the recipe's generalist."""
    return prompted_engine(recipe.evaluation.generalist, store)


def prompted_engine(model: str, store: Store) -> AbstractAsyncContextManager[Engine]:
    """The engine of a language model as it is. Raises ModelMissing where it is not pulled."""
    store.require(model)
    return engine_for(BACKEND, store, ModelUse(model, (), CONTEXT_TOKENS), **OPTIONS)
