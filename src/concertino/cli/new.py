"""`concertino new`: a file of examples -> a recipe, with the reason for every choice."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino.cli import output
from concertino.cli.session import JsonOption

if TYPE_CHECKING:
    from concertino.datasets.propose import Proposal
    from concertino.datasets.survey import Facts
    from concertino.datasets.table import Column, Table

_LABELS_SHOWN = 8


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, as SPECIALIST/SKILL.")],
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Examples, one a row, CSV or JSON lines; or a folder of documents, in a folder for each label.",
        ),
    ],
    text: Annotated[str, typer.Option("--text", metavar="FIELD", help="The field that is read.")] = "",
    label: Annotated[
        str, typer.Option("--label", metavar="FIELD", help="The field with the label, or with the answer.")
    ] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace a recipe that is there without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at a file of examples and propose a recipe for it: the first step to a specialist of your own.

    Finds the text and the label, counts what matters, chooses how to train and measure, and says why. Read the
    recipe, change what you know better, and give it to `concertino build`.

    \b
    Examples:
      concertino new support/team --from tickets.csv
      concertino new support/reply --from replies.jsonl --text question --label reply --out reply.yaml
      concertino new clinic/section --from notes
    """
    from concertino.datasets.propose import propose
    from concertino.datasets.survey import find_facts
    from concertino.datasets.table import label_candidates, read_table, text_candidates
    from concertino.errors import RecipeInvalid
    from concertino.recipe import SKILL_NAME

    if not SKILL_NAME.fullmatch(name):
        raise RecipeInvalid(
            f"{name!r} is not of the form specialist/skill in lower-case letters, digits and '.-_', "
            "as in support/team.",
            param="name",
        )
    _check_out(out, source)
    with output.Spinner(f"Reading {source}"):
        table = read_table(source)
    _check_outside(out, source)
    text = text or _choose("text", text_candidates(table), table, as_json)
    table.column(text)
    label = label or _choose("label", label_candidates(table, text), table, as_json)
    if text == label:
        raise typer.BadParameter(f"text and label are both {text!r}.", param_hint="--label")
    with output.Spinner(f"Counting {len(table.rows)} rows"):
        facts = find_facts(table, text, label)
    inside = source.resolve().is_relative_to(out.resolve().parent)
    path = source.resolve().relative_to(out.resolve().parent).as_posix() if inside else source.name
    proposal = propose(name, path, text, label, facts)
    _write(out, proposal, yes, as_json)
    command = shlex.join(["concertino", "build", str(out), *([] if inside else ["--data-dir", str(source.parent)])])
    if as_json:
        fields = {"text": text, "label": label}
        lines = [{"key": line.key, "value": line.value, "why": line.why} for line in proposal.lines]
        rest = {"facts": facts, "choices": lines, "warnings": [*table.notes, *proposal.warnings], "next": command}
        output.print_json({"name": name, "recipe": str(out), "fields": fields, **rest})
        return
    _print(table, facts, proposal, text, label)
    output.print_text(f"\n{out} is written. Read it, then: {command}")


def _choose(what: str, candidates: "Sequence[Column]", table: "Table", as_json: bool) -> str:
    """The field: the only candidate, or the one that a person at the terminal names."""
    from concertino.errors import DataRefused

    if len(candidates) == 1:
        return candidates[0].name
    offered = candidates or table.columns
    listed = "; ".join(column.described for column in offered)
    if as_json or not sys.stdin.isatty():
        could = "It could be" if candidates else "None looks like it. There is"
        raise DataRefused(f"Which field of {table.path} is the {what}? {could}: {listed}. Name it with --{what}.")
    output.say(f"Which field is the {what}?")
    for column in offered:
        output.say(f"  {column.described}")
    answer = typer.prompt("Field", default=offered[0].name, err=True)
    return table.column(answer.strip()).name


def _check_out(out: Path, source: Path) -> None:
    """Raises RecipeInvalid where the recipe cannot stand there, or would take the place of the examples."""
    from concertino.errors import RecipeInvalid

    try:
        if out.is_dir():
            what = f"{out} is a folder; name the recipe's file, as {out / 'recipe.yaml'}."
        elif out.exists() and source.exists() and out.samefile(source):
            what = f"{out} is the file of examples, which would be lost. Name another file with --out."
        else:
            return
    except OSError as error:
        what = f"{_cut(out)} cannot be written: {error.strerror}. Name another file with --out."
    raise RecipeInvalid(what, param="out")


def _check_outside(out: Path, source: Path) -> None:
    """Raises RecipeInvalid where the recipe would lie in the folder of documents."""
    from concertino.errors import RecipeInvalid

    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise RecipeInvalid(
            f"{out} would lie among the documents, and what is built beside it would be read as some. Name a file "
            f"outside of {source} with --out, as {source.resolve().parent / 'recipe.yaml'}.",
            param="out",
        )


def _cut(path: Path) -> str:
    return f"{str(path)[:80]}..." if len(str(path)) > 80 else str(path)


def _write(out: Path, proposal: "Proposal", yes: bool, as_json: bool) -> None:
    """Write the recipe, once it has been read as a recipe. Asks before it replaces one."""
    from concertino.errors import RecipeInvalid
    from concertino.recipe_file import load_recipe

    if out.exists() and not yes:
        if as_json or not sys.stdin.isatty():
            raise RecipeInvalid(f"{out} exists. Write elsewhere with --out, or replace it with --yes.", param="out")
        typer.confirm(f"{out} exists. Replace it?", abort=True, err=True)
    draft = out.with_name(f".{out.name}.draft")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(proposal.yaml, "utf-8")
            load_recipe(draft)
            draft.replace(out)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise RecipeInvalid(
            f"{_cut(out)} cannot be written: {error.strerror}. Name another file with --out.", param="out"
        ) from error


def _print(table: "Table", facts: "Facts", proposal: "Proposal", text: str, label: str) -> None:
    cut = " (the first; the file goes on)" if table.more else ""
    of = f" passages of {facts.documents} documents" if facts.documents else " rows"
    output.print_text(f"{table.path}: {facts.rows}{of}{cut}, {facts.usable} different. Text {text!r}, label {label!r}.")
    if facts.closed:
        shown = ", ".join(f"{name} {rows}" for name, rows in list(facts.labels.items())[:_LABELS_SHOWN])
        more = f", and {len(facts.labels) - _LABELS_SHOWN} more" if len(facts.labels) > _LABELS_SHOWN else ""
        output.print_text(f"{len(facts.labels)} labels: {shown}{more}.")
    middle, most, _ = facts.tokens
    output.print_text(f"A text has about {middle} tokens, 95 % have at most {most}.")
    if table.unreadable:
        what, some = "document" if table.documents else "row", "s" if table.unreadable != 1 else ""
        output.print_text(f"{table.unreadable} {what}{some} could not be read. The first, {table.because}")
    for note in table.notes:
        output.print_text(note)
    output.print_text("")
    rows = [(line.key, _short(line.value), line.why) for line in proposal.lines if line.why]
    output.print_table(("key", "choice", "why"), rows)
    for warning in proposal.warnings:
        output.print_text(f"\nWarning: {warning}")


def _short(value: object) -> str:
    shown = ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)
    if isinstance(value, list):
        shown = ", ".join(str(item["path"]) for item in value)
    return shown if len(shown) <= 48 else f"{shown[:47]}…"
