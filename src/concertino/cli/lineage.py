"""`concertino lineage`: what serves each skill, what served before, and where a version came from."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption
from concertino.errors import UnknownVersion

if TYPE_CHECKING:
    from concertino.registry import Overlay, Registry, Version


def lineage(
    skill: Annotated[
        str | None, typer.Argument(metavar="[SPECIALIST/SKILL]", help="One skill, with its history.")
    ] = None,
    version: Annotated[
        str, typer.Option("--version", metavar="HASH", help="The version to trace; default: the one that serves.")
    ] = "",
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Show which versions serve, what served before, and the way back from a version to the bytes of its data.

    \b
    Examples:
      concertino lineage
      concertino lineage finance/sentiment
      concertino lineage finance/sentiment --version 3f9a1c --json | jq .version.lineage.sources
    """
    from concertino.registry import Registry, lay_over

    settings = config.load(config_path)
    found, registry = lay_over(settings), Registry(settings.home_path)
    for problem in found.problems:
        output.say(f"Not served: {problem.message}")
    if skill is None:
        _all(found, registry, as_json)
    else:
        _one(skill, version, found, registry, as_json)


def _all(found: "Overlay", registry: "Registry", as_json: bool) -> None:
    served, entries = found.by_skill(), registry.state().skills
    names = sorted(dict.fromkeys([*served, *registry.skills()]))
    rows = []
    for name in names:
        now = served.get(name)
        retired = name in entries and not entries[name].version
        rows.append(
            {
                "skill": name,
                "version": now.version.version if now else None,
                "origin": now.origin if now else "retired" if retired else "not served",
                "created": now.version.created if now else None,
                "base": now.version.base if now else None,
                "summary": now.version.card.evaluation.summary if now and now.version.card.evaluation else None,
                "versions": registry.versions(name),
            }
        )
    if as_json:
        output.print_json(rows)
        return
    titles = ("skill", "version", "origin", "created", "base", "evaluation")
    fields = ("skill", "version", "origin", "created", "base", "summary")
    output.print_table(titles, [[_short(field, row[field]) for field in fields] for row in rows])
    if not rows:
        output.say("No version of a skill serves. `concertino promote` makes one serve.")


def _one(skill: str, asked: str, found: "Overlay", registry: "Registry", as_json: bool) -> None:
    served = found.by_skill().get(skill)
    traced = served.version if served else None
    if asked and not (traced and traced.version.startswith(asked.lower())):
        traced = registry.read(skill, registry.find(skill, asked))
    changes, versions = registry.history(skill), registry.versions(skill)
    if traced is None and not changes and not versions:
        raise UnknownVersion(f"The registry knows nothing of {skill!r}. `concertino lineage` lists what there is.")
    if as_json:
        body: dict[str, Any] = {
            "skill": skill,
            "current": served.version.version if served else None,
            "origin": served.origin if served else None,
            "versions": versions,
            "history": msgspec.to_builtins(changes),
            "version": msgspec.to_builtins(traced),
        }
        output.print_json(body)
        return
    output.print_text(f"{skill}: {served.label if served else 'no version serves it'}")
    if traced is not None:
        output.print_text(_way_back(traced))
    if changes:
        output.print_text("")
        rows = [
            (one.time, one.what, _short("version", one.before), _short("version", one.after), one.who, one.why)
            for one in changes
        ]
        output.print_table(("when", "what", "from", "to", "who", "why"), rows)


def _way_back(version: "Version") -> str:
    rows = [
        ("version", version.version),
        ("created", version.created),
        ("base", f"{version.base} sha256:{version.base_sha256}"),
        ("run", version.lineage.run),
        ("recipe", version.lineage.recipe),
        ("dataset", version.lineage.dataset),
        *(("source", f"{source.path} sha256:{source.sha256}") for source in version.lineage.sources),
        ("measured", version.card.evaluation.summary if version.card.evaluation else "not measured"),
    ]
    if version.accepted:
        rows.append(("accepted", version.accepted))
    return "\n".join(f"{title:<9} {value}" for title, value in rows)


def _short(field: str, value: object) -> str:
    text = "-" if value is None else str(value)
    return text[:12] if field == "version" and len(text) == 64 else text
