"""Fields of a row -> the text that a skill reads. Training and serving fill the same template by this code.

A template is the name of a field, or text in which `{field}` stands for a field's text:

    {text}
    {contexts}

A field may hold text, a list of texts (joined with blanks), or a table: a list of rows, each a list of cells. A table
is written a row a line, its cells between bars, without rows and columns that are empty.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

TEXT = "text"
"""The template of a skill that reads the field `text` as it is."""

_FIELD = re.compile(r"\{(\w+)\}")
_FORMATTED = re.compile(r"\{\w+:[^{}]*\}")
_BLANKS = re.compile(r"[ \t\u00a0]+(?=\n|$)")
_NEWLINES = re.compile(r"\n{3,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_PLAIN = re.compile(r"[ -~]*")


class FieldsProblem(Exception):
    """Why a row has no text: a reason that problems are counted by, and what is the matter with this one."""

    def __init__(self, reason: str, because: str) -> None:
        super().__init__(because)
        self.reason = reason
        self.because = because


def text_of(row: Mapping[str, Any], template: str) -> str:
    """What a skill with this template reads of a row.

    A row with no field of the template but `text` holds the whole text there, already in the template's form, and it
    is taken as it stands. Raises FieldsProblem where a field is missing or of a wrong kind.
    """
    others = {name for name in names(template) if name != TEXT}
    if not others & row.keys() and isinstance(row.get(TEXT), str):
        return str(row[TEXT])
    return clean(fill(row, template))


def fill(row: Mapping[str, Any], template: str) -> str:
    """The template with each field in its place. Raises FieldsProblem."""
    if "{" not in template:
        return string_in(row, template)
    return _FIELD.sub(lambda match: string_in(row, match[1]), template)


def names(template: str) -> tuple[str, ...]:
    """The fields that a template names, in order."""
    if "{" not in template:
        return (template,)
    return tuple(dict.fromkeys(_FIELD.findall(template)))


def problem_with(template: str) -> str:
    """What is wrong with a template, in a sentence; empty where it can be filled."""
    if not template.strip():
        return "it is empty; name a field, or write a template such as '{title}: {text}'."
    odd = _FORMATTED.search(template)
    return f"{odd.group()!r} cannot be read; write '{{field}}'." if odd else ""


def value_in(row: Mapping[str, Any], name: str) -> Any:
    """A field's value. Raises FieldsProblem where it is missing or null."""
    value = row.get(name)
    if value is None:
        raise FieldsProblem("field missing", f"field {name!r} is missing; there is {', '.join(sorted(row)) or 'none'}")
    return value


def string_in(row: Mapping[str, Any], name: str) -> str:
    """A field's text; of a list its texts, of a table its rows. Raises FieldsProblem for anything else."""
    value = value_in(row, name)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return " ".join(value)
        if all(isinstance(item, list) for item in value):
            return "\n".join(rows_of(value, name))
    raise FieldsProblem("field not text", f"field {name!r} is {type(value).__name__}, not text, nor a list or a table")


def rows_of(table: Sequence[Sequence[Any]], name: str) -> list[str]:
    """A table's rows as lines, those without a word left out. Raises FieldsProblem for a cell that is no value."""
    cells = [[_cell(value, name) for value in row] for row in table]
    width = max(map(len, cells), default=0)
    used = [place for place in range(width) if any(row[place : place + 1] not in ([], [""]) for row in cells)]
    lines = ("|".join(row[place] if place < len(row) else "" for place in used) for row in cells)
    return [line.rstrip("|") for line in lines if line.strip("|")]


def _cell(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return " ".join(str(value).split())
    raise FieldsProblem("field not text", f"a cell of the table {name!r} is {type(value).__name__}, not text or number")


def clean(text: str) -> str:
    """Text as it is kept and read: NFC, no control or invisible characters, lines end in one newline, no blanks at
    their ends. Zero-width joiners go too, which some emoji and Indic words lose their shape by."""
    if _PLAIN.fullmatch(text):
        return text.strip()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    text = _CONTROL.sub(" ", text)
    return _NEWLINES.sub("\n\n", _BLANKS.sub("", text)).strip()
