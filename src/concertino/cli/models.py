"""`concertino models`: what the catalogue offers and the store holds; remove and verify."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from concertino import config
from concertino.cli.session import ConfigOption, JsonOption
from concertino.errors import ModelCorrupt
from concertino.models import Store, load_catalogue
from concertino.models.inventory import Row, inventory
from concertino.models.sources import size
from concertino.registry import overlay

app = typer.Typer(help="Base models: what there is, what is here, what it takes.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, config_path: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the models of the catalogue and the store."""
    if context.invoked_subcommand is not None:
        return
    settings = config.load(config_path)
    store = Store(settings.home_path)
    rows = inventory(load_catalogue(settings.home_path), store, overlay(settings))
    usage = store.usage()
    if as_json:
        typer.echo(msgspec.json.encode({"store": str(store.root), "models": rows, "disk": usage}))
        return
    Console().print(_table(rows))
    stray = f", {size(usage.unreferenced)} that no model names" if usage.unreferenced else ""
    unfinished = f", {size(usage.partial)} unfinished" if usage.partial else ""
    typer.echo(f"{store.root}: {size(usage.blobs)}{stray}{unfinished}; {size(usage.free)} free")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="As `concertino models` names it.")],
    config_path: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a model from the store. Refused while a process serves or pulls it.

    \b
    Example:
      concertino models remove smollm2-135m-instruct
    """
    freed = Store(config.load(config_path).home_path).remove(name)
    typer.echo(msgspec.json.encode({"removed": name, "freed": freed}) if as_json else f"{name}: {size(freed)} freed")


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models; none means all that are here.")
    ] = None,
    config_path: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte and compare it with its SHA-256. A damaged file is set aside.

    \b
    Examples:
      concertino models verify
      concertino models verify all-MiniLM-L6-v2
    """
    store = Store(config.load(config_path).home_path)
    found: dict[str, str] = {}
    for name in names or [manifest.name for manifest in store.list()]:
        try:
            store.verify(name)
            found[name] = ""
        except ModelCorrupt as error:
            found[name] = error.message
    if as_json:
        typer.echo(msgspec.json.encode({name: {"whole": not wrong, "message": wrong} for name, wrong in found.items()}))
    else:
        for name, wrong in found.items():
            typer.echo(f"{name}: {wrong or 'whole'}")
    damaged = [name for name, wrong in found.items() if wrong]
    if damaged:
        raise ModelCorrupt(f"Damaged: {', '.join(damaged)}. Run `concertino pull {' '.join(damaged)}`.")


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "parameters", "quantisation", "licence", "on disk / bytes", "in use by", "state"):
        table.add_column(title)
    for row in rows:
        users = ", ".join([*row.used_by, *(f"process {pid}" for pid in row.processes)])
        disk = f"{size(row.on_disk)} / {size(row.bytes)}" if row.on_disk else f"- / {size(row.bytes)}"
        table.add_row(row.name, row.parameters, row.quantisation, row.licence, disk, users, row.state.value)
    return table
