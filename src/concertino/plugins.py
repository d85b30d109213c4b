"""Backends, routers and detectors by name, built-in ones and a stranger's alike, from Python entry points."""

import difflib
from importlib import metadata
from typing import Any

from concertino.errors import ConfigurationError

BACKENDS = "concertino.backends"
ROUTERS = "concertino.routers"
DETECTORS = "concertino.detectors"
READERS = "concertino.readers"


def load(group: str, name: str, where: str) -> Any:
    """The object behind entry point `name` of `group`. `where` is the setting that named it, for the error.

    Raises ConfigurationError when there is no such plugin or its import fails.
    """
    found = metadata.entry_points(group=group, name=name)
    if not found:
        known = sorted({point.name for point in metadata.entry_points(group=group)})
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigurationError(
            f"{where}: no {group} plugin {name!r}; installed: {', '.join(known)}.{hint}", param=where
        )
    point = next(iter(found))
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{where}: plugin {name!r} ({point.value}) does not load: {error}.", param=where
        ) from error
