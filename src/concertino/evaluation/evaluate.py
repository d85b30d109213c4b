"""`concertino evaluate`: a specialist, its base, the generalist and the classical baselines on the same rows."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, structs

from concertino.backends.base import ModelUse
from concertino.backends.scope import FILE as SCOPE
from concertino.config import Price
from concertino.datasets.folder import Dataset, Part, Row
from concertino.errors import EvaluationRefused
from concertino.evaluation import classical, embedding, generalist
from concertino.evaluation.calibration import Scores, apply_threshold
from concertino.evaluation.checks import check_overlap, check_same_data, record_look
from concertino.evaluation.cost import Energy, describe_machine
from concertino.evaluation.forgetting import OF_ENCODERS, measure_forgetting
from concertino.evaluation.measured import (
    Answered,
    by_label,
    compare_all,
    confusions,
    examples,
    group_of,
    judge,
    measure,
    notes_on_labels,
    prediction_lines,
)
from concertino.evaluation.metrics import reliability, risk_coverage
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
from concertino.evaluation.specialist import Specialist, calibrate, specialist_of
from concertino.evaluation.tasks.base import Task
from concertino.evaluation.tasks.labels import LabelTask
from concertino.evaluation.tasks.program import LeftOut, ProgramTask, barriers_line, left_out_line, usable_rows
from concertino.evaluation.tasks.prose import ProseTask
from concertino.evaluation.tasks.text import TextTask
from concertino.models import Store
from concertino.models.adapters import AdapterManifest, read_adapter
from concertino.recipe import Metric, Recipe
from concertino.registry.gate import MIN_LABEL_ROWS
from concertino.training.result import ADAPTER
from concertino.training.routing.figures import expected_calibration_error
from concertino.training.train import locked


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What of an evaluation is run."""

    rows: int = 0
    """Rows of the part at most, drawn by a hash; 0 is all."""
    part: Part = Part.TEST
    generalist: bool = True
    baselines: bool = True
    price: Price = Price()
    """Of the specialist."""
    generalist_price: Price = Price()
    command: str = ""
    """The command that repeats this, for the report."""


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


def sample(rows: Sequence[Row], most: int) -> list[Row]:
    """The first `most` rows in the order of a hash (0: all); a smaller sample is a part of every larger one."""
    ranked = sorted(rows, key=lambda row: hashlib.sha256(f"{row.id}\n{row.text}".encode("utf-8", "replace")).digest())
    return ranked[:most] if most else ranked


