"""Digests of a recipe's parts, which stay what they were when recipes learn new keys."""

import hashlib
from typing import Any

import msgspec

_LATER: tuple[tuple[str, Any], ...] = (
    ("tests", ""),
    ("rename", {}),
    ("precision", "auto"),
    ("group_batches", False),
    ("export_rank", 0),
    ("cycles", 1),
    ("right_score", 0.0),
)
"""Keys of before which there are recipes and digests, with the value that means what was done then."""


def digest_of(*parts: object) -> str:
    """SHA-256 over parts of a recipe as JSON, in hexadecimal."""
    plain = _without_defaults_since(msgspec.to_builtins(parts))
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def _without_defaults_since(plain: Any) -> Any:
    """Without keys that came later and are not used: what was made before they came is not out of date."""
    if isinstance(plain, dict):
        kept = {key: value for key, value in plain.items() if (key, value) not in _LATER}
        return {key: _without_defaults_since(value) for key, value in kept.items()}
    if isinstance(plain, list | tuple):
        return [_without_defaults_since(item) for item in plain]
    return plain
