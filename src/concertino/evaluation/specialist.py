"""The specialist of a run folder, asked as serving would ask it; its temperature and its threshold."""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from msgspec import structs

from concertino.backends.base import ModelUse
from concertino.backends.scope import read_scope
from concertino.confidence import tempered, within
from concertino.config import SpecialistCard
from concertino.datasets.folder import Dataset, Part, Row
from concertino.evaluation import calibration as calibrating
from concertino.evaluation import embedding
from concertino.evaluation.calibration import Scores
from concertino.evaluation.measured import group_of
from concertino.evaluation.results import Calibration
from concertino.evaluation.running import Asked, Engine, Kept, Note, Prediction, engine_for, predict_all
from concertino.evaluation.scope import open_scope_encoder
from concertino.evaluation.tasks.base import Task
from concertino.models import Store
from concertino.models.adapters import AdapterManifest, read_adapter, write_manifest
from concertino.recipe import Recipe
from concertino.specialists.pool import as_run
from concertino.specialists.skills import skill_generation
from concertino.training.result import ADAPTER

ENGINES = {"encoder": "encoder", "causal": "llamacpp"}
"""An adapter's engine -> the type of the backend that runs it."""
CONTEXT_TOKENS = 4096
_ENOUGH_CHANGE = 0.002
"""A temperature that would change by less stays, so that calibrating twice changes nothing."""


class Specialist:
    """An adapter with its card and its engine."""

    def __init__(
        self, recipe: Recipe, engine: Engine, card: SpecialistCard, labels: tuple[str, ...], cache: Path,
        scope: Callable[[str], float] | None = None, text_temperature: float | None = 1.0,
    ) -> None:  # fmt: skip
        self.recipe = recipe
        self.engine = engine
        self.card = card
        self.skill = recipe.card(labels)
        if recipe.free_text:
            self.skill = structs.replace(self.skill, text_temperature=text_temperature)
        self.cache = cache
        self.scope = scope
        """How surely a text is one that a language model's adapter is for; None where it does not say."""

    @property
    def costly(self) -> bool:
        """Whether a language model answers, at a hundred times the cost of an encoder."""
        return self.card.backend != embedding.BACKEND

    async def answer(self, texts: Sequence[str], who: str, note: Note, *, tuned: bool = True) -> list[Prediction]:
        """One prediction a text; `tuned=False` asks the base without the adapter."""
        card = self.card if tuned else structs.replace(self.card, adapter=None)
        skill = self.skill if tuned else structs.replace(self.skill, text_temperature=None)
        can = self.engine.capabilities
        asked = [Asked(skill_generation(card, skill, text, can), skill.labels) for text in texts]
        name = "specialist" if tuned else "base"
        found = await predict_all(self.engine, Kept(self.cache / f"{name}.jsonl"), asked, who, note)
        if not tuned:
            return found
        if (temperature := skill.text_temperature) is not None:
            found = [structs.replace(item, confidence=tempered(item.confidence, temperature)) for item in found]
        if self.scope is None:
            return found
        scopes = [self.scope(text) for text in texts]
        return [
            structs.replace(item, confidence=within(item.confidence, scope), scope=scope)
            for item, scope in zip(found, scopes, strict=True)
        ]


@asynccontextmanager
async def specialist_of(
    recipe: Recipe, run_folder: Path, store: Store, text_temperature: float | None = 1.0
) -> AsyncIterator[Specialist]:
    """The specialist of a run folder. `text_temperature` is for answers in free text; None gives them no confidence.

    Raises ConfigurationError for a damaged adapter, ModelMissing for its base.
    """
    folder = run_folder / ADAPTER
    manifest = read_adapter(folder)
    store.require(manifest.base)
    backend = ENGINES.get(manifest.engine, manifest.engine)
    card = as_run(SpecialistCard(recipe.specialist, recipe.description, backend, manifest.base, adapter=str(folder)))
    use = ModelUse(manifest.base, (card.adapter,) if card.adapter else (), CONTEXT_TOKENS)
    scope = read_scope(folder) if manifest.engine == "causal" else None
    within_scope = functools.partial(scope.probability, encoder=open_scope_encoder(store)) if scope else None
    async with engine_for(backend, store, use) as engine:
        cache = run_folder / "evaluation" / "cache"
        yield Specialist(recipe, engine, card, manifest.labels, cache, within_scope, text_temperature)


