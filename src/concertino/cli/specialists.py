"""`concertino specialists`: the cards of the team, as they are."""

import difflib
from typing import Annotated, Any

import msgspec
import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption
from concertino.config import SpecialistCard
from concertino.errors import UnknownModel
from concertino.registry import Served, lay_over
from concertino.template import TEXT


def specialists(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One specialist, in full.")] = None,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Show the team: who they are, what runs them, and what they were measured to do.

    "prompted" is a base model with instructions; "tuned" is one with an adapter of its own.

    \b
    Examples:
      concertino specialists
      concertino specialists legal
      concertino specialists --json | jq -r '.[].name'
    """
    found = lay_over(config.load(config_path))
    for problem in found.problems:
        output.say(f"Not served: {problem.message}")
    settings, served = found.settings, found.by_skill()
    if name is None:
        if as_json:
            output.print_json([as_object(card, served) for card in settings.specialists])
            return
        titles = ("name", "kind", "base", "skills", "cleared for", "evaluation")
        output.print_table(titles, [_row(card) for card in settings.specialists])
        return
    card = settings.card(name)
    if card is None:
        names = [known.name for known in settings.specialists]
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownModel(f"No specialist {name!r}.{hint} The team: {', '.join(names)}.", param="name")
    if as_json:
        output.print_json(as_object(card, served))
    else:
        output.print_text(in_full(card, served))


def kind(card: SpecialistCard) -> str:
    """`tuned` with an adapter of its own, else `prompted`."""
    return "tuned" if card.adapter else "prompted"


def as_object(card: SpecialistCard, served: dict[str, Served]) -> dict[str, Any]:
    """The card as JSON, with its kind, the domains that it really serves, and where its skills' versions are from."""
    fields: dict[str, Any] = msgspec.to_builtins(card)
    for skill in fields["skills"]:
        version = served.get(f"{card.name}/{skill['name']}")
        skill["origin"] = version.origin if version else "configured"
    return fields | {"kind": kind(card), "domains": list(card.serves)}


def in_full(card: SpecialistCard, served: dict[str, Served]) -> str:
    """The card for a person."""
    measured = card.evaluation
    rows = [
        ("kind", f"{kind(card)}, on {card.model} (backend {card.backend})"),
        ("adapter", card.adapter or "none"),
        ("domains", ", ".join(card.serves)),
        ("cleared for", ", ".join(card.compliance) or "nothing in particular"),
        ("context", f"{card.context_tokens} tokens; answers up to {card.max_tokens}"),
        ("evaluation", measured.summary if measured else "none: this specialist has not been measured"),
    ]
    if measured and measured.command:
        rows.append(("", f"repeat it with: {measured.command}"))
    if measured and measured.date:
        rows.append(("", f"measured on {measured.date}"))
    lines = [card.name, card.description.strip(), "", *(f"{title:<12} {value}" for title, value in rows)]
    for skill in card.skills:
        name = f"{card.name}/{skill.name}"
        lines += ["", name, f"  {skill.description.strip()}"]
        if name in served:
            lines.append(f"  version {served[name].label}, tuned, on {skill.model}")
        elif skill.adapter or skill.model:
            lines.append(f"  {'tuned' if skill.adapter else 'prompted'}, on {card.as_run(skill).model}")
        if skill.evaluation:
            lines.append(f"  evaluation: {skill.evaluation.summary}")
        if skill.template != TEXT:
            lines.append(f"  reads: {skill.template!r} of each row")
        if skill.labels:
            lines.append(f"  labels ({len(skill.labels)}): {', '.join(skill.labels)}")
        elif skill.json_schema is not None:
            lines.append(f"  JSON schema: {msgspec.json.encode(skill.json_schema).decode()}")
        else:
            calculated = ", and with the results of calculations" if skill.calculate else ""
            searched = f", the likeliest of a search with {skill.beams} beams" if skill.beams > 1 else ""
            lines.append(f"  answers in free text{searched}{calculated}")
        below = "escalates" if skill.on_low_confidence == "escalate" else "abstains"
        if skill.labels or skill.threshold is not None:
            sure = "none: it never abstains" if skill.threshold is None else f"{skill.threshold:g}; it {below} below"
            lines.append(f"  threshold: {sure}")
        if skill.scope_threshold is not None:
            lines.append(f"  threshold of the scope: {skill.scope_threshold:g}; it {below} below")
    return "\n".join(lines)


def _row(card: SpecialistCard) -> tuple[str, ...]:
    skills = ", ".join(f"{skill.name} (tuned)" if skill.adapter else skill.name for skill in card.skills) or "-"
    measured = card.evaluation.summary if card.evaluation else "not measured"
    return card.name, kind(card), card.model, skills, ", ".join(card.compliance) or "-", measured
