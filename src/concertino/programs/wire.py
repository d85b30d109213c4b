"""Values between a program and its tests, as JSON: plain data by value, all else by a number that stands for it.

Equality is decided among the tests, on values made anew there, so that no `__eq__` of the program has a say in it.
Standard library only.
"""

import builtins
from collections.abc import Callable
from typing import Any

MOST_ITEMS = 100_000
"""Of an iterator that are taken; an endless one ends there."""
_SHORT = 1 << 63


def encode(value: Any, number_of: Callable[[Any], int]) -> Any:
    """JSON for a value. Subclasses of plain types count as these; what is not plain becomes `number_of(it)`."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):  # long ones as hex: Python refuses to make decimal digits of them
        return int(value) if -_SHORT < value < _SHORT else {"int": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, type) and value.__module__ == "builtins":
        return {"type": value.__name__}
    if isinstance(value, list):
        return [encode(item, number_of) for item in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, number_of) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, number_of), encode(item, number_of)] for key, item in value.items()]}
    if hasattr(type(value), "__next__"):
        return {"iterator": [encode(item, number_of) for item, _ in zip(value, range(MOST_ITEMS), strict=False)]}
    return {"object": number_of(value)}


def decode(data: Any, object_of: Callable[[int], Any]) -> Any:
    """The value for JSON from `encode`; `object_of` gives what a number stands for. ValueError for other JSON."""
    if isinstance(data, list):
        return [decode(item, object_of) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise ValueError("not a value")
    ((kind, inside),) = data.items()
    if kind == "dict":
        return {decode(key, object_of): decode(item, object_of) for key, item in inside}
    if kind in ("tuple", "set", "frozenset", "iterator"):
        made: dict[str, Callable[[list[Any]], Any]]
        made = {"tuple": tuple, "set": set, "frozenset": frozenset, "iterator": iter}
        return made[kind]([decode(item, object_of) for item in inside])
    if kind == "object":
        return object_of(inside)
    if kind == "type" and isinstance(getattr(builtins, inside, None), type):
        return getattr(builtins, inside)
    if kind == "int":
        return int(inside, 16)
    if kind == "complex":
        return complex(*inside)
    if kind == "bytes":
        return bytes.fromhex(inside)
    if kind == "range":
        return range(*inside)
    raise ValueError(f"no kind of value: {kind}")
