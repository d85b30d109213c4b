"""Task files of lm-evaluation-harness (EleutherAI, YAML tasks of version 0.4) over a local JSON Lines file.

Read are the keys that decide what is asked and what is right; a key that would change that and is not known here is
refused by name, so that a figure never means something else than its task file says. Multiple choice is one greedy
decode constrained to the choices, not a comparison of the choices' summed log-likelihoods, so figures for it can
differ from the harness's.
"""

import ast
import asyncio
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct, field, structs

from concertino.backends.base import Capability
from concertino.datasets.folder import Row
from concertino.errors import ConfigurationError, EvaluationRefused
from concertino.evaluation.results import FOLDER
from concertino.evaluation.running import Asked, Kept, Note, Prediction, predict_all
from concertino.evaluation.setup import sample
from concertino.evaluation.specialist import Specialist, specialist_of
from concertino.evaluation.statistics import wilson
from concertino.models import Store
from concertino.recipe import Recipe
from concertino.specialists.skills import skill_generation

MULTIPLE_CHOICE, GENERATE = "multiple_choice", "generate_until"
_METRICS = {MULTIPLE_CHOICE: ("acc",), GENERATE: ("exact_match",)}
_MOST_TOKENS = 256
"""What the harness lets a model write where a task says nothing."""


class MetricSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `metric_list`."""

    metric: str
    aggregation: str = "mean"
    higher_is_better: bool = True
    ignore_case: bool = False
    ignore_punctuation: bool = False


class GenerationSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """`generation_kwargs`, greedy only."""

    until: str | tuple[str, ...] = ("\n\n",)
    max_gen_toks: int = _MOST_TOKENS
    do_sample: bool = False
    temperature: float = 0.0


class TaskFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a task file that are understood."""

    task: str
    dataset_path: str
    doc_to_text: str
    doc_to_target: str | int | list[str]
    output_type: str = GENERATE
    doc_to_choice: str | list[str] = ""
    dataset_name: str | None = None
    dataset_kwargs: dict[str, Any] = field(default_factory=dict)
    test_split: str | None = None
    validation_split: str | None = None
    description: str = ""
    target_delimiter: str = " "
    generation_kwargs: GenerationSpec = GenerationSpec()
    metric_list: tuple[MetricSpec, ...] = ()
    num_fewshot: int = 0
    repeats: int = 1
    should_decontaminate: bool = False
    tag: str | list[str] | None = None
    task_alias: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class Question(Struct, frozen=True):
    """One document, its templates filled in."""

    row: Row
    choices: tuple[str, ...]


class MetricValue(Struct, frozen=True):
    """A share of rows with Wilson's 95 % interval."""

    value: float
    lower: float
    upper: float


class TaskReport(Struct, frozen=True):
    """What a specialist did on a task file."""

    task: str
    specialist: str
    rows: int
    metrics: dict[str, MetricValue]
    format_failures: int
    file: str


def run_task(path: Path, recipe: Recipe, run_folder: Path, store: Store, rows: int, note: Note) -> TaskReport:
    """Run a task file with a run's specialist; written to RUN/evaluation/tasks/NAME.json.

    Raises EvaluationRefused for keys and data that cannot be followed, ConfigurationError without Jinja2.
    """
    task = read_task(path)
    by_id = {question.row.id: question for question in questions(task, path)}
    asked = [by_id[row.id] for row in sample([question.row for question in by_id.values()], rows)]
    with asyncio.Runner() as runner:
        found, failures = runner.run(_answer(task, asked, recipe, run_folder, store, note))
    metrics = {spec.metric: _measure(spec, asked, found) for spec in _metrics(task)}
    report = TaskReport(task.task, recipe.name, len(asked), metrics, failures, str(path))
    folder = run_folder / FOLDER / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task.task.replace('/', '_')}.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(report)) + b"\n"
    )
    return report


