"""Fields of a row -> the text that a skill reads. Training and serving fill the same template by this code.

A template is the name of a field, or text in which `{field}` stands for a field's text:

    {table:about text 600}
    {paragraphs:about text 'thousands millions' 500}
    {text}

A field's name may have any signs but braces and a colon. `ticket.body` is the field `body` inside of `ticket`,
`turns.0.text` the field `text` of the first item of a list, `turns.text` that of all its items; a field that is really
called so comes first. A field may hold text, a list of texts (joined with blanks), or a table: a list of rows, each a
list of cells. A table is written a row a line, its cells between bars, without rows and columns that are empty. What
may follow the name:

    :about OTHER N            the table's rows, or the text's sentences, that share most words with the field OTHER, in
                              their order, as many as N characters hold; a table keeps its header
    :about OTHER 'words' N    the same, where these words count as if OTHER had them too
    :list                     text, a number, or a list of these, with `; ` between: what an answer of several parts
                              is written as
    :by OTHER                 as `:list`, but a number that the calculation in the field OTHER gives is written as
                              `= calculation`
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from concertino import calculation, related

TEXT = "text"
"""The template of a skill that reads the field `text` as it is."""

_FIELD = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
_ABOUT = re.compile(r"about (.+?)(?: '([^']*)')? (\d+)")
_BY = re.compile(r"by (.+)")
_LIST = "list"
_FORMS = "write {field}, {field:about OTHER 600}, {field:list} or {field:by OTHER}."
_BETWEEN = "; "
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
    begun = {name.partition(".")[0] for name in others} - {TEXT}
    if isinstance(row.get(TEXT), str) and not (others | begun) & row.keys():
        return str(row[TEXT])
    return clean(fill(row, template))


def fill(row: Mapping[str, Any], template: str) -> str:
    """The template with each field in its place. Raises FieldsProblem."""
    if "{" not in template:
        return string_in(row, template)
    return _FIELD.sub(lambda match: _formatted(row, match[1], match[2] or ""), template)


def names(template: str) -> tuple[str, ...]:
    """The fields that a template names, in order."""
    if "{" not in template:
        return (template,)
    found: list[str] = []
    for name, how in _FIELD.findall(template):
        other = _ABOUT.fullmatch(how) or _BY.fullmatch(how)
        found += [name, other[1]] if other else [name]
    return tuple(dict.fromkeys(found))


def calculates(template: str) -> bool:
    """Whether what a template makes may be a calculation."""
    return any(_BY.fullmatch(how) for _, how in _FIELD.findall(template))


def problem_with(template: str) -> str:
    """What is wrong with a template, in a sentence; empty where it can be filled."""
    if not template.strip():
        return "it is empty; name a field, or write a template such as '{title}: {text}'."
    for match in _FIELD.finditer(template):
        how = match[2]
        known = how is None or how == _LIST or _ABOUT.fullmatch(how) or _BY.fullmatch(how)
        if not known or not match[1].strip():
            return f"{match[0]!r} cannot be read; {_FORMS}"
    left = _FIELD.sub("", template)
    if "{" in template and (brace := re.search(r"[{}]", left)):
        return f"{left[brace.start() :][:40]!r} cannot be read: braces only stand around a field. {_FORMS.capitalize()}"
    return ""


def _formatted(row: Mapping[str, Any], name: str, how: str) -> str:
    if about := _ABOUT.fullmatch(how):
        question = f"{string_in(row, about[1])} {about[2] or ''}"
        return _about(row, name, question, int(about[3]))
    if by := _BY.fullmatch(how):
        return _derived(value_in(row, name), inside(row, by[1])) or _listed(row, name)
    return _listed(row, name) if how == _LIST else string_in(row, name)


def _about(row: Mapping[str, Any], name: str, question: str, characters: int) -> str:
    value = value_in(row, name)
    if _is_table(value):
        return "\n".join(related.most_related(related.table_rows(_cells(value, name)), question, characters))
    return " ".join(related.most_related(related.sentences(string_in(row, name)), question, characters))


def _derived(value: Any, expression: Any) -> str:
    """`= calculation` for a number that it gives; empty for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(expression, str):
        return ""
    found = calculation.derived(expression, value)
    return f"{calculation.SIGN} {found}" if found else ""


def _listed(row: Mapping[str, Any], name: str) -> str:
    value = value_in(row, name)
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, bool) or not isinstance(part, str | int | float) for part in parts):
        kind = type(value).__name__
        raise FieldsProblem("field not text", f"field {name!r} is {kind}, not text or numbers, nor a list of these")
    return _BETWEEN.join(text for part in parts if (text := " ".join(str(part).split())))


def inside(value: Any, name: str) -> Any:
    """What a field, or the way to one, names in a row; None where there is nothing."""
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        ways = (dot.start() for dot in re.finditer(r"\.", name) if name[: dot.start()] in value)
        found = (inside(value[name[:dot]], name[dot + 1 :]) for dot in ways)
        return next((each for each in found if each is not None), None)
    if not isinstance(value, list):
        return None
    first, dot, rest = name.partition(".")
    if first.isdecimal():
        item = value[int(first)] if int(first) < len(value) else None
        return inside(item, rest) if dot else item
    return [item for each in value if (item := inside(each, name)) is not None] or None


def value_in(row: Mapping[str, Any], name: str) -> Any:
    """A field's value. Raises FieldsProblem where it is missing or null."""
    value = inside(row, name)
    if value is None and name in row:
        raise FieldsProblem("field missing", f"field {name!r} is null")
    if value is None:
        raise FieldsProblem("field missing", f"field {name!r} is missing; there is {', '.join(sorted(row)) or 'none'}")
    return value


def id_in(row: Mapping[str, Any]) -> str | int | None:
    """A row's `id`, or where it has none, what its one field of that name in capitals holds, as tables write it."""
    named = ["id"] if "id" in row else [name for name in row if name.casefold() == "id"]
    found = row[named[0]] if len(named) == 1 else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def string_in(row: Mapping[str, Any], name: str) -> str:
    """A field's text; of a list its texts, of a table its rows. Raises FieldsProblem for anything else."""
    value = value_in(row, name)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return " ".join(value)
        if _is_table(value):
            return "\n".join("|".join(row).rstrip("|") for row in _cells(value, name))
    because = f"field {name!r} is {type(value).__name__}, not text, nor a list or a table"
    if isinstance(value, Mapping) and value:
        because += f"; name one inside of it, as {name}.{next(iter(value))}"
    raise FieldsProblem("field not text", because)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) for row in value)


def _cells(table: Sequence[Sequence[Any]], name: str) -> list[list[str]]:
    """A table's cells, row by row, all rows of one width, without the empty rows and columns. Raises FieldsProblem for
    a cell that is no value."""
    read = [[_cell(value, name) for value in row] for row in table]
    width = max(map(len, read))
    full = [row + [""] * (width - len(row)) for row in read]
    used = [place for place in range(width) if any(row[place] for row in full)]
    return [[row[place] for place in used] for row in full if any(row)]


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
