"""`concertino evaluate`: a specialist, its base, the generalist and the classical baselines on the same rows."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import structs

from concertino.backends.base import ModelUse
from concertino.backends.scope import FILE as SCOPE
from concertino.config import Price
from concertino.datasets.folder import Dataset, Part, Row
from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import EvaluationRefused
from concertino.evaluation import classical, embedding, generalist
from concertino.evaluation.assemble import Measured, assemble
from concertino.evaluation.checks import check_overlap, check_same_data, record_look
from concertino.evaluation.forgetting import OF_ENCODERS, measure_forgetting
from concertino.evaluation.measured import (
    Answered,
    judge,
    prediction_lines,
)
from concertino.evaluation.page import write_page
from concertino.evaluation.prompting import Prompt
from concertino.evaluation.report import write_markdown
from concertino.evaluation.results import (
    FOLDER,
    REPORT,
    Calibration,
    EvaluationReport,
    Forgetting,
    Kind,
    Looks,
    OutOfScope,
    PromptTried,
    suffix_beside,
)
from concertino.evaluation.running import Engine, Kept, Note, Prediction, adapter_hash, engine_for
from concertino.evaluation.scope import (
    fit_scope,
    judge_outside,
    open_scope_encoder,
    questions_of_others,
    threshold_on,
)
from concertino.evaluation.setup import Options, sample, task_for
from concertino.evaluation.specialist import Specialist, calibrate, specialist_of
from concertino.evaluation.tasks.program import usable_rows
from concertino.models import Store
from concertino.models.adapters import AdapterManifest, read_adapter
from concertino.recipe import Recipe
from concertino.training.checkpoint import written_whole
from concertino.training.result import ADAPTER
from concertino.training.train import locked
from concertino.whole_file import write_json


def evaluate(
    recipe: Recipe, dataset: Dataset, run_folder: Path, store: Store, options: Options, note: Note
) -> EvaluationReport:
    """Measure a run and write RUN/evaluation/{evaluation.json, report.md, report.html, predictions.jsonl}; a report of
    the dev part, or one that is less than what is there, beside them (`suffix_beside`).

    The temperature is written into the run's adapter.json. What was predicted before is not predicted again. Raises
    EvaluationRefused where the figures would mean nothing, ModelMissing where a model is not pulled, TrainingRefused
    where another process is at work in the run's folder.
    """
    if options.part not in (Part.TEST, Part.DEV):
        raise EvaluationRefused(f"The part {options.part} is not one to measure on; use test, or dev for choosing.")
    if recipe.name != dataset.manifest.name:
        raise EvaluationRefused(f"The recipe is for {recipe.name}, and the dataset holds {dataset.manifest.name}.")
    check_same_data(run_folder, dataset)
    rows = sample(check_overlap(dataset, options.part), 0)
    with locked(run_folder), asyncio.Runner() as runner:
        return _Evaluation(recipe, dataset, run_folder, store, options, note, runner).run(rows)


class _Evaluation:
    """One evaluation: the state that its steps share."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        run_folder: Path,
        store: Store,
        options: Options,
        note: Note,
        runner: asyncio.Runner,
    ) -> None:
        self.recipe, self.dataset, self.options, self.note = recipe, dataset, options, note
        self.store, self.run_folder, self._runner = store, run_folder, runner
        self.folder = run_folder / FOLDER
        self.cache = self.folder / "cache"
        self.labels: tuple[str, ...] = () if recipe.free_text else read_adapter(run_folder / ADAPTER).labels
        self.task = task_for(recipe, self.labels)
        self.scope_threshold: float | None = None

    def run(self, rows: list[Row]) -> EvaluationReport:
        for name in self._models():
            self.store.require(name)  # before the first hour, not after it
        rows, left_out = usable_rows(self.task, rows, self.options.rows, self.note)
        scope = fit_scope(self.dataset, self.run_folder, self.store, self.note)
        if scope is not None and self.recipe.free_text:
            own = list(self.dataset.rows(Part.CALIBRATION)) or list(self.dataset.rows(Part.DEV))
            self.scope_threshold = threshold_on(scope, own, open_scope_encoder(self.store))
        calibration = self._runner.run(
            calibrate(self.recipe, self.dataset, self.run_folder, self.store, self.task, self.note)
        )
        manifest = read_adapter(self.run_folder / ADAPTER)
        adapter = adapter_hash(self.run_folder / ADAPTER)
        looks = Looks(0, 0)
        if self.options.part is Part.TEST:
            trained = {name: sha256 for name, sha256 in manifest.files.items() if name != SCOPE}
            weights = hashlib.sha256(msgspec.json.encode(trained, order="sorted")).hexdigest()
            looks = record_look(self.run_folder, self.dataset.manifest.content, weights)
        prompted = rows[: self.recipe.evaluation.generalist_rows]
        specialist, others, outside, forgetting = self._runner.run(
            self._specialist(manifest, rows, prompted, calibration)
        )
        prompts: list[PromptTried] = []
        if self.options.baselines or self.options.generalist:
            more, prompts = self._with_vectors(manifest, rows, prompted)
            others += more
        measured = Measured(
            manifest=manifest,
            adapter=adapter,
            labels=self.labels,
            specialist=specialist,
            others=others,
            calibration=calibration,
            scope_threshold=self.scope_threshold,
            outside=outside,
            forgetting=forgetting,
            prompts=prompts,
            looks=looks,
            left_out=left_out,
            shared_rows=len(prompted),
        )
        report = assemble(self.recipe, self.dataset, self.options, self.task, measured)
        self._write(report, [specialist, *others])
        return report

    def _models(self) -> list[str]:
        wanted = [SENTENCE_ENCODER] if self.options.baselines or self.options.generalist else []
        return [*wanted, self.recipe.evaluation.generalist] if self.options.generalist else wanted

    async def _specialist(
        self, manifest: AdapterManifest, rows: list[Row], prompted: list[Row], calibration: Calibration
    ) -> tuple[Answered, list[Answered], OutOfScope | None, Forgetting]:
        others: list[Answered] = []
        temperature = calibration.temperature if self.recipe.evaluation.tells_right else None
        async with specialist_of(self.recipe, self.run_folder, self.store, temperature) as specialist:
            found = await specialist.answer([row.text for row in rows], "specialist", self.note)
            about = f"{manifest.base} with a LoRA adapter of rank {manifest.rank}"
            answered = self._answered("specialist", Kind.SPECIALIST, about, rows, found, self.options.price)
            outside = await self._outside(specialist, answered, calibration)
            forgetting = Forgetting(False, OF_ENCODERS)
            if manifest.engine == "causal":
                base = await specialist.answer([row.text for row in prompted], "untuned base", self.note, tuned=False)
                how = "constrained to the labels" if self.labels else "with the instruction alone"
                about = f"{manifest.base} without the adapter, {how}"
                others.append(self._answered("untuned base", Kind.BASE, about, prompted, base, self.options.price))
                assert specialist.card.adapter is not None
                forgetting = await measure_forgetting(specialist.engine, specialist.card.adapter, self.cache, self.note)
        return answered, others, outside, forgetting

    async def _outside(self, specialist: Specialist, inside: Answered, calibration: Calibration) -> OutOfScope | None:
        texts = [row.text for row in self.dataset.rows(Part.BACKGROUND) if row.group == Part.TEST]
        if not texts and specialist.scope is not None:
            texts = questions_of_others(self.recipe.specialist, open_scope_encoder(self.store))
        if specialist.costly:
            texts = texts[: self.recipe.evaluation.generalist_rows]
        if not texts or any(item.confidence is None for item in inside.predictions):
            return None
        found = await specialist.answer(texts, "specialist on texts of other domains", self.note)
        thresholds = calibration.threshold, self.scope_threshold
        return judge_outside(inside.predictions, texts, found, *thresholds, sure=inside.scores is not None)

    def _with_vectors(
        self, manifest: AdapterManifest, rows: list[Row], prompted: list[Row]
    ) -> tuple[list[Answered], list[PromptTried]]:
        """The runners that need the base encoder's vectors of the training rows."""
        opened = engine_for(embedding.BACKEND, self.store, ModelUse(SENTENCE_ENCODER, context_tokens=512, embed=True))
        engine = self._runner.run(opened.__aenter__())
        try:
            train = list(self.dataset.rows(Part.TRAIN))
            dev = list(self.dataset.rows(Part.DEV))
            vectors = self._embed(engine, train)
            neighbours = embedding.Neighbours(train, vectors)
            found = self._classical(manifest, engine, rows, neighbours, dev) if self.options.baselines else []
            prompts: list[PromptTried] = []
            if self.options.generalist:
                asked_on = sample(dev or train, 0)
                chosen, _ = usable_rows(self.task, asked_on, self.recipe.evaluation.selection_rows, self.note)
                both = (self._embed(engine, chosen), self._embed(engine, prompted))
                asked, prompts = self._runner.run(self._generalist(neighbours, chosen, prompted, both))
                found.append(asked)
            return found, prompts
        finally:
            self._runner.run(opened.__aexit__(None, None, None))

    def _embed(self, engine: Engine, rows: Sequence[Row]) -> np.ndarray:
        texts = [row.text for row in rows]
        return self._runner.run(embedding.embed(engine, texts, self.cache, self.note))

    def _classical(
        self,
        manifest: AdapterManifest,
        engine: Engine,
        rows: list[Row],
        neighbours: embedding.Neighbours,
        dev: list[Row],
    ) -> list[Answered]:
        dev_vectors = self._embed(engine, dev) if dev else np.zeros((0, neighbours.vectors.shape[1]), np.float32)
        self._runner.run(engine.start())

        def vector_of(text: str) -> np.ndarray:
            return np.asarray(self._runner.run(engine.backend.embed(SENTENCE_ENCODER, [text])).vectors[0], np.float32)

        metric = self.recipe.evaluation.metric
        fits = classical.baselines(neighbours, dev, dev_vectors, vector_of, self.note, metric, manifest.engine)
        identity = f"{self.dataset.manifest.content}\n{engine.model_hash}{classical.identity_of(metric)}"
        found = []
        for name, kind, fit in fits:
            kept = Kept(self.cache / f"{name.replace(' ', '-').lower()}-{kind}.jsonl")
            about, predictions = classical.predict_kept(name, identity, rows, kept, fit)
            found.append(self._answered(name, kind, about, rows, predictions, Price()))
        return found

    async def _generalist(
        self, neighbours: embedding.Neighbours, chosen: list[Row], prompted: list[Row], vectors: tuple[Any, Any]
    ) -> tuple[Answered, list[PromptTried]]:
        async with generalist.generalist_engine(self.recipe, self.store) as engine:
            asking = generalist.Asking(self.recipe, self.labels, self.task, engine, neighbours, self.cache)
            best, tried = await generalist.best_prompt(asking, chosen, vectors[0], self.note)
            predictions, answers = await asking.answer(best, prompted, vectors[1], self.note)
        return self._generalist_answered(best, prompted, predictions, answers), tried

    def _generalist_answered(
        self, best: Prompt, rows: list[Row], predictions: list[Prediction], answers: list[str | None]
    ) -> Answered:
        about = f"{self.recipe.evaluation.generalist}, {best.name}: the best of the prompts tried on dev"
        price = self.options.generalist_price
        return judge(self.task, "generalist", Kind.GENERALIST, about, rows, predictions, answers, price)

    def _answered(
        self, name: str, kind: Kind, about: str, rows: list[Row], predictions: list[Prediction], price: Price
    ) -> Answered:
        """Constrained answers are read as they stand; free ones by the task. How sure a free answer is means something
        only of the specialist's, which was calibrated."""
        if not self.labels and kind is not Kind.SPECIALIST:
            predictions = [structs.replace(item, confidence=None) for item in predictions]
        answers = [
            (item.text if item.text in self.labels else None) if self.labels else self.task.read(row, item.text)
            for row, item in zip(rows, predictions, strict=True)
        ]
        return judge(self.task, name, kind, about, rows, predictions, answers, price)

    def _write(self, report: EvaluationReport, everyone: list[Answered]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        end = suffix_beside(self.run_folder, report)
        encoder = msgspec.json.Encoder()
        lines = (line for answered in everyone for line in prediction_lines(answered))
        with written_whole(self.folder / f"predictions{end}.jsonl") as partial, partial.open("wb") as file:
            file.writelines(encoder.encode(line) + b"\n" for line in lines)
        write_markdown(self.folder / f"report{end}.md", report)
        write_page(self.folder / f"report{end}.html", report)
        name = REPORT.replace(".", f"{end}.")
        write_json(self.folder / name, report)
        if end == "-partial":
            self.note(f"{self.folder / REPORT} is of more rows or runners, so it stays as it is.")
