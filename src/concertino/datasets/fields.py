"""A record's fields -> text, labels, answer, group, id and tests, as the recipe's source says."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from concertino.recipe import Source
from concertino.template import FieldsProblem, clean, fill, id_in, value_in


class Taken(Struct, frozen=True):
    """What was read of a record. `group` is empty where the recipe names none."""

    text: str
    labels: tuple[str, ...] = ()
    answer: str = ""
    group: str = ""
    id: str = ""
    tests: str = ""


def take(fields: Mapping[str, Any], source: Source, free_text: bool, group: str = "") -> Taken:
    """Read a record. Raises FieldsProblem where a field that the recipe names is missing or of a wrong kind."""
    text = fill(fields, source.text)
    labels: tuple[str, ...] = ()
    answer = ""
    if source.label and free_text:
        answer = fill(fields, source.label).strip()
        if not clean(answer):
            raise FieldsProblem("no answer", f"field {source.label!r} is empty")
    elif source.label:
        labels = _labels(fields, source.label, source.rename)
    if source.group:
        group = str(value_in(fields, source.group))
    tests = fill(fields, source.tests) if source.tests else ""
    if source.tests and not tests.strip():
        raise FieldsProblem("no tests", f"nothing is left of {source.tests!r}")
    given = id_in(fields)
    return Taken(text, labels, answer, group, "" if given is None else str(given), tests)


def _labels(fields: Mapping[str, Any], name: str, renamed: Mapping[str, str]) -> tuple[str, ...]:
    value = fill(fields, name).strip() if "{" in name else value_in(fields, name)
    read = (_label(item, name) for item in (value if isinstance(value, list) else [value]))
    names = {clean(old): clean(new) for old, new in renamed.items()}
    found = {names.get(label, label) for label in read}
    found.discard("")
    if not found:
        raise FieldsProblem("no label", f"field {name!r} is empty")
    return tuple(sorted(found))


def _label(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return clean(str(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # what a table with a gap makes of whole numbers
    raise FieldsProblem("label not text", f"field {name!r} has {type(value).__name__}, where labels are text")
