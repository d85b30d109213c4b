"""concertino.yaml -> frozen, validated settings. Unknown keys are refused, with the nearest known key named.

The settings themselves are declared in `concertino.settings`.
"""

import difflib
import functools
import os
import re
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from concertino.config_check import check
from concertino.errors import ConfigurationError
from concertino.settings import (
    AuditSettings,
    BackendSettings,
    EmbeddingCard,
    Evaluation,
    GatewaySettings,
    KeySettings,
    LanguageTierSettings,
    PolicySettings,
    Price,
    RouterSettings,
    Settings,
    SkillCard,
    SpecialistCard,
    WorkflowSettings,
    home_folder,
)

__all__ = [
    "AuditSettings",
    "BackendSettings",
    "EmbeddingCard",
    "Evaluation",
    "GatewaySettings",
    "KeySettings",
    "LanguageTierSettings",
    "PolicySettings",
    "Price",
    "RouterSettings",
    "Settings",
    "SkillCard",
    "SpecialistCard",
    "WorkflowSettings",
    "build",
    "built_in_team",
    "explain",
    "find_config",
    "home_folder",
    "load",
]

CONFIG_NAME = "concertino.yaml"
DEFAULT_TEAM = "default_team.yaml"


def find_config(explicit: str | Path | None = None) -> Path | None:
    """The configuration file to use: the one named, else CONCERTINO_CONFIG, else ./concertino.yaml, else None."""
    named = explicit or os.environ.get("CONCERTINO_CONFIG")
    if named:
        return Path(named).expanduser()
    here = Path(CONFIG_NAME)
    return here if here.is_file() else None


def load(path: str | Path | None = None) -> Settings:
    """Read and validate a configuration file over the built-in defaults.

    Sections `backends`, `specialists` and `embeddings` of the file replace the built-in ones when given; of the
    built-in embedding models those stay whose backend is there. Raises ConfigurationError, naming the file, the key
    and what to do.
    """
    raw = _built_in()
    found = find_config(path)
    if found is not None:
        try:
            text = found.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"Cannot read {found}: {error}. Check the path and that it is UTF-8.") from error
        given = _parse(text, str(found))
        raw = {**raw, **given}
        if isinstance(given.get("backends"), dict) and "embeddings" not in given:
            raw["embeddings"] = [one for one in raw["embeddings"] if one["backend"] in given["backends"]]
    return build(raw, str(found or "the built-in configuration"))


def built_in_team() -> tuple[SpecialistCard, ...]:
    """The specialists of a configuration that names none of its own."""
    return build(_built_in(), DEFAULT_TEAM).specialists


@functools.cache
def _built_in() -> dict[str, Any]:
    return _parse(resources.files("concertino").joinpath(DEFAULT_TEAM).read_text("utf-8"), DEFAULT_TEAM)


def build(raw: dict[str, Any], source: str) -> Settings:
    """Validate a plain mapping. `source` is named in errors."""
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        sentence, where = explain(str(error), Settings, "docs/configuration.md")
        raise ConfigurationError(f"{source}: {sentence}", param=where) from error
    check(settings, source)
    return settings


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source} is not valid YAML: {error}. Correct it at the place named.") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{source} must be a mapping of settings, but is a {type(raw).__name__}.")
    return raw


def _path_of(message: str) -> str | None:
    found = re.search(r"at `\$\.?([^`]*)`", message)
    return found.group(1) if found and found.group(1) else None


def explain(message: str, root: type[Struct], manual: str) -> tuple[str, str | None]:
    """msgspec's sentence about a value for `root`, with the nearest known key where one is unknown, and the place."""
    where = _path_of(message)
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if not unknown:
        return f"{message}. {_values_at(root, where) or 'Correct the value'}; {manual} lists every setting.", where
    known = [item.name for item in msgspec.structs.fields(_struct_at(root, where or ""))]
    nearest = difflib.get_close_matches(unknown.group(1), known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else f" Known here: {', '.join(known)}."
    place = f" under {where}" if where else ""
    return f"unknown key {unknown.group(1)!r}{place}.{hint} {manual} lists every setting.", where


def _struct_at(root: type[Struct], where: str) -> Any:
    """The class below `root` that describes a place such as `specialists[0].skills[1]`."""
    struct: Any = root
    for part in filter(None, re.sub(r"\[[^]]*\]", "", where).split(".")):
        field_type = next((item.type for item in msgspec.structs.fields(struct) if item.name == part), None)
        struct = next(iter(_structs_in(field_type)), struct)
    return struct


def _values_at(root: type[Struct], where: str | None) -> str:
    """What may stand at a place whose values are those of an enumeration; empty for other places."""
    parent, _, name = (where or "").rpartition(".")
    fields = msgspec.structs.fields(_struct_at(root, parent))
    kind = next((item.type for item in fields if item.name == name), None)
    return f"Write one of {', '.join(kind)}" if isinstance(kind, type) and issubclass(kind, StrEnum) else ""


def _structs_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _structs_in(inner)]
