"""concertino evaluate: a trained run -> how good, against what, at what cost, and when it should abstain."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption

if TYPE_CHECKING:
    from concertino.datasets.folder import Dataset
    from concertino.evaluation.results import EvaluationReport
    from concertino.models import Store
    from concertino.recipe import Recipe


def evaluate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe.")],
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Folder that `concertino curate` wrote; default: datasets/NAME.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder that `train` wrote; default: runs/NAME, or what `build` made."),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows at most, drawn by a hash; 0: all.")] = 0,
    base: Annotated[
        list[str] | None,
        typer.Option("--base", help="Measure this base model as it is, with its best prompt; repeat it to compare."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --base: folder for the report; default: bases/NAME.")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="test, or dev for choosing without looking at test.")] = "test",
    generalist: Annotated[bool, typer.Option(help="Run the recipe's generalist with its best prompt.")] = True,
    baselines: Annotated[bool, typer.Option(help="Run TF-IDF, nearest neighbours and the untuned encoder.")] = True,
    task: Annotated[
        Path | None, typer.Option("--task", help="Run the specialist on an lm-evaluation-harness task file instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config_path: ConfigOption = None,
) -> None:
    """Measure a trained skill against its base, the generalist and the classical baselines, on the same rows.

    Calibrates it first: a temperature, and a threshold below which it abstains. The report lies in RUN/evaluation as
    evaluation.json, report.md and report.html; of the dev part as evaluation-dev.json and so on; and as
    evaluation-partial.json where one of more rows or runners is there, which stays. An interrupted evaluation goes on
    where it stopped.

    With --base nothing has to be trained: each model named answers with the prompt that is best for it, and each is
    compared with each, by default on the first `evaluation.generalist_rows` rows. The report lies in OUT/evaluation.

    \b
    Examples:
      concertino evaluate recipes/finance/sentiment.yaml
      concertino evaluate recipes/finance/sentiment.yaml --part dev --no-generalist
      concertino evaluate recipes/legal/overruling.yaml --task tasks/overruling.yaml
      concertino evaluate recipes/code/python.yaml --base qwen2.5-coder-0.5b-instruct --base qwen2.5-coder-1.5b-instruct
    """
    from concertino.cli.places import dataset_and_run
    from concertino.models import Store
    from concertino.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    settings = config.load(config_path)
    data, folder = dataset_and_run(loaded.name, dataset, run)
    if part not in ("test", "dev"):
        raise typer.BadParameter(f"{part!r} must be test or dev.", param_hint="--part")
    if base and (run is not None or task is not None):
        raise typer.BadParameter("bases have no run; leave --run and --task out.", param_hint="--base")
    if out is not None and not base:
        raise typer.BadParameter("only for --base; a run's report lies in its folder.", param_hint="--out")
    if task is not None:
        _run_task(task, loaded, folder, Store(settings.home_path), rows, as_json)
        return
    from concertino.datasets.folder import open_dataset
    from concertino.evaluation.report import markdown
    from concertino.evaluation.results import suffix_beside

    opened = open_dataset(data)
    if base:
        _measure_bases(loaded, opened, base, out or Path("bases") / loaded.name, settings, rows, part, as_json)
        return
    report = measured(
        loaded, opened, folder, settings, rows=rows, part=part, generalist=generalist, baselines=baselines
    )
    if as_json:
        output.print_json(report)
    else:
        output.print_text(markdown(report), end="")
    end = suffix_beside(folder, report)
    names = f"evaluation{end}.json, report{end}.md, report{end}.html, predictions{end}.jsonl"
    output.say(f"Written to {folder / 'evaluation'}: {names}")


def measured(
    recipe: "Recipe",
    dataset: "Dataset",
    run: Path,
    settings: config.Settings,
    *,
    rows: int = 0,
    part: str = "test",
    generalist: bool = True,
    baselines: bool = True,
) -> "EvaluationReport":
    """Measure a run at the team's prices, as the command line that is running."""
    from concertino.datasets.folder import Part
    from concertino.evaluation.evaluate import evaluate as measure
    from concertino.evaluation.setup import Options
    from concertino.models import Store

    _warn_of_few_rows(recipe, dataset, rows, part)
    mine, other = settings.card(recipe.specialist), settings.card(settings.router.default)
    options = Options(
        rows=rows,
        part=Part(part),
        generalist=generalist,
        baselines=baselines,
        price=mine.price if mine else config.Price(),
        generalist_price=other.price if other else config.Price(),
        command=shlex.join(["concertino", *sys.argv[1:]]),
    )
    return measure(recipe, dataset, run, Store(settings.home_path), options, output.say)


def _warn_of_few_rows(recipe: "Recipe", dataset: "Dataset", rows: int, part: str) -> None:
    """Say before the first row, and not at the gate, that nothing can be shown."""
    from concertino.datasets.folder import Part
    from concertino.registry.gate import MIN_ROWS

    info, most = dataset.manifest.parts.get(Part(part)), recipe.evaluation.generalist_rows
    shared = min(most, rows or most, info.rows if info else 0)
    if shared < MIN_ROWS:
        output.say(
            f"Only {shared} rows for the specialist and prompted models alike: that shows no gain, and the promotion "
            f"gate wants {MIN_ROWS}. Give the part more rows (data.split.{part}), or evaluation.generalist_rows."
        )


def _measure_bases(
    recipe: "Recipe",
    dataset: "Dataset",
    bases: list[str],
    out: Path,
    settings: config.Settings,
    rows: int,
    part: str,
    as_json: bool,
) -> None:
    from concertino.datasets.folder import Part
    from concertino.evaluation.bases import evaluate_bases
    from concertino.evaluation.bases_report import markdown
    from concertino.evaluation.setup import Options
    from concertino.models import Store

    options = Options(rows=rows, part=Part(part), command=shlex.join(["concertino", *sys.argv[1:]]))
    report = evaluate_bases(recipe, dataset, bases, out, Store(settings.home_path), options, output.say)
    if as_json:
        output.print_json(report)
    else:
        output.print_text(markdown(report), end="")
    output.say(f"Written to {out / 'evaluation'}: evaluation.json, report.md, report.html, predictions.jsonl")


def _run_task(task: Path, recipe: "Recipe", folder: Path, store: "Store", rows: int, as_json: bool) -> None:
    from concertino.evaluation.harness import run_task

    report = run_task(task, recipe, folder, store, rows, output.say)
    if as_json:
        output.print_json(report)
        return
    for name, value in report.metrics.items():
        output.print_text(f"{report.task}  {name} {value.value:.4f} ({value.lower:.4f} to {value.upper:.4f})")
    output.print_text(f"{report.rows} rows, {report.format_failures} format failures")
