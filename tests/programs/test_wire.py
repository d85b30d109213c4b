"""Plain data comes through as it was; all else is a number, and what is no value is refused."""

import json
from collections import Counter, OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import pytest

from concertino.programs.wire import MOST_ITEMS, decode, encode

Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 1


def carried(value: Any) -> Any:
    text = json.dumps(encode(value, lambda _: 7))
    return decode(json.loads(text), lambda number: ("stands for", number))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**70), 10**9000, 0.1, float("inf"), 1 + 2j, "ä\n\ud800", b"\x00\xff", [], [1, [2]],
        (), (1, (2,)), set(), {1, (2, 3)}, frozenset({1}), {}, {1: {"a": (None,)}, (1, 2): []}, range(1, 9, 2),
        int, [ValueError],
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode() if not isinstance(value, int) else "number",
)  # fmt: skip
def test_plain_data_is_the_same_with_the_same_types(value: Any) -> None:
    found = carried(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [(Point(1, 2), (1, 2)), (Counter("aab"), {"a": 2, "b": 1}), (OrderedDict(a=1), {"a": 1}), (Colour.RED, 1)],
)
def test_subclasses_count_as_what_they_are_made_of(value: Any, plain: Any) -> None:
    assert carried(value) == plain
    assert type(carried(value)) is type(plain)


def test_an_iterator_stays_one_and_an_endless_one_ends() -> None:
    found = carried(map(str, [1, 2]))
    assert found != ["1", "2"]
    assert list(found) == ["1", "2"]
    assert len(list(carried(iter(int, 1)))) == MOST_ITEMS


def test_what_is_no_plain_data_is_a_number() -> None:
    assert carried([object()]) == [("stands for", 7)]


@pytest.mark.parametrize("data", [{}, {"a": 1, "b": 2}, {"eval": "1"}, {"type": "eval"}, {"type": "X"}])
def test_other_json_is_no_value(data: Any) -> None:
    with pytest.raises(ValueError, match="value"):
        decode(data, int)
