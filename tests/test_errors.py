"""The error tree: what leaves the process, and that the manual knows all of it."""

import re
from pathlib import Path

from concertino import errors
from concertino.errors import ConcertinoError

MANUAL = Path(__file__).parents[1] / "docs" / "errors.md"


def every_error(root: type[ConcertinoError] = ConcertinoError) -> list[type[ConcertinoError]]:
    return [root, *(found for child in root.__subclasses__() for found in every_error(child))]


def test_the_manual_lists_every_code_with_its_status_and_type_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \|", MANUAL.read_text("utf-8"), re.MULTILINE)
    said = {code: (int(status), kind) for code, status, kind in rows}
    assert len(rows) == len(said), "a code stands twice in the manual"
    assert said == {error.code: (error.status, error.type) for error in every_error()}


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    for error in every_error():
        assert re.search(rf"\b{error.__name__}\b", errors.__doc__), error.__name__


def test_every_error_has_the_one_wire_shape() -> None:
    for error in every_error():
        wire = error("what", param="where").to_wire()
        assert wire == {"error": {"message": "what", "type": error.type, "code": error.code, "param": "where"}}
