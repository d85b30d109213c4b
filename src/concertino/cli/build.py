"""`concertino build`: a recipe and files -> a measured specialist that serves, in one command."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct, structs

from concertino import config
from concertino.cli import output
from concertino.cli.session import JsonOption, RecipeDataOption
from concertino.config import Settings
from concertino.default_models import SENTENCE_ENCODER

if TYPE_CHECKING:
    from concertino.datasets.folder import Dataset, DatasetManifest
    from concertino.evaluation.results import EvaluationReport
    from concertino.recipe import Recipe
    from concertino.registry.gate import Check

_STEPS = 4


class Plan(Struct, frozen=True):
    """What is built, where, and how much of it."""

    recipe_file: Path
    recipe: "Recipe"
    data_dir: Path
    folder: Path
    settings: Settings
    generalist: bool
    baselines: bool
    threads: int
    force: bool

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def run(self) -> Path:
        return self.folder / "run"


class Outcome(Struct, frozen=True):
    """How the gate decided: `promoted`, `serves already`, `refused` or `not asked`."""

    state: str
    version: str | None = None
    checks: tuple["Check", ...] = ()


def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe; `concertino new` writes one.")],
    data_dir: RecipeDataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of dataset and run; default: build/SPECIALIST/SKILL.")
    ] = None,
    promote: Annotated[
        bool | None,
        typer.Option(
            "--promote/--no-promote", help="Let it serve if it passes the gate; default: yes, if all was measured."
        ),
    ] = None,
    generalist: Annotated[bool, typer.Option(help="Run the recipe's generalist with its best prompt.")] = True,
    baselines: Annotated[bool, typer.Option(help="Run TF-IDF, nearest neighbours and the untuned encoder.")] = True,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads of the training; 0: the recipe's.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Make anew what an older recipe or other files made; an old run is kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a specialist: curate, train, evaluate and promote, in order.

    What is there already, made by this recipe from these files, is used as it is, so an interrupted build goes on
    where it stopped. The report is printed, and stays in RUN/evaluation. Exit status 5 means that all went well and
    the gate refused: the conditions that are not met are listed, and what serves is unchanged.

    \b
    Examples:
      concertino build recipe.yaml
      concertino build recipes/finance/sentiment.yaml --data-dir data --no-promote
    """
    from concertino.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    folder = out or Path("build") / loaded.specialist / loaded.skill
    plan = Plan(recipe, loaded, data_dir or recipe.parent, folder, config.load(), generalist, baselines, threads, force)
    measured_all = generalist and baselines
    _check_first(plan)
    if measured_all if promote is None else promote:
        from concertino.cli.promote import no_specialist_for

        if homeless := no_specialist_for(plan.settings, loaded.name):
            output.say(homeless)
    began = time.monotonic()
    try:
        report, outcome = _build(plan, measured_all if promote is None else promote)
    except KeyboardInterrupt:
        output.say("Interrupted. The same command goes on where it stopped.")
        raise typer.Exit(output.INTERRUPTED) from None
    if as_json:
        output.print_json(
            {
                "skill": loaded.name,
                "dataset": str(plan.dataset),
                "run": str(plan.run),
                "seconds": round(time.monotonic() - began, 1),
                "promotion": outcome,
                "report": report,
            }
        )
    else:
        _print(plan, report, outcome)
    if promote is None and not measured_all:
        output.say("Not promoted: the gate needs the generalist and the baselines. Build without leaving them out.")
    if outcome.state == "promoted":
        from concertino.cli.promote import say_who_serves

        say_who_serves(plan.settings, loaded.name)
    raise typer.Exit(output.REFUSED if outcome.state == "refused" else output.OK)


def _build(plan: Plan, promote: bool) -> "tuple[EvaluationReport, Outcome]":
    from concertino.datasets.folder import open_dataset
    from concertino.training.parts import check_parts

    with _step(1, f"Curate {plan.recipe.name}"):
        manifest = _curate(plan)
        parts = ", ".join(f"{info.rows} {part}" for part, info in manifest.parts.items())
        output.say(f"  {parts}; {len(manifest.labels)} labels. {plan.dataset / 'datasheet.md'} says what was removed.")
    dataset = open_dataset(plan.dataset)
    check_parts(plan.recipe, dataset)
    with _step(2, "Train"):
        _train(plan, dataset)
    with _step(3, "Evaluate"):
        report = _kept_report(plan, dataset)
        if report is not None:
            output.say(f"{plan.run} was evaluated already, and the report is used as it is.")
        else:
            from concertino.cli.evaluate import measured

            report = measured(
                plan.recipe,
                dataset,
                plan.run,
                plan.settings,
                generalist=plan.generalist,
                baselines=plan.baselines,
            )
    if not promote:
        return report, Outcome("not asked")
    with _step(4, "Promote"):
        return report, _promote(plan)


