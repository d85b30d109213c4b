"""concertino router: train what routes, measure it, and explain what it does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino import config
from concertino.cli import output, router_explain, router_fit, router_propose, router_tables
from concertino.cli.router_options import AsJson, LabelField, OptionalData, OutOfScope, TextField

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concertino.backends.encoder.session import EncoderFiles
    from concertino.training.routing.report import Bin

app = typer.Typer(no_args_is_help=True, help="Train the router, measure it, and see why it decides as it does.")

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data."),
]
Base = Annotated[Path | None, typer.Option("--base-model", help="Folder with the base model; default: the pulled one.")]


@app.command()
def train(
    data_dir: DataDir,
    base_model: Base = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write the weights.")] = Path("router-weights"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of sampling and dropout.")] = 7,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the balanced draw.")] = 3,
    members: Annotated[int, typer.Option("--members", help="Trainings whose weights are averaged.")] = 4,
    threads: Annotated[int, typer.Option("--threads", help="Processor threads.")] = 2,
    examples: Annotated[
        Path | None,
        typer.Option(
            "--examples", help='More questions of the five classes, {"text", "label"} a line; oos is general.'
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tune the encoder on the data folder, quantise it, and calibrate it: a head for the five built-in domains.

    Takes an hour or more. The folder that is written goes into router.options.weights. For domains of your own use
    `concertino router fit`, which takes minutes.

    \b
    Examples:
      concertino router train --data-dir data --out my-weights
      concertino router train --data-dir data --examples judged.jsonl --members 1
    """
    from concertino.training.routing.examples import Fields, read_examples
    from concertino.training.routing.train import train as run
    from concertino.training.routing.tune import Recipe

    more = read_examples(examples, Fields()) if examples is not None else None
    for trouble in more.troubles if more is not None else ():
        output.say(f"{examples}: {trouble}")
    recipe = Recipe(seed=seed, members=members, epochs=epochs, threads=threads)
    manifest = run(data_dir, _base_model(base_model), out, recipe, output.say, more)
    if as_json:
        output.print_json(manifest)
    else:
        output.print_text(f"{out}: temperature {manifest.temperature}, threshold {manifest.threshold}")


@app.command("train-descriptions")
def train_descriptions(
    data_dir: DataDir,
    base_model: Base = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write the weights.")] = Path("description-weights"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the invented teams.")] = 7,
    teams: Annotated[int, typer.Option("--teams", help="Teams to invent.")] = 120,
    as_json: AsJson = False,
) -> None:
    """Fit the tier that finds specialists by their descriptions, and measure it by leaving out domains.

    The folder that is written goes into router.descriptions.

    \b
    Example:
      concertino router train-descriptions --data-dir data --out my-descriptions
    """
    from concertino.training.routing.descriptions import DescriptionRecipe
    from concertino.training.routing.left_out import train_descriptions as run

    recipe = DescriptionRecipe(seed=seed, teams=teams)
    manifest, judged = run(data_dir, _base_model(base_model), out, recipe, output.say)
    if as_json:
        output.print_json({"thresholds": manifest.thresholds, "left_out": judged})
    else:
        output.print_text(router_tables.left_out(judged))


@app.command("train-neighbours")
def train_neighbours(
    data_dir: DataDir,
    base_model: Base = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights of `router train`; default: those of the package.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write the weights.")] = Path("router-weights"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of sampling and of the centres.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Give a router's weights the training texts that are asked where its head is unsure, and say what they add.

    `concertino router train` does so too, at its end. The folder that is written goes into router.options.weights.

    \b
    Example:
      concertino router train-neighbours --data-dir data --weights my-weights --out my-weights
    """
    from concertino.training.routing.neighbours import NeighbourRecipe
    from concertino.training.routing.train import train_neighbours as run

    manifest, gains = run(data_dir, _base_model(base_model), weights, out, NeighbourRecipe(seed=seed), output.say)
    if as_json:
        output.print_json({"neighbours": manifest.neighbours, "threshold": manifest.threshold, "calibration": gains})
    else:
        output.print_text(router_tables.neighbours(out, manifest, gains))


@app.command()
def teams(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option("--out", help="Folder for teams.jsonl.")] = Path("build/route"),
    count: Annotated[int, typer.Option("--teams", min=1, help="Invented teams, of 16 questions each.")] = 640,
    without: Annotated[
        str, typer.Option("--without", help="CLINC150 domains and classes to leave out, with commas between.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the invention.")] = 7,
) -> None:
    """Invent teams with questions, which the language-model router (recipes/general/route.yaml) is trained on.

    \b
    Examples:
      concertino router teams --data-dir data --out build/route
      concertino curate recipes/general/route.yaml --data-dir build/route --out build/general/route
    """
    from concertino.training.routing.data import load_splits
    from concertino.training.routing.teams import TeamRecipe, write_teams

    names = [name.strip() for name in without.split(",") if name.strip()]
    recipe = TeamRecipe(seed=seed, teams=count)
    asked = write_teams(out, data_dir, load_splits(data_dir, output.say), recipe, names, output.say)
    output.print_text(f"{out / 'teams.jsonl'}: {asked} questions")


app.command()(router_fit.fit)


@app.command()
def evaluate(
    data_dir: OptionalData = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights other than the shipped ones.")] = None,
    questions: Annotated[
        Path | None, typer.Option("--questions", help='More questions, {"text", "label"} a line.')
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a reliability diagram (PNG) here.")] = None,
    wrong: Annotated[int, typer.Option("--wrong", help="How many wrong decisions to list for each part.")] = 10,
    examples: Annotated[
        Path | None,
        typer.Option("--examples", help="Measure on these rows instead, with any router's folder as --weights."),
    ] = None,
    text: TextField = "text",
    label: LabelField = "label",
    out_of_scope: OutOfScope = "oos",
    as_json: AsJson = False,
) -> None:
    """Measure the head on the test part, on exam questions and on questions of your own, and list what goes wrong.

    With --examples, measure a router on labelled rows of your own, for which no data folder is needed; what
    `concertino router fit` wrote is measured so.

    \b
    Examples:
      concertino router evaluate --data-dir data --questions ours.jsonl
      concertino router evaluate --examples later.jsonl --weights my-router --plot reliability.png
    """
    if examples is not None:
        from concertino.training.routing.examples import Fields
        from concertino.training.routing.own_judge import judge_own

        found = judge_own(examples, weights, Fields(text, label, None, out_of_scope), output.say)
        if plot is not None:
            _plot({found.name: found.reliability}, plot)
        if as_json:
            output.print_json(found)
        else:
            output.print_text(router_tables.judged(found, wrong))
        return
    if data_dir is None:
        raise typer.BadParameter("give --examples FILE, or --data-dir for the development data.")
    from concertino.training.routing.train import evaluate as run

    report = run(data_dir, weights, output.say, questions)
    if plot is not None:
        _plot({name: part.reliability for name, part in report.details.items()}, plot)
    if as_json:
        output.print_json(report)
    else:
        output.print_text(router_tables.report(report, wrong))


app.command()(router_explain.explain)
app.command()(router_propose.propose)


def _plot(parts: "Mapping[str, Sequence[Bin]]", path: Path) -> None:
    from concertino.training.routing.report import draw_reliability

    draw_reliability(parts, path)
    output.say(f"reliability diagram: {path}")


def _base_model(folder: Path | None) -> "EncoderFiles":
    from concertino.default_models import SENTENCE_ENCODER
    from concertino.models import Store
    from concertino.training.train import encoder_files

    return encoder_files(Store(config.load().home_path), str(folder) if folder else SENTENCE_ENCODER)
