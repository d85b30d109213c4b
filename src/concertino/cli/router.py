"""concertino router: train what routes, measure it, and explain what it does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino import config
from concertino.cli import output, router_tables
from concertino.cli.session import ConfigOption, JsonOption, given_text

if TYPE_CHECKING:
    from concertino.backends.encoder.session import EncoderFiles
    from concertino.training.routing.examples import Fields

app = typer.Typer(no_args_is_help=True, help="Train the router, measure it, and see why it decides as it does.")

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TextField = Annotated[str, typer.Option("--text", help="The examples' field that holds the text.")]
LabelField = Annotated[str, typer.Option("--label", help="The examples' field that holds the domain.")]
OutOfScope = Annotated[str, typer.Option("--out-of-scope", help="The label of examples that are nobody's.")]
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
    as_json: AsJson = False,
) -> None:
    """Tune the encoder on the data folder, quantise it, and calibrate it."""
    from concertino.training.routing.train import train as run
    from concertino.training.routing.tune import Recipe

    base = _base_model(base_model)
    manifest = run(data_dir, base, out, Recipe(seed=seed, members=members, epochs=epochs, threads=threads), output.say)
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
    """Fit the tier that finds specialists by their descriptions, and measure it by leaving out domains."""
    from concertino.training.routing.descriptions import DescriptionRecipe
    from concertino.training.routing.left_out import train_descriptions as run

    recipe = DescriptionRecipe(seed=seed, teams=teams)
    manifest, judged = run(data_dir, _base_model(base_model), out, recipe, output.say)
    if as_json:
        output.print_json({"thresholds": manifest.thresholds, "left_out": judged})
    else:
        output.print_text(router_tables.left_out(judged))


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


@app.command()
def fit(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data, for labels."),
    ] = None,
    outcomes: Annotated[
        Path | None, typer.Option("--outcomes", help="Fit on this table of outcomes instead: text x candidate.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option("--examples", help="Learn your own domains from these rows: a text and its domain.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="linear (examples only, and their default), knn (the default else), clusters, or matrix-factorisation "
            "(outcomes only).",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Calibrate on these rows, not on folds of the examples.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Judge on these rows, not on a part of the examples.")
    ] = None,
    text: TextField = "text",
    label: LabelField = "label",
    fine: Annotated[
        str | None, typer.Option("--fine", help="The examples' field with a finer label, to learn domains by.")
    ] = None,
    out_of_scope: OutOfScope = "oos",
    out_of_scope_share: Annotated[
        float, typer.Option("--out-of-scope-share", help="What share of your requests is probably nobody's.")
    ] = 0.1,
    cost: Annotated[list[str] | None, typer.Option("--cost", help="NAME=NUMBER: what a candidate costs.")] = None,
    per_class: Annotated[int, typer.Option("--per-class", help="Labelled texts a domain.")] = 2000,
    out: Annotated[Path, typer.Option("--out", help="Where to write the router.")] = Path("router-fitted"),
    as_json: AsJson = False,
) -> None:
    """Fit another router: your own domains on examples, the built-in ones on the data folder, or a table of outcomes.

    A row of the examples (jsonl, CSV) has a text and the domain that it belongs to; rows labelled oos are nobody's.
    What was measured is printed; the folder that is written goes into router.options.weights.

    A line of a table is {"text": ..., "scores": {"candidate": 0.5, ...}}; candidates that were not tried on a text
    may be left out. All three methods are compared on a test part of the table, with the best single candidate and
    the oracle.

    \b
    Examples:
      concertino router fit --examples mine.jsonl --out my-router
      concertino router fit --examples mine.csv --label team --fine topic --test later.csv --json
      concertino router fit --outcomes outcomes.jsonl --method clusters
    """
    if examples is not None and outcomes is not None:
        raise typer.BadParameter("give either --examples FILE or --outcomes FILE.")
    if examples is not None:
        from concertino.training.routing.examples import Fields

        files = (examples, calibration, test)
        _fit_examples(files, Fields(text, label, fine, out_of_scope), method, out_of_scope_share, out, as_json)
        return
    method = method or "knn"
    if outcomes is not None:
        _fit_outcomes(outcomes, method, cost or [], out, as_json)
        return
    if data_dir is None:
        raise typer.BadParameter("give --examples FILE, --outcomes FILE, or --data-dir for the built-in domains.")
    from concertino.training.routing.data import load_splits
    from concertino.training.routing.fit import drawn_rows, fit_domains

    splits = load_splits(data_dir, output.say)
    rows, held = drawn_rows(splits.train, per_class), drawn_rows(splits.calibration, 400)
    manifest = fit_domains(rows, held, out, method, splits.hashes, output.say)
    if as_json:
        output.print_json(manifest)
    else:
        output.print_text(f"{out}: {method} of {manifest.rows} texts, threshold {manifest.threshold}")


@app.command()
def evaluate(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data."),
    ] = None,
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

    With --examples, measure a router on labelled rows of your own, for which no data folder is needed.
    """
    if examples is not None:
        from concertino.training.routing.examples import Fields
        from concertino.training.routing.own_judge import judge_own

        found = judge_own(examples, weights, Fields(text, label, None, out_of_scope), output.say)
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
        from concertino.training.routing.report import draw_reliability

        draw_reliability(report.details, plot)
        output.say(f"reliability diagram: {plot}")
    if as_json:
        output.print_json(report)
    else:
        output.print_text(router_tables.report(report, wrong))


