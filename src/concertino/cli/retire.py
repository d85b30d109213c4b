"""`concertino retire`: no version serves a skill any more."""

import difflib
from typing import Annotated

import msgspec
import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption
from concertino.errors import UnknownVersion


def retire(
    skill: Annotated[str, typer.Argument(metavar="SPECIALIST/SKILL", help="The skill, as in legal/clause-type.")],
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove its versions too, but those that a process still serves.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="A remark for the history.")] = "",
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Let no version serve a skill any more, a shipped one neither.

    A skill that the configuration describes is prompted again; one that only a version brought is gone. The versions
    stay and `concertino rollback` brings the last one back, unless --delete removes them. --delete on a skill that is
    retired already removes what was still in use then.

    \b
    Examples:
      concertino retire finance/sentiment
      concertino retire finance/sentiment --delete
    """
    from concertino.registry import Registry, known_skills

    settings = config.load(config_path)
    known = known_skills(settings)
    if skill not in known:
        nearest = difflib.get_close_matches(skill, known, n=1, cutoff=0.4)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownVersion(
            f"There is no skill {skill!r}, so nothing was retired.{hint} `concertino specialists` lists the skills.",
            param="skill",
        )
    registry = Registry(settings.home_path)
    entry = registry.state().skills.get(skill)
    change = None
    if entry is None or entry.version or not delete:
        change = registry.retire(skill, why)
    removed, in_use = registry.delete(skill) if delete else ([], [])
    if as_json:
        output.print_json({"change": msgspec.to_builtins(change), "removed": removed, "in_use": in_use})
        return
    output.print_text(f"{skill}: retired")
    if removed:
        output.print_text(f"removed: {', '.join(removed)}")
    if in_use:
        output.say(f"Still served by a process, so kept: {', '.join(in_use)}. Run it again in a moment.")
