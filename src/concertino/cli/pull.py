"""`concertino pull`: fetch base models into the store."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from concertino import config
from concertino.cli.session import ConfigOption, JsonOption
from concertino.models import Entry, Store, load_catalogue
from concertino.models.inventory import needed
from concertino.models.pull import Pulled, Puller
from concertino.models.sources import Step, size
from concertino.registry import overlay


class Bars:
    """One bar a file, on stderr; notes stay above the bars."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def step(self, step: Step) -> None:
        key = (step.model, step.file)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task("", total=step.total)
        words = f"{step.model}  {step.stage.value}"
        self._progress.update(self._tasks[key], completed=step.done, description=words)

    def note(self, sentence: str) -> None:
        self._progress.console.print(sentence, markup=False, highlight=False)


def pull_shown(store: Store, entries: Sequence[Entry]) -> list[Pulled]:
    """Pull each entry, with bars on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        puller = Puller(store, Bars(progress))
        return [puller.pull(entry) for entry in entries]


def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models; none means all that the team needs.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Pull every model of the catalogue.")] = False,
    config_path: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch base models into the store and verify them. Interrupted, it goes on where it stopped."""
    settings = config.load(config_path)
    catalogue = load_catalogue(settings.home_path)
    wanted = list(catalogue.entries) if everything else list(dict.fromkeys(names or needed(overlay(settings))))
    entries: list[Entry] = [catalogue.entry(name) for name in wanted]
    store = Store(settings.home_path)
    done = pull_shown(store, entries)
    if as_json:
        typer.echo(msgspec.json.encode({"store": str(store.root), "models": done}))
        return
    for outcome in done:
        how = f"pulled in {outcome.seconds:.1f} s" if outcome.fetched else "already here, verified"
        typer.echo(f"{outcome.name}: {size(outcome.bytes)}, {how}")
    if not done:
        typer.echo("The configured team needs no model of the catalogue. `concertino models` lists what there is.")