@contextmanager
def _step(number: int, title: str) -> Iterator[None]:
    """A heading before, and the time that it took after."""
    began = time.monotonic()
    output.say(f"[{number}/{_STEPS}] {title}")
    yield
    output.say(f"[{number}/{_STEPS}] done in {_duration(time.monotonic() - began)}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _check_first(plan: Plan) -> None:
    """Raises ModelMissing, ConfigurationError or RecipeInvalid for what would else be missed after an hour."""
    from concertino.errors import ConfigurationError, ModelMissing, RecipeInvalid
    from concertino.models import Store
    from concertino.models.catalogue import load_catalogue
    from concertino.training.result import RESULT

    base = plan.recipe.training.base
    if Path(base).is_dir():
        raise RecipeInvalid(
            f"{plan.recipe_file}: training.base: {base} is a folder, which can be trained on but not measured or "
            "served. Add the model to the catalogue (docs/models.md) and name it here.",
            param="training.base",
        )
    wanted = [base]
    if plan.generalist or plan.baselines:
        wanted.append(SENTENCE_ENCODER)
    if plan.generalist:
        wanted.append(plan.recipe.evaluation.generalist)
    catalogue, store = load_catalogue(plan.settings.home_path), Store(plan.settings.home_path)
    for name in wanted:
        catalogue.entry(name)
    missing = [name for name in dict.fromkeys(wanted) if store.manifest(name) is None]
    if missing:
        raise ModelMissing(
            f"{', '.join(missing)}: not here yet. Run `concertino pull {' '.join(missing)}`.", param=missing[0]
        )
    trained = (plan.run / RESULT).is_file()
    for library, extra, needed in (("torch", "train", not trained), ("sklearn", "evaluate", plan.baselines)):
        if needed and find_spec(library) is None:
            raise ConfigurationError(f"This needs {library}, which is not installed: pip install 'concertino[{extra}]'")


def _curate(plan: Plan) -> "DatasetManifest":
    from concertino.cli.curate import curated
    from concertino.errors import DataRefused

    try:
        return curated(plan.recipe, plan.data_dir, plan.dataset)
    except DataRefused:
        if not plan.force:
            raise
    return curated(plan.recipe, plan.data_dir, plan.dataset, force=True)


def _train(plan: Plan, dataset: "Dataset") -> None:
    from concertino.errors import TrainingRefused
    from concertino.models import Store
    from concertino.training.result import RESULT
    from concertino.training.train import train

    store, recipe = Store(plan.settings.home_path), _with_threads(plan.recipe, plan.threads)
    if (plan.run / RESULT).is_file():
        if _is_trained(plan, dataset):
            output.say(f"{plan.run} holds this training already, and is used as it is.")
            return
        if plan.force:
            _set_aside(plan.run)
    try:
        train(recipe, dataset, store, plan.run, output.say)
    except TrainingRefused as error:
        if not plan.force or error.param != "checkpoints":
            raise
        _set_aside(plan.run)
        train(recipe, dataset, store, plan.run, output.say)


def _is_trained(plan: Plan, dataset: "Dataset") -> bool:
    """Whether the run is of this recipe and dataset, on however many threads."""
    from concertino.errors import TrainingRefused
    from concertino.training.result import read_result

    try:
        found = read_result(plan.run)
    except TrainingRefused:
        return False
    digests = {_with_threads(plan.recipe, threads).training_digest for threads in (0, found.threads)}
    return found.recipe_digest in digests and found.dataset == dataset.manifest.content


def _with_threads(recipe: "Recipe", threads: int) -> "Recipe":
    """The recipe with so many threads; 0: its own."""
    return structs.replace(recipe, training=structs.replace(recipe.training, threads=threads)) if threads else recipe


def _set_aside(run: Path) -> None:
    """Move a run folder that no longer fits to a name beside it. Raises TrainingRefused where another run writes it."""
    from concertino.training.train import locked

    number = 1
    while (aside := run.with_name(f"{run.name}-old-{number}")).exists():
        number += 1
    with locked(run):
        run.rename(aside)
    output.say(f"{run} holds another training; it lies in {aside} now.")


def _kept_report(plan: Plan, dataset: "Dataset") -> "EvaluationReport | None":
    """The report in the run folder, where it is about this adapter, recipe and dataset and lacks nothing."""
    from concertino.datasets.folder import Part
    from concertino.errors import EvaluationRefused
    from concertino.evaluation.results import Kind, read_report
    from concertino.evaluation.running import adapter_hash
    from concertino.training.result import ADAPTER

    try:
        report = read_report(plan.run)
    except EvaluationRefused:
        return None
    content = dataset.manifest
    mine = (report.recipe_digest, report.dataset_content, report.adapter, report.part, report.rows + report.left_out)
    wanted = (plan.recipe.digest, content.content, adapter_hash(plan.run / ADAPTER), Part.TEST)
    lacking = (plan.generalist and report.runner(Kind.GENERALIST) is None) or (
        plan.baselines and report.runner(Kind.CLASSICAL) is None
    )
    return None if lacking or mine != (*wanted, content.parts[Part.TEST].rows) else report


def _promote(plan: Plan) -> Outcome:
    from concertino.cli.promotion import gather
    from concertino.registry import Registry
    from concertino.registry.gate import judge

    name, home = plan.recipe.name, plan.settings.home_path
    serving = _serving(plan)
    if serving:
        output.say(f"{name} {serving[:12]} serves already.")
        return Outcome("serves already", serving)
    registry = Registry(home)
    seen = registry.state()
    evidence, candidate = gather(plan.recipe_file, plan.run, plan.dataset, home, "", plan.settings)
    checks = judge(evidence)
    if not all(check.passed for check in checks):
        return Outcome("refused", None, checks)
    return Outcome("promoted", registry.promote(candidate.version, candidate.files, "", seen).version, checks)


def _serving(plan: Plan) -> str:
    """The version that serves the skill where it is this run's adapter by this recipe; else empty."""
    from concertino.errors import RegistryCorrupt
    from concertino.evaluation.running import adapter_hash
    from concertino.models.adapters import MANIFEST
    from concertino.registry import Registry
    from concertino.training.result import ADAPTER

    registry = Registry(plan.settings.home_path)
    entry = registry.state().skills.get(plan.recipe.name)
    if entry is None or not entry.version:
        return ""
    try:
        version = registry.read(plan.recipe.name, entry.version)
    except RegistryCorrupt:
        return ""
    adapter = version.files.get(f"{ADAPTER}/{MANIFEST}")
    same = adapter == adapter_hash(plan.run / ADAPTER) and version.lineage.recipe == plan.recipe.digest
    return version.version if same else ""


def _print(plan: Plan, report: "EvaluationReport", outcome: Outcome) -> None:
    from concertino.cli.promote import as_line
    from concertino.evaluation.report import markdown

    output.print_text(markdown(report))
    if outcome.checks:
        output.print_text("## Promotion\n")
        for check in outcome.checks:
            output.print_text(as_line(check))
    failed = [check.name for check in outcome.checks if not check.passed]
    promote = f"`concertino promote {plan.recipe_file} --run {plan.run} --dataset {plan.dataset}"
    accepted = f" {promote} --accept REASON` lets it serve all the same." if failed == ["baselines"] else ""
    said = {
        "promoted": f"promoted as version {(outcome.version or '')[:12]}.",
        "serves already": f"serves already, as version {(outcome.version or '')[:12]}.",
        "refused": f"not promoted, and what serves is unchanged: {', '.join(failed)} not met.{accepted} "
        "What helps is told under 'When the gate refuses' in docs/factory.md.",
        "not asked": f"not promoted. {promote}` asks the gate.",
    }
    output.print_text(f"\n{plan.recipe.name}: {said[outcome.state]}")
    output.say(f"The report lies in {plan.run / 'evaluation'}: report.html, report.md, evaluation.json")
