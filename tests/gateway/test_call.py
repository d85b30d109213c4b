"""Bodies that cost more to refuse than they are worth."""

import time
from typing import Any

import pytest

from concertino.errors import InvalidRequest
from concertino.gateway.call import Call

MIB = 1024 * 1024


def read(body: bytes) -> Any:
    unused: Any = None
    return Call(unused, unused, "id", body, "/", unused).json()


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": ' + b"[" * 200 + b'"' + b'\\"' * (2 * MIB),
        b"[" * (4 * MIB),
        b'{"a": ' * MIB,
        b"[" * (2 * MIB) + b"]" * (2 * MIB),
        b'{"a": [' + b",".join([b"[" * 90 + b"]" * 90] * 23_000) + b"]}",
        b'"' * (4 * MIB) + b"[" * 200_000,
    ],
    ids=["an open string of escaped quotes", "brackets", "objects", "closed brackets", "lists", "quotes"],
)
def test_a_hostile_body_is_refused_at_once(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest):
        read(body)
    assert time.process_time() - began < 1.0, "nobody else is answered meanwhile"


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_depth_is_counted_by_brackets_outside_strings() -> None:
    read(nested(100))
    for deep in (nested(101), b'{"b":' + b"[" * 100 + b"]" * 100 + b"}", nested(5000)):
        with pytest.raises(InvalidRequest, match="levels deep"):
            read(deep)
    wide = b'{"a": [' + b"[[]]," * 1000 + b"1]}"
    quoted = b'{"a": "' + b"[{" * 500 + b'\\"", "b": "\\\\", "c": ' + b"[" * 99 + b"]" * 99 + b"}"
    for flat in (wide, quoted):
        read(flat)


def test_brackets_in_strings_are_no_lists() -> None:
    code = b"{[(" * 200_000 + b'\\"' + b"[" * 10 + b"\\\\"
    assert len(read(b'{"a": "' + code + b'", "b": [[1]]}')["a"]) == len(code) - 2
    with pytest.raises(InvalidRequest, match="more than 100,000 lists and objects"):
        read(b'{"a": "\\\\", "b": [' + b"[]," * 100_000 + b"1]}")
    with pytest.raises(InvalidRequest, match="must be a JSON object, but is a str"):
        read(b'"' + b"[" * 200 + b'"')
