"""`concertino keys`: make, list and revoke API keys, and set their budgets. A secret goes to stdout once; everything
else is for people."""

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from concertino import config
from concertino.cli import budgets
from concertino.cli.session import ConfigOption
from concertino.errors import NotFound
from concertino.storage.budgets import BudgetStore, Holder, HolderKind
from concertino.storage.database import open_database
from concertino.storage.keys import ApiKey, KeyStore, new_key

app = typer.Typer(help="Make, list and revoke API keys, and set budgets.", no_args_is_help=True)

AmountDay = Annotated[
    float | None, typer.Option("--amount-per-day", min=0, help="Budget a day (UTC), in the unit of the cards' prices.")
]
AmountMonth = Annotated[float | None, typer.Option("--amount-per-month", min=0, help="Budget a month.")]
TokensDay = Annotated[
    int | None, typer.Option("--tokens-per-day", min=0, help="Budget a day, in tokens read and written.")
]
TokensMonth = Annotated[int | None, typer.Option("--tokens-per-month", min=0, help="Budget a month, in tokens.")]


def _store(path: str | None) -> KeyStore:
    return KeyStore(open_database(config.load(path).state_url))


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose requests it makes.")] = "default",
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Store nothing; print the lines for concertino.yaml on stderr.")
    ] = False,
    amount_day: AmountDay = None,
    amount_month: AmountMonth = None,
    tokens_day: TokensDay = None,
    tokens_month: TokensMonth = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the secret in it.")] = False,
    config_path: ConfigOption = None,
) -> None:
    """Make a key. Its secret is printed on stdout now and never again.

    With a budget it may spend no more than that a day or a month; `concertino keys budget` changes it later.

    \b
    Examples:
      concertino keys create --name ci --tenant research
      concertino keys create --tokens-per-day 200000 > key.txt
    """
    wanted = budgets.Wanted(amount_day, amount_month, tokens_day, tokens_month)
    if print_config:
        if wanted.given:
            raise typer.BadParameter("a budget is kept in the state database; set it by `concertino keys budget ID`.")
        key, secret = new_key(name, tenant)
        # JSON strings are YAML strings, whatever a tenant is called.
        quoted = msgspec.json.encode(tenant).decode()
        typer.echo(
            f"# add to concertino.yaml:\nkeys:\n  - id: {key.id}\n    sha256: {key.sha256}\n    tenant: {quoted}",
            err=True,
        )
    else:
        settings = config.load(config_path)
        engine = open_database(settings.state_url)
        key, secret = KeyStore(engine).create(name, tenant)
        budgets.change(BudgetStore(engine), Holder(HolderKind.KEY, key.id), wanted, settings)
        typer.echo(f"{key.id} for tenant {key.tenant}. Keep the secret: it is not shown again.", err=True)
    typer.echo(msgspec.json.encode({**_public(key), "secret": secret}) if as_json else secret)


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config_path: ConfigOption = None,
) -> None:
    """The stored keys, revoked ones too. Keys of concertino.yaml are not listed.

    \b
    Examples:
      concertino keys list
      concertino keys list --json | jq -r .id
    """
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
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `concertino keys list` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the key as one JSON object.")] = False,
    config_path: ConfigOption = None,
) -> None:
    """Refuse a key from now on, within a second on every worker.

    \b
    Example:
      concertino keys revoke key_1f2e3d4c5b6a
    """
    key = _store(config_path).revoke(key_id)
    if as_json:
        typer.echo(msgspec.json.encode(_public(key)))
    typer.echo(f"{key.id} is revoked.", err=True)


@app.command()
def budget(
    key_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The key.")] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="A tenant in place of a key: what all of its keys spend together.")
    ] = None,
    amount_day: AmountDay = None,
    amount_month: AmountMonth = None,
    tokens_day: TokensDay = None,
    tokens_month: TokensMonth = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take its budgets away first; alone: it has none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config_path: ConfigOption = None,
) -> None:
    """Set the budget of a key or a tenant, or show it. What is not named stays as it is.

    A request counts against the budgets of its key and of its tenant, and fits in all of them or is refused. It holds
    within a second on every worker. Requests without a key are tenant `default`'s.

    \b
    Examples:
      concertino keys budget key_1f2e3d4c5b6a --amount-per-month 20 --tokens-per-day 200000
      concertino keys budget --tenant research --tokens-per-month 5000000
      concertino keys budget key_1f2e3d4c5b6a --remove
    """
    if (key_id is None) == (tenant is None):
        raise typer.BadParameter("give either the ID of a key or --tenant NAME.")
    settings = config.load(config_path)
    engine = open_database(settings.state_url)
    known = {key.id for key in settings.keys} | {key.id for key in KeyStore(engine).list()}
    if key_id is not None and key_id not in known:
        raise NotFound(f"There is no key {key_id!r}. `concertino keys list` shows them.")
    holder = Holder(HolderKind.KEY, key_id) if key_id is not None else Holder(HolderKind.TENANT, tenant or "")
    store = BudgetStore(engine)
    if remove:
        store.remove(holder)
    budgets.change(store, holder, budgets.Wanted(amount_day, amount_month, tokens_day, tokens_month), settings)
    budgets.show(store.standings([holder]), as_json)


@app.command()
def usage(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config_path: ConfigOption = None,
) -> None:
    """What is spent of every budget in its present period, and what requests in flight have reserved.

    \b
    Example:
      concertino keys usage
    """
    budgets.show(BudgetStore(open_database(config.load(config_path).state_url)).standings(), as_json)


def _public(key: ApiKey) -> dict[str, object]:
    """Everything of a key but its hash."""
    return {name: getattr(key, name) for name in key.__struct_fields__ if name != "sha256"}


def _row(key: ApiKey) -> tuple[str, ...]:
    return (key.id, key.name or "-", key.tenant, f"ck_…{key.last4}", _when(key.created), _when(key.revoked))


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
