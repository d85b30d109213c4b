"""concertino train: a recipe and a dataset -> an adapter."""

from pathlib import Path
from typing import Annotated

import typer

from concertino import config
from concertino.cli import output


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe.")],
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Folder that `concertino curate` wrote; default: datasets/NAME.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder to write; default: runs/NAME.")] = None,
    members_from: Annotated[
        Path | None,
        typer.Option("--members-from", help="Folder of an earlier version: take its members over, train what is new."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Processor threads; 0: the recipe's.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a recipe's adapter on a curated dataset.

    It goes on from its last checkpoint if it was interrupted. Curves, checkpoints, the adapter and a record of the
    training lie in the run folder afterwards; `concertino evaluate` reads them from there.

    \b
    Examples:
      concertino train recipes/finance/sentiment.yaml
      concertino train recipes/legal/unfair-term.yaml --members-from src/concertino/shipped/legal/unfair-term
      concertino train recipes/code/bash.yaml --dataset datasets/code/bash --out runs/bash-2
    """
    from msgspec import structs

    from concertino.datasets.folder import open_dataset
    from concertino.models import Store
    from concertino.recipe_file import load_recipe
    from concertino.training.train import train as run

    if threads < 0:
        raise typer.BadParameter(f"{threads} is less than 0.", param_hint="--threads")
    loaded = load_recipe(recipe)
    if threads:
        loaded = structs.replace(loaded, training=structs.replace(loaded.training, threads=threads))
    folder = out or Path("runs") / loaded.name
    data, store = open_dataset(dataset or Path("datasets") / loaded.name), Store(config.load().home_path)
    try:
        result = run(loaded, data, store, folder, output.say, members_from)
    except KeyboardInterrupt:
        output.say(f"Interrupted. The same command {_what_it_does_next(folder)}.")
        raise typer.Exit(output.INTERRUPTED) from None
    if as_json:
        output.print_json(result)
        return
    best = (
        "" if result.best_dev is None else f", {result.metric} {result.best_dev:.4f} on dev at step {result.best_step}"
    )
    output.print_text(
        f"{folder}: {result.steps} steps, {result.tokens} tokens, {result.tokens / max(result.seconds, 1e-9):.0f} "
        f"tokens/s{best}"
    )


def _what_it_does_next(run: Path) -> str:
    kept = any(run.glob("checkpoints/step-*")) or any(run.glob("member-*/checkpoints/step-*"))
    return "goes on from the last checkpoint" if kept else "begins anew"
