"""Writes docs/cli.md from the commands themselves: `python docs/generate.py`. A test compares the two."""

import sys
from pathlib import Path
from typing import Any

import typer

from concertino.cli import app
from concertino.cli.output import EXIT_CODES
from concertino.cli.verbs import VERBS, load

PAGE = Path(__file__).with_name("cli.md")

_OPENING = """\
# The command line

This page is generated from the commands' own help: `python docs/generate.py`.

Answers go to stdout and everything else to stderr, so output can be piped. `--json` prints JSON instead of text; an
error then stands on stdout in the shape that the gateway uses, `{"error": {"message", "type", "code", "param"}}`, and
as a sentence on stderr. Colour follows `NO_COLOR`. A file of texts has one JSON object per line with a string `text`;
lines end at a newline and nowhere else, and blank lines are passed over.

`--config` names the configuration, before the command or after it. Without it `CONCERTINO_CONFIG` counts, then
`concertino.yaml` in the current folder, then the built-in team.

## Exit status

| status | meaning |
| ---: | --- |
"""


def page() -> str:
    """The whole page."""
    table = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    parts = [_OPENING + table, _section("concertino", typer.main.get_command(app), 2)]
    for verb in VERBS:
        parts += _sections(f"concertino {verb}", load(verb), 2)
    return "\n".join(parts)


def _sections(name: str, command: Any, level: int) -> list[str]:
    """A command and, below it, its own commands."""
    below = getattr(command, "commands", {})
    parts = [_section(name, command, level)]
    for child in below:
        parts += _sections(f"{name} {child}", below[child], level + 1)
    return parts


def _section(name: str, command: Any, level: int) -> str:
    parent = typer.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    # The root's setting, which a command that is called by itself would not inherit.
    parent.help_option_names = ["-h", "--help"]
    return f"{'#' * level} {name}\n\n```text\n{command.get_help(parent).rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")
