"""`concertino rollback`: the version before serves again."""

from typing import Annotated

import msgspec
import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption


def rollback(
    skill: Annotated[str, typer.Argument(metavar="SPECIALIST/SKILL", help="The skill, as in legal/clause-type.")],
    to: Annotated[
        str, typer.Option("--to", metavar="HASH", help="The version to serve, by the first digits of its name.")
    ] = "",
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="A remark for the history.")] = "",
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Let the version before serve a skill again, or the one named by --to.

    Before the first version comes what was shipped with the package, or the prompted skill. A running gateway follows
    within seconds, and requests in flight end on the version that they began with.

    \b
    Examples:
      concertino rollback finance/sentiment
      concertino rollback finance/sentiment --to 3f9a1c --why "worse on earnings calls"
    """
    from concertino.registry import Registry

    change = Registry(config.load(config_path).home_path).rollback(skill, to, why)
    if as_json:
        output.print_json(msgspec.to_builtins(change))
    else:
        output.print_text(f"{skill}: {_short(change.before)} -> {_short(change.after)}")


def _short(version: str) -> str:
    return version[:12] if len(version) == 64 else version
