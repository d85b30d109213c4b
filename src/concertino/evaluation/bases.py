"""`concertino evaluate --base`: base models as they are, each with its best prompt, on the same rows."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from concertino.backends.base import ModelUse
from concertino.datasets.folder import Dataset, Part, Row
from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import EvaluationRefused
from concertino.evaluation import embedding
from concertino.evaluation.bases_report import markdown, page
from concertino.evaluation.checks import check_overlap, record_look
from concertino.evaluation.cost import Energy, describe_machine
from concertino.evaluation.generalist import Asking, best_prompt, prompted_engine
from concertino.evaluation.measured import Answered, compare_pairs, group_of, judge, measure, prediction_lines
from concertino.evaluation.report import right_line
from concertino.evaluation.results import FOLDER, REPORT, BasesReport, Kind, Looks, PromptTried
from concertino.evaluation.running import Note, engine_for
from concertino.evaluation.setup import Options, sample, task_for
from concertino.evaluation.tasks.program import LeftOut, ProgramTask, barriers_line, left_out_line, usable_rows
from concertino.models import Store
from concertino.recipe import Recipe
from concertino.whole_file import write_json


def evaluate_bases(
    recipe: Recipe, dataset: Dataset, bases: Sequence[str], out: Path, store: Store, options: Options, note: Note
) -> BasesReport:
    """Measure models that nothing was trained on, and write OUT/evaluation/{evaluation.json, report.md, report.html,
    predictions.jsonl}.

    Of `options` those of the specialist and of the baselines do not matter; without `rows` the recipe's
    `evaluation.generalist_rows` are measured on. What was predicted before is not predicted again. Raises
    EvaluationRefused where the figures would mean nothing, ModelMissing where a model is not pulled.
    """
    if recipe.name != dataset.manifest.name:
        raise EvaluationRefused(f"The recipe is for {recipe.name}, and the dataset holds {dataset.manifest.name}.")
    _check_models(bases, store)
    run = _Bases(recipe, dataset, out / FOLDER, store, note)
    ranked = sample(check_overlap(dataset, options.part), 0)
    rows, left_out = usable_rows(run.task, ranked, options.rows or recipe.evaluation.generalist_rows, note)
    answered, prompts = asyncio.run(run.answer(bases, rows))
    looks = Looks(0, 0)
    if options.part is Part.TEST:
        for base in bases:
            weights = next(iter(store.require(base).files.values())).sha256
            looks = record_look(out, dataset.manifest.content, weights)
    report = run.report(answered, prompts, left_out, looks, options)
    run.write(report, answered)
    return report


def _check_models(bases: Sequence[str], store: Store) -> None:
    """Before the first hour, not after it."""
    if len(set(bases)) < len(bases):
        raise EvaluationRefused("A base is named twice; name each once.", param="base")
    store.require(SENTENCE_ENCODER)
    for base in bases:
        if not any(file.endswith(".gguf") for file in store.require(base).files):
            raise EvaluationRefused(
                f"{base} is no language model that can be prompted: the store has no GGUF file of it. "
                "`concertino models list` shows those that are here.",
                param="base",
            )


class _Bases:
    """One evaluation of some bases: the state that its steps share."""

    def __init__(self, recipe: Recipe, dataset: Dataset, folder: Path, store: Store, note: Note) -> None:
        self.recipe, self.dataset, self.folder, self.store, self.note = recipe, dataset, folder, store, note
        self.labels: tuple[str, ...] = () if recipe.free_text else recipe.labels or dataset.labels
        self.task = task_for(recipe, self.labels)

    async def answer(
        self, bases: Sequence[str], rows: list[Row]
    ) -> tuple[list[Answered], dict[str, list[PromptTried]]]:
        """Each base's answers with the prompt that was best for it on dev."""
        train = list(self.dataset.rows(Part.TRAIN))
        candidates = sample(list(self.dataset.rows(Part.DEV)) or train, 0)
        chosen, _ = usable_rows(self.task, candidates, self.recipe.evaluation.selection_rows, self.note)
        of_train, of_chosen, of_rows = await self._vectors(train, chosen, rows)
        neighbours = embedding.Neighbours(train, of_train)
        everyone: list[Answered] = []
        prompts: dict[str, list[PromptTried]] = {}
        for base in bases:
            async with prompted_engine(base, self.store) as engine:
                cache = self.folder / "cache"
                asking = Asking(self.recipe, self.labels, self.task, engine, neighbours, cache, base)
                best, prompts[base] = await best_prompt(asking, chosen, of_chosen, self.note)
                predictions, answers = await asking.answer(best, rows, of_rows, self.note)
            about = f"untuned, {best.name}: the best of the prompts tried on dev"
            everyone.append(judge(self.task, base, Kind.BASE, about, rows, predictions, answers))
        return everyone, prompts

    async def _vectors(self, *parts: list[Row]) -> list[np.ndarray]:
        use = ModelUse(SENTENCE_ENCODER, context_tokens=512, embed=True)
        async with engine_for(embedding.BACKEND, self.store, use) as engine:
            cache = self.folder / "cache"
            return [await embedding.embed(engine, [row.text for row in rows], cache, self.note) for rows in parts]

    def report(
        self,
        everyone: list[Answered],
        prompts: dict[str, list[PromptTried]],
        left_out: list[LeftOut],
        looks: Looks,
        options: Options,
    ) -> BasesReport:
        metric, rows = self.recipe.evaluation.metric, everyone[0].rows
        measured_on = len(rows) + len(left_out)
        notes = [left_out_line(left_out, len(rows))] if left_out else []
        if self.recipe.evaluation.right_score:
            notes.append(right_line(self.recipe.evaluation.right_score))
        if isinstance(self.task, ProgramTask):
            notes.append(barriers_line(self.task))
        if self.dataset.manifest.recipe_digest != self.recipe.data_digest:
            notes.append("The recipe was changed after the dataset was curated.")
        if measured_on < self.dataset.manifest.parts[options.part].rows:
            notes.append(f"A sample of {len(rows)} rows, not all of the part.")
        return BasesReport(
            name=self.recipe.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            part=options.part,
            metric=metric,
            recipe_digest=self.recipe.digest,
            dataset_content=self.dataset.manifest.content,
            rows=len(rows),
            groups=len({group_of(row) for row in rows}),
            left_out=len(left_out),
            runners=[measure(item, metric, self.labels) for item in everyone],
            pairs=compare_pairs(everyone, metric, self.labels),
            prompts=prompts,
            looks=looks,
            energy=Energy().note,
            machine=describe_machine(),
            command=options.command,
            notes=notes,
        )

    def write(self, report: BasesReport, everyone: list[Answered]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        encoder = msgspec.json.Encoder()
        lines = (line for answered in everyone for line in prediction_lines(answered))
        (self.folder / "predictions.jsonl").write_bytes(b"".join(encoder.encode(line) + b"\n" for line in lines))
        (self.folder / "report.md").write_text(markdown(report), "utf-8")
        (self.folder / "report.html").write_text(page(report), "utf-8")
        write_json(self.folder / REPORT, report)
