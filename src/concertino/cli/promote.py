"""`concertino promote`: a run that earned it begins to serve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption
from concertino.config import Settings

if TYPE_CHECKING:
    from concertino.registry.candidate import Candidate
    from concertino.registry.gate import Check


def promote(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe of the skill.")],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="RUN", help="Run folder, trained and evaluated; default: runs/NAME, or what `build` made."
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", metavar="DATASET", help="Its dataset; default: datasets/NAME, or what `build` made."),
    ] = None,
    accept: Annotated[
        str,
        typer.Option("--accept", metavar="REASON", help="Why it may serve though a classical baseline does as well."),
    ] = "",
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="A remark for the history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the gate finds, and change nothing.")] = False,
    ship: Annotated[
        Path | None,
        typer.Option("--ship", metavar="DIR", help="Write the version to DIR/SPECIALIST/SKILL; leave the registry."),
    ] = None,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Let a trained and evaluated skill serve, if it passes the gate.

    It must gain more than the recipe's margin over the version that serves (or over the prompted generalist) with 95 %
    confidence, lose on no label, cost no more than is allowed, beat the classical baselines, and have been measured on
    rows that it was not trained on. What runs is exactly what was evaluated, by content hash. A running gateway serves
    it within seconds; `concertino rollback` takes it back.

    \b
    Examples:
      concertino promote recipes/finance/sentiment.yaml --dry-run
      concertino promote recipes/finance/sentiment.yaml --run runs/sentiment-2 --dataset datasets/finance/sentiment
    """
    from concertino.cli.places import dataset_and_run
    from concertino.cli.promotion import gather
    from concertino.recipe_file import load_recipe
    from concertino.registry import Registry
    from concertino.registry.gate import insist, judge

    settings = config.load(config_path)
    name = load_recipe(recipe).name
    registry = Registry(settings.home_path)
    seen = registry.state()
    data, folder = dataset_and_run(name, dataset, run)
    with output.Spinner(f"Examining {name}"):
        evidence, candidate = gather(recipe, folder, data, settings.home_path, accept, settings)
        checks = judge(evidence)
    if not as_json:
        for check in checks:
            output.print_text(as_line(check))
    if not dry_run:
        insist(name, checks)
    version, state = "", "not promoted"
    if not dry_run and ship is not None:
        version, state = _ship(ship / name, candidate), f"written to {ship / name}"
    elif not dry_run:
        version = registry.promote(candidate.version, candidate.files, why or accept, seen).version
        state = "promoted"
    if as_json:
        passed = all(check.passed for check in checks)
        body = {"skill": name, "passed": passed, "state": state, "version": version or None}
        output.print_json(body | {"checks": msgspec.to_builtins(checks)})
    elif version:
        output.print_text(f"{name} {version[:12]} {state}")
    if dry_run:
        output.say("A dry run: nothing was changed.")
        raise typer.Exit(output.OK if all(check.passed for check in checks) else output.REFUSED)
    if ship is None:
        say_who_serves(settings, name)


def _ship(folder: Path, candidate: "Candidate") -> str:
    """Write the version's folder in place of one that is there; returns the version's content hash."""
    import shutil

    from concertino.registry.registry import write_version

    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    written = write_version(draft, candidate.version, candidate.files)
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)
    return written.version


def as_line(check: "Check") -> str:
    """A condition of the gate, as a person reads it."""
    return f"{'met' if check.passed else 'NOT MET':<8} {check.name:<11} {check.said}"


def say_who_serves(settings: Settings, name: str) -> None:
    """Where the version that was just promoted begins to serve."""
    if homeless := no_specialist_for(settings, name):
        output.say(homeless)
        return
    from concertino.gateway.note import running_gateway

    running = running_gateway(settings)
    output.say(f"The gateway at {running.url} serves it in a moment." if running else "The next start serves it.")


def no_specialist_for(settings: Settings, name: str) -> str:
    """What is to be done where the team has no specialist of the skill's name; else empty."""
    specialist = name.split("/")[0]
    if settings.card(specialist) is not None:
        return ""
    team = [card.name for card in settings.specialists]
    return (
        f"This team has no specialist {specialist!r}, so nobody serves {name} until concertino.yaml has one under "
        f"`specialists`, as {{name: {specialist}, description: ..., backend: ..., model: ...}}; what stands there "
        f"takes the place of the built-in team. A skill of a specialist that there is ({', '.join(team)}) serves at "
        "once."
    )