def read_task(path: Path) -> TaskFile:
    """Read a task file. Raises EvaluationRefused, naming the key that is not understood."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
        task = msgspec.convert(raw, TaskFile)
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationRefused(f"Cannot read the task file {path}: {error}.") from error
    except yaml.YAMLError as error:
        code = (
            " Python functions (`!function`) are not run: write it as a template." if "!function" in str(error) else ""
        )
        raise EvaluationRefused(f"{path} is not plain YAML: {error}.{code}") from error
    except msgspec.ValidationError as error:
        known = ", ".join(item.name for item in structs.fields(TaskFile))
        raise EvaluationRefused(f"{path}: {error}. Not supported here; supported keys: {known}.") from error
    _check(task, path)
    return task


def _check(task: TaskFile, path: Path) -> None:
    def refuse(key: str, what: str) -> None:
        raise EvaluationRefused(f"{path}: {key}: {what}", param=key)

    if task.output_type not in _METRICS:
        refuse("output_type", f"{task.output_type!r} is not supported; use {MULTIPLE_CHOICE} or {GENERATE}.")
    if task.num_fewshot:
        refuse("num_fewshot", "a specialist is asked without examples; set it to 0.")
    if task.repeats != 1:
        refuse("repeats", "answers are greedy, so repeating them says nothing; set it to 1.")
    if task.generation_kwargs.do_sample or task.generation_kwargs.temperature:
        refuse("generation_kwargs", "only greedy decoding is supported: do_sample false, temperature 0.")
    if task.output_type == MULTIPLE_CHOICE and not task.doc_to_choice:
        refuse("doc_to_choice", "multiple choice needs it.")
    for spec in task.metric_list:
        if spec.metric not in _METRICS[task.output_type] or spec.aggregation != "mean" or not spec.higher_is_better:
            refuse("metric_list", f"{spec.metric!r} by {spec.aggregation!r}: not supported for {task.output_type}.")


def questions(task: TaskFile, path: Path) -> list[Question]:
    """The documents with their templates filled in. Raises EvaluationRefused with the document's number."""
    fill = _templates()
    found = []
    for number, document in enumerate(_documents(_data_file(task, path)), 1):
        try:
            choices = _choices(task, document, fill)
            text = fill(task.description, document) + _field_or_template(task.doc_to_text, document, fill)
            right = _targets(task, document, choices, fill)
        except (KeyError, IndexError, ValueError, TypeError, SyntaxError) as error:
            raise EvaluationRefused(f"{path}, document {number}: {error}. Correct the template or the data.") from error
        found.append(Question(Row(str(number), text, right), choices))
    if not found:
        raise EvaluationRefused(f"{path}: its data file has no documents.")
    return found


def _data_file(task: TaskFile, path: Path) -> Path:
    """The JSON Lines file, relative to the task file."""
    unknown = task.dataset_kwargs.keys() - {"data_files"}
    if unknown:
        raise EvaluationRefused(f"{path}: dataset_kwargs.{min(unknown)} is not supported; give data_files.")
    files: Any = task.dataset_kwargs.get("data_files", "")
    split = task.test_split or task.validation_split or ""
    if isinstance(files, dict):
        files = files.get(split) or (next(iter(files.values())) if len(files) == 1 else "")
    named = files if task.dataset_path == "json" else task.dataset_path
    file = path.parent / str(named or "")
    if not file.is_file() or file.suffix not in (".jsonl", ".json"):
        raise EvaluationRefused(
            f"{path}: dataset_path {task.dataset_path!r} leads to no local .jsonl file (looked for {file}). Nothing is "
            "downloaded: save the split as JSON Lines and name it, or use `json` with dataset_kwargs.data_files."
        )
    return file


def _documents(file: Path) -> Iterable[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.DecodeError as error:
                    raise EvaluationRefused(f"{file}, line {number}: {error}.") from error


Fill = Callable[[str, dict[str, Any]], str]


def _templates() -> Fill:
    """Fills templates in a sandbox: a task file can read its document and nothing else."""
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise ConfigurationError(
            "Task files need Jinja2. Install it with `pip install 'concertino[evaluate]'`.", param="task"
        ) from error
    # Templates make prompts, not pages, so nothing is escaped.
    sandbox = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)

    def fill(template: str, document: dict[str, Any]) -> str:
        try:
            return str(sandbox.from_string(template).render(**document))
        except (jinja2.TemplateError, OverflowError) as error:
            raise ValueError(f"template {template!r}: {error}") from error

    return fill


