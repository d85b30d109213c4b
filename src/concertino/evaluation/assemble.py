"""What was measured of a specialist and of those beside it -> the report."""

from datetime import UTC, datetime

import numpy as np
from msgspec import Struct

from concertino.datasets.folder import Dataset
from concertino.evaluation.calibration import Scores, apply_threshold
from concertino.evaluation.cost import Energy, describe_machine
from concertino.evaluation.measured import (
    Answered,
    by_label,
    compare_all,
    confusions,
    examples,
    group_of,
    measure,
    notes_on_labels,
)
from concertino.evaluation.metrics import reliability, risk_coverage
from concertino.evaluation.results import Calibration, EvaluationReport, Forgetting, Looks, OutOfScope, PromptTried
from concertino.evaluation.setup import Options
from concertino.evaluation.tasks.base import Task
from concertino.evaluation.tasks.program import LeftOut, ProgramTask, barriers_line, left_out_line
from concertino.models.adapters import AdapterManifest
from concertino.recipe import Recipe
from concertino.registry.gate import MIN_LABEL_ROWS
from concertino.training.routing.figures import expected_calibration_error


class Measured(Struct, frozen=True):
    """What an evaluation found, before any figure is made of it."""

    manifest: AdapterManifest
    adapter: str
    """Hash of the adapter."""
    labels: tuple[str, ...]
    specialist: Answered
    others: list[Answered]
    calibration: Calibration
    scope_threshold: float | None
    outside: OutOfScope | None
    forgetting: Forgetting
    prompts: list[PromptTried]
    looks: Looks
    left_out: list[LeftOut]
    """Rows that could not be measured on."""
    shared_rows: int
    """Rows that the prompted models answered too."""


def assemble(recipe: Recipe, dataset: Dataset, options: Options, task: Task, measured: Measured) -> EvaluationReport:
    """The report of one specialist: every figure, and the notes without which some would be misread."""
    specialist, others, calibration = measured.specialist, measured.others, measured.calibration
    metric, everyone, mine = recipe.evaluation.metric, [specialist, *others], specialist.scores
    scored: list[tuple[str, Scores]] = [
        (item.name, item.scores) for item in everyone if item.scores is not None and len(item.rows) >= 20
    ]
    threshold = calibration.threshold
    groups = len({group_of(row) for row in specialist.rows})
    return EvaluationReport(
        name=recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        part=options.part,
        engine=measured.manifest.engine,
        base=measured.manifest.base,
        metric=metric,
        recipe_digest=recipe.digest,
        dataset_content=dataset.manifest.content,
        adapter=measured.adapter,
        rows=len(specialist.rows),
        shared_rows=measured.shared_rows,
        groups=groups,
        runners=[measure(item, metric, measured.labels) for item in everyone],
        comparisons=compare_all(specialist, others, metric, measured.labels),
        calibration=calibration,
        on_test=apply_threshold(mine, threshold) if mine is not None and threshold is not None else None,
        out_of_scope=measured.outside,
        scope_threshold=measured.scope_threshold,
        labels=by_label(specialist, others, measured.labels),
        confusions=confusions(specialist),
        forgetting=measured.forgetting,
        prompts=measured.prompts,
        looks=measured.looks,
        energy=Energy().note,
        machine=describe_machine(),
        command=options.command,
        notes=_notes(recipe, dataset, options, task, measured, groups),
        curves={name: risk_coverage(item.confidence, item.right) for name, item in scored},
        reliability=reliability(mine.confidence, mine.right) if mine is not None else [],
        left_out=len(measured.left_out),
        text_temperature=calibration.temperature if recipe.free_text and mine is not None else None,
        examples=examples(specialist),
        right_score=recipe.evaluation.right_score,
    )


def _notes(
    recipe: Recipe, dataset: Dataset, options: Options, task: Task, measured: Measured, groups: int
) -> list[str]:
    specialist, others = measured.specialist, measured.others
    notes = [left_out_line(measured.left_out, len(specialist.rows))] if measured.left_out else []
    plan = recipe.evaluation
    notes += notes_on_labels(specialist, others, plan.metric, plan.alpha, MIN_LABEL_ROWS)
    if isinstance(task, ProgramTask):
        notes.append(barriers_line(task))
    if dataset.manifest.recipe_digest != recipe.data_digest:
        notes.append("The recipe was changed after the dataset was curated.")
    if groups < len(specialist.rows):
        notes.append(
            f"{len(specialist.rows)} rows come in {groups} groups: intervals of differences draw whole groups; "
            "Wilson's intervals, McNemar's test and the threshold's promise take rows as independent."
        )
    if 0 < options.rows < dataset.manifest.parts[options.part].rows:
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