@app.command()
def explain(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text; - reads it from stdin.")],
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Look for neighbours in its training rows too."),
    ] = None,
    nearest: Annotated[int, typer.Option("--nearest", help="How many training examples to show.")] = 5,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Say who would get a text and why: scores, what each word adds, descriptions that fit, nearest examples.

    The examples are those that ship with the package (questions written for training); with --data-dir also a draw of
    the other training rows, which takes some seconds to embed.

    \b
    Examples:
      concertino router explain "can my landlord keep the deposit?"
      concertino router explain --json - < question.txt
    """
    from concertino.training.routing.explain import explain_text

    found = explain_text(given_text(text), config.load(config_path), nearest, data_dir, output.say)
    if as_json:
        output.print_json(found)
    else:
        output.print_text(router_tables.explanation(found))


@app.command()
def propose(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many to list.")] = 20,
    among: Annotated[int, typer.Option("--among", min=1, help="How many of the last requests to look at.")] = 5000,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """List the requests that are most worth a label: said to be wrong (POST /v1/feedback), then closest between two.

    Texts are shown only where the audit log keeps content (audit.keep_text); else look an id up where you keep them.
    """
    from concertino.audit.read import AuditReader
    from concertino.orchestrator.propose import propose as run
    from concertino.storage.database import open_database
    from concertino.storage.feedback import FeedbackStore

    settings = config.load(config_path)
    entries = AuditReader(settings.audit_path).tail(among)
    engine = open_database(settings.state_url)
    try:
        found = run(entries, FeedbackStore(engine).latest(), count)
    finally:
        engine.dispose()
    if as_json:
        output.print_json(found)
    else:
        output.print_text(router_tables.proposals(found))


def _fit_examples(
    files: tuple[Path, Path | None, Path | None],
    fields: "Fields",
    method: str | None,
    share: float,
    out: Path,
    as_json: bool,
) -> None:
    from concertino.training.routing.examples import read_examples
    from concertino.training.routing.own import fit_own

    read = [read_examples(path, fields) if path is not None else None for path in files]
    for part in filter(None, read):
        for trouble in part.troubles:
            output.say(f"{part.name}: {trouble}")
    examples, calibration, test = read
    assert examples is not None
    report = fit_own(
        examples, out, method or "linear", calibration=calibration, test=test, outside_share=share, note=output.say
    )
    if as_json:
        output.print_json(report)
    else:
        output.print_text(
            f"{router_tables.own(report)}\n{out}: router.options.weights, with router.type {report.method}"
        )


def _fit_outcomes(table: Path, method: str, costs: list[str], out: Path, as_json: bool) -> None:
    from concertino.training.routing.fit import fit_outcomes
    from concertino.training.routing.table import read_outcomes

    given = {}
    for item in costs:
        name, _, number = item.rpartition("=")
        try:
            given[name] = float(number)
        except ValueError as error:
            raise typer.BadParameter(f"--cost {item}: give NAME=NUMBER.") from error
    report = fit_outcomes(read_outcomes(table, given), out, method, output.say)
    if as_json:
        output.print_json(report)
    else:
        output.print_text(router_tables.outcomes(report))


def _base_model(folder: Path | None) -> "EncoderFiles":
    from concertino.models import Store
    from concertino.training.routing.train import BASE_MODEL
    from concertino.training.train import encoder_files

    return encoder_files(Store(config.load().home_path), str(folder) if folder else BASE_MODEL)