def _field_or_template(template: str, document: dict[str, Any], fill: Fill) -> str:
    return str(document[template]) if template in document else fill(template, document)


def _choices(task: TaskFile, document: dict[str, Any], fill: Fill) -> tuple[str, ...]:
    if task.output_type != MULTIPLE_CHOICE:
        return ()
    found: Any = task.doc_to_choice
    if isinstance(found, str):
        found = document[found] if found in document else ast.literal_eval(fill(found, document))
    else:
        found = [fill(choice, document) for choice in found]
    if not isinstance(found, list) or not found:
        raise ValueError(f"doc_to_choice gives {found!r} in place of a list of choices")
    return tuple(str(choice) for choice in found)


def _targets(task: TaskFile, document: dict[str, Any], choices: tuple[str, ...], fill: Fill) -> tuple[str, ...]:
    said: Any = task.doc_to_target
    if isinstance(said, str):
        said = document[said] if said in document else fill(said, document)
    elif isinstance(said, list):
        said = [fill(item, document) for item in said]
    if not choices:
        return tuple(str(item) for item in said) if isinstance(said, list) else (str(said),)
    place = int(said) if isinstance(said, int) or str(said).strip().isdigit() else choices.index(str(said).strip())
    return (choices[place],)


async def _answer(
    task: TaskFile, asked: list[Question], recipe: Recipe, run_folder: Path, store: Store, note: Note
) -> tuple[list[str | None], int]:
    """The answers, None for those in no acceptable form, and their number."""
    async with specialist_of(recipe, run_folder, store) as specialist:
        can = specialist.engine.capabilities
        if Capability.LABELS in can and not all(set(one.choices) & set(specialist.skill.labels) for one in asked):
            raise EvaluationRefused(
                f"{recipe.name} answers with its labels ({', '.join(specialist.skill.labels[:5])}, ...), and the task "
                f"{task.task} asks for others. Only a causal adapter can answer it.",
                param="task",
            )
        kept = Kept(specialist.cache / "tasks.jsonl")
        generations = [_asked(task, question, specialist) for question in asked]
        found = await predict_all(specialist.engine, kept, generations, f"task {task.task}", note)
    answers = [_read(question, prediction) for question, prediction in zip(asked, found, strict=True)]
    return answers, sum(answer is None for answer in answers)


def _asked(task: TaskFile, question: Question, specialist: Specialist) -> Asked:
    skill = structs.replace(specialist.skill, labels=question.choices)
    generation = skill_generation(specialist.card, skill, question.row.text, specialist.engine.capabilities)
    if not question.choices:
        spec = task.generation_kwargs
        until = (spec.until,) if isinstance(spec.until, str) else spec.until
        sampling = structs.replace(generation.sampling, stop=until, max_tokens=spec.max_gen_toks)
        generation = structs.replace(generation, sampling=sampling)
    return Asked(generation, question.choices)


def _read(question: Question, prediction: Prediction) -> str | None:
    if question.choices:
        return prediction.text if prediction.text in question.choices else None
    return prediction.text.strip() or None


def _metrics(task: TaskFile) -> tuple[MetricSpec, ...]:
    return task.metric_list or (MetricSpec(_METRICS[task.output_type][0]),)


def _measure(spec: MetricSpec, asked: list[Question], answers: list[str | None]) -> MetricValue:
    def plain(text: str) -> str:
        if spec.ignore_case:
            text = text.lower()
        if spec.ignore_punctuation:
            text = text.translate(str.maketrans("", "", string.punctuation))
        return text.strip()

    right = sum(
        answer is not None and plain(answer) in {plain(target) for target in question.row.labels}
        for question, answer in zip(asked, answers, strict=True)
    )
    interval = wilson(right, len(asked))
    return MetricValue(right / len(asked), interval.lower, interval.upper)