async def calibrate(
    recipe: Recipe, dataset: Dataset, run_folder: Path, store: Store, task: Task, note: Note
) -> Calibration:
    """Fit the temperature, and then the threshold.

    The temperature is fitted for labels of the encoder engine, which divides its logits by it, and written into the
    adapter's manifest; and for free text, whose card carries it. Of a causal adapter's labels the confidence is used as
    it is, and the threshold is on that.
    """
    alpha = recipe.evaluation.alpha
    rows, dev_rows = list(dataset.rows(Part.CALIBRATION)), list(dataset.rows(Part.DEV))
    manifest = read_adapter(run_folder / ADAPTER)
    if not recipe.evaluation.tells_right:
        return calibrating.not_applicable(alpha, calibrating.NOBODY_SAYS.format(recipe.evaluation.metric))
    if not rows and not (recipe.free_text and dev_rows):
        return calibrating.not_applicable(alpha, "The dataset has no calibration part.")
    temperature = manifest.temperature
    if manifest.engine == "encoder" or recipe.free_text:
        enough = not rows or len(dev_rows) >= calibrating.ENOUGH_FOR_TEMPERATURE
        share = [] if enough else [row for row in rows if calibrating.for_temperature(group_of(row))]
        if recipe.free_text:
            temperature = await _fit_text_temperature(recipe, run_folder, store, task, share + dev_rows, note)
        else:
            temperature = await _fit_temperature(recipe, run_folder, store, share + dev_rows, temperature, note)
            temperature = _write_temperature(run_folder, manifest, temperature, note)
        taken = {row.id for row in share}
        rows = [row for row in rows if row.id not in taken] or rows
    if not rows:
        why = "The dataset has no calibration part."
        return structs.replace(calibrating.not_applicable(alpha, why), temperature=temperature)
    async with specialist_of(recipe, run_folder, store, temperature) as specialist:
        scores = await _scores(specialist, rows, task, "specialist on the calibration part", note)
        dev = await _scores(specialist, dev_rows, task, "specialist on the dev part", note) if dev_rows else None
    if scores is None:
        return calibrating.not_applicable(alpha, "The engine gives no confidence.")
    return calibrating.fit_threshold(scores, dev, alpha, temperature)


def _write_temperature(run_folder: Path, manifest: AdapterManifest, temperature: float, note: Note) -> float:
    """Put it into the adapter's manifest, unless it is nearly what stands there; what holds now."""
    if abs(temperature - manifest.temperature) <= _ENOUGH_CHANGE * manifest.temperature:
        return manifest.temperature
    write_manifest(run_folder / ADAPTER, structs.replace(manifest, temperature=temperature))
    note(f"temperature {manifest.temperature:.3f} -> {temperature:.3f}")
    return temperature


async def _fit_text_temperature(
    recipe: Recipe, run_folder: Path, store: Store, task: Task, chosen: Sequence[Row], note: Note
) -> float:
    async with specialist_of(recipe, run_folder, store) as specialist:
        scores = await _scores(specialist, chosen, task, "specialist for the temperature", note)
    return 1.0 if scores is None else calibrating.text_temperature_for(scores)


async def _fit_temperature(
    recipe: Recipe, run_folder: Path, store: Store, chosen: Sequence[Row], before: float, note: Note
) -> float:
    async with specialist_of(recipe, run_folder, store) as specialist:
        found = await specialist.answer([row.text for row in chosen], "specialist for the temperature", note)
    return calibrating.temperature_for([item.scores for item in found], [row.labels for row in chosen], before)


async def _scores(specialist: Specialist, rows: Sequence[Row], task: Task, who: str, note: Note) -> Scores | None:
    found = await specialist.answer([row.text for row in rows], who, note)
    if any(item.confidence is None for item in found):
        return None
    free = specialist.recipe.free_text
    answers = [task.read(row, item.text) if free else item.text for row, item in zip(rows, found, strict=True)]
    right = [task.right(row, answer) for row, answer in zip(rows, answers, strict=True)]
    return Scores(np.asarray([item.confidence for item in found], float), np.asarray(right, bool))
