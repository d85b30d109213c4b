"""A record's fields -> text, labels, answer, group, id and tests, as the recipe's source says."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from concertino.recipe import Source

_FIELD = re.compile(r"\{(\w+)\}")


class FieldsProblem(Exception):
    """Why a record cannot be a row: a reason that problems are counted by, and what is the matter with this one."""

    def __init__(self, reason: str, because: str) -> None:
        super().__init__(because)
        self.reason = reason
        self.because = because


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
        if not answer:
            raise FieldsProblem("no answer", f"field {source.label!r} is empty")
    elif source.label:
        labels = _labels(fields, source.label)
    if source.group:
        group = str(_value(fields, source.group))
    tests = fill(fields, source.tests) if source.tests else ""
    if source.tests and not tests.strip():
        raise FieldsProblem("no tests", f"nothing is left of {source.tests!r}")
    given = fields.get("id", "")
    return Taken(text, labels, answer, group, str(given) if isinstance(given, str | int) else "", tests)


def fill(fields: Mapping[str, Any], template: str) -> str:
    """A field's text, or a template with each `{field}` replaced by its text."""
    if "{" not in template:
        return _string(fields, template)
    return _FIELD.sub(lambda match: _string(fields, match[1]), template)


def _value(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise FieldsProblem(
            "field missing", f"field {name!r} is missing; there is {', '.join(sorted(fields)) or 'none'}"
        )
    return value


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = _value(fields, name)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    raise FieldsProblem("field not text", f"field {name!r} is {type(value).__name__}, not text")


def _labels(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = _value(fields, name)
    found = {_label(item, name) for item in (value if isinstance(value, list) else [value])}
    found.discard("")
    if not found:
        raise FieldsProblem("no label", f"field {name!r} is empty")
    return tuple(sorted(found))


def _label(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value).strip()
    raise FieldsProblem("label not text", f"field {name!r} has {type(value).__name__}, where labels are text")