def task_for(recipe: Recipe, labels: tuple[str, ...]) -> Task:
    """The task that a recipe describes."""
    if recipe.evaluation.metric is Metric.TESTS:
        return ProgramTask(recipe.name)
    if recipe.evaluation.metric.graded:
        return ProseTask(recipe.name, recipe.evaluation.metric, recipe.evaluation.right_score)
    if recipe.free_text or not labels:
        return TextTask(recipe.name, recipe.evaluation.metric)
    return LabelTask(recipe.name, labels)


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
        self.left_out: list[LeftOut] = []
        self.scope_threshold: float | None = None

    def run(self, rows: list[Row]) -> EvaluationReport:
        for name in self._models():
            self.store.require(name)  # before the first hour, not after it
        rows, self.left_out = usable_rows(self.task, rows, self.options.rows, self.note)
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
        report = self._assemble(
            manifest, adapter, looks, specialist, others, calibration, outside, forgetting, prompts, len(prompted)
        )
        self._write(report, [specialist, *others])
        return report

    def _models(self) -> list[str]:
        wanted = [embedding.MODEL] if self.options.baselines or self.options.generalist else []
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
        opened = engine_for(embedding.BACKEND, self.store, ModelUse(embedding.MODEL, context_tokens=512, embed=True))
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
            return np.asarray(self._runner.run(engine.backend.embed(embedding.MODEL, [text])).vectors[0], np.float32)

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

    def _assemble(
        self,
        manifest: AdapterManifest,
        adapter: str,
        looks: Looks,
        specialist: Answered,
        others: list[Answered],
        calibration: Calibration,
        outside: OutOfScope | None,
        forgetting: Forgetting,
        prompts: list[PromptTried],
        shared: int,
    ) -> EvaluationReport:
        metric, everyone, mine = self.recipe.evaluation.metric, [specialist, *others], specialist.scores
        scored: list[tuple[str, Scores]] = [
            (item.name, item.scores) for item in everyone if item.scores is not None and len(item.rows) >= 20
        ]
        threshold = calibration.threshold
        groups = len({group_of(row) for row in specialist.rows})
        return EvaluationReport(
            name=self.recipe.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            part=self.options.part,
            engine=manifest.engine,
            base=manifest.base,
            metric=metric,
            recipe_digest=self.recipe.digest,
            dataset_content=self.dataset.manifest.content,
            adapter=adapter,
            rows=len(specialist.rows),
            shared_rows=shared,
            groups=groups,
            runners=[measure(item, metric, self.labels) for item in everyone],
            comparisons=compare_all(specialist, others, metric, self.labels),
            calibration=calibration,
            on_test=apply_threshold(mine, threshold) if mine is not None and threshold is not None else None,
            out_of_scope=outside,
            scope_threshold=self.scope_threshold,
            labels=by_label(specialist, others, self.labels),
            confusions=confusions(specialist),
            forgetting=forgetting,
            prompts=prompts,
            looks=looks,
            energy=Energy().note,
            machine=describe_machine(),
            command=self.options.command,
            notes=self._notes(specialist, others, groups),
            curves={name: risk_coverage(item.confidence, item.right) for name, item in scored},
            reliability=reliability(mine.confidence, mine.right) if mine is not None else [],
            left_out=len(self.left_out),
            text_temperature=calibration.temperature if self.recipe.free_text and mine is not None else None,
            examples=examples(specialist),
            right_score=self.recipe.evaluation.right_score,
        )

    def _notes(self, specialist: Answered, others: list[Answered], groups: int) -> list[str]:
        notes = [left_out_line(self.left_out, len(specialist.rows))] if self.left_out else []
        plan = self.recipe.evaluation
        notes += notes_on_labels(specialist, others, plan.metric, plan.alpha, MIN_LABEL_ROWS)
        if isinstance(self.task, ProgramTask):
            notes.append(barriers_line(self.task))
        if self.dataset.manifest.recipe_digest != self.recipe.data_digest:
            notes.append("The recipe was changed after the dataset was curated.")
        if groups < len(specialist.rows):
            notes.append(
                f"{len(specialist.rows)} rows come in {groups} groups: intervals of differences draw whole groups; "
                "Wilson's intervals, McNemar's test and the threshold's promise take rows as independent."
            )
        if 0 < self.options.rows < self.dataset.manifest.parts[self.options.part].rows:
            notes.append(f"A sample of {len(specialist.rows)} rows, not all of the part.")
        scored = [max(item.scores.values()) for item in specialist.predictions if item.scores]
        if len(scored) == len(specialist.rows):
            error = expected_calibration_error(np.exp(scored), np.asarray(specialist.right, bool))
            notes.append(
                "The specialist's confidence is its label's probability times the probability that the text is one "
                f"that the skill is for. The expected calibration error of the label's alone is {error:.3f}."
            )
        unread = sum(item.too_long for answered in [specialist, *others] for item in answered.predictions)
        if unread:
            notes.append(f"{unread} texts did not fit a model and count as format failures.")
        return notes

    def _write(self, report: EvaluationReport, everyone: list[Answered]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        end = suffix_beside(self.run_folder, report)
        encoder = msgspec.json.Encoder()
        lines = (line for answered in everyone for line in prediction_lines(answered))
        partial = self.folder / ".predictions.partial"
        with partial.open("wb") as file:
            file.writelines(encoder.encode(line) + b"\n" for line in lines)
        partial.replace(self.folder / f"predictions{end}.jsonl")
        write_markdown(self.folder / f"report{end}.md", report)
        write_page(self.folder / f"report{end}.html", report)
        name = REPORT.replace(".", f"{end}.")
        partial = self.folder / f".{name}.partial"
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        partial.replace(self.folder / name)
        if end == "-partial":
            self.note(f"{self.folder / REPORT} is of more rows or runners, so it stays as it is.")
