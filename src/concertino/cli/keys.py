"""`concertino keys`: make, list and revoke API keys. A secret goes to stdout once; everything else is for people."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from concertino import config
from concertino.storage.database import open_database
from concertino.storage.keys import ApiKey, KeyStore, new_key

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (default: ./concertino.yaml).")]


def _store(path: Path | None) -> KeyStore:
    return KeyStore(open_database(config.load(path).state_url))


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose requests it makes.")] = "default",
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Store nothing; print the lines for concertino.yaml on stderr.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the secret in it.")] = False,
    config_path: Config = None,
) -> None:
    """Make a key. Its secret is printed on stdout now and never again."""
    if print_config:
        key, secret = new_key(name, tenant)
        # JSON strings are YAML strings, whatever a tenant is called.
        quoted = msgspec.json.encode(tenant).decode()
        typer.echo(
            f"# add to concertino.yaml:\nkeys:\n  - id: {key.id}\n    sha256: {key.sha256}\n    tenant: {quoted}",
            err=True,
        )
    else:
        key, secret = _store(config_path).create(name, tenant)
        typer.echo(f"{key.id} for tenant {key.tenant}. Keep the secret: it is not shown again.", err=True)
    typer.echo(msgspec.json.encode({**_public(key), "secret": secret}) if as_json else secret)


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, config_path: Config = None
) -> None:
    """The stored keys, revoked ones too. Keys of concertino.yaml are not listed."""
    keys = _store(config_path).list()
    if as_json:
        for key in keys:
            typer.echo(msgspec.json.encode(_public(key)))
        return
    if not keys:
        typer.echo("No keys yet. `concertino keys create` makes one.", err=True)
        return
    rows = [("id", "name", "tenant", "secret", "created", "revoked"), *map(_row, keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the key as one JSON object.")] = False,
    config_path: Config = None,
) -> None:
    """Refuse a key from now on, within a second on every worker."""
    key = _store(config_path).revoke(key_id)
    if as_json:
        typer.echo(msgspec.json.encode(_public(key)))
    typer.echo(f"{key.id} is revoked.", err=True)


def _public(key: ApiKey) -> dict[str, object]:
    """Everything of a key but its hash."""
    return {name: getattr(key, name) for name in key.__struct_fields__ if name != "sha256"}


def _row(key: ApiKey) -> tuple[str, ...]:
    return (key.id, key.name or "-", key.tenant, f"ck_…{key.last4}", _when(key.created), _when(key.revoked))


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
