"""A proposed recipe as YAML that a person reads: each key below the reason for its value."""

import math
import textwrap
from collections.abc import Sequence

import yaml
from msgspec import Struct


class Line(Struct, frozen=True):
    """One key of the recipe, by its path, its value, and why it is that."""

    key: str
    value: object
    why: str


def as_yaml(head: str, lines: Sequence[Line]) -> str:
    """The recipe as a file: `head` and each line's reason as comments, and room for what a person may add."""
    written, section = [f"# {_on_a_line(head)}"], ""
    for line in lines:
        first, _, rest = line.key.partition(".")
        if rest and first != section:
            written.append(f"{first}:")
        section = first if rest else ""
        indent = "  " if rest else ""
        if line.why:
            why = _on_a_line(line.why)
            written += textwrap.wrap(why, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        written += [indent + part for part in _value(rest or first, line.value)]
    place = written.index("training:")
    written[place:place] = [
        "  # Files with texts that the skill is not for let it tell its own from foreign ones, as in",
        "  # background: [other.jsonl#text]",
        "  # Sets of your own by which models are judged, and which training must not see, go here, as in",
        "  # decontaminate: [exam.jsonl#question]",
    ]
    return "\n".join(written) + "\n"


def _on_a_line(text: str) -> str:
    """Text as a comment may hold it: labels and names of files may have signs that end lines, or that YAML lacks."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _value(key: str, value: object) -> list[str]:
    """Plain YAML for one key; strings are quoted, since labels and field names may be anything."""
    if isinstance(value, list):
        lines = [f"{key}:"]
        for item in value:
            pairs = [part for name, inner in item.items() for part in _value(name, inner)]
            lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
        return lines
    if isinstance(value, dict):
        return [f"{key}: {{{', '.join(f'{_scalar(name)}: {_scalar(inner)}' for name, inner in value.items())}}}"]
    return [f"{key}: {_scalar(value)}"]


def _scalar(value: object) -> str:
    if isinstance(value, str):
        plain = value.replace("-", "").replace("/", "").replace("_", "").replace(".", "")
        if plain.isascii() and plain.isalnum() and yaml.safe_load(value) == value:
            return value
        return str(yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf)).removesuffix("\n")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.1e}" if isinstance(value, float) and value < 0.01 else str(value)
