"""A recipe's file -> plain values. YAML as it is, but for keys that stand twice, of which it would drop the first."""

from pathlib import Path
from typing import Any

import yaml

from concertino.errors import RecipeInvalid


class _Twice(Exception):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise _Twice(f"line {line}: the key {key.value!r} stands twice, first in line {seen[key.value]}")
            seen[key.value] = line
        return node


def read_yaml(path: Path) -> Any:
    """Raises RecipeInvalid for what cannot be read, with the place and what to do."""
    try:
        return yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"Cannot read the recipe {path}: {error}. Check the path and that it is UTF-8.") from error
    except yaml.YAMLError as error:
        raise RecipeInvalid(f"{path} is not valid YAML: {error}. Correct it at the place named.") from error
    except _Twice as twice:
        raise RecipeInvalid(f"{path}, {twice}. Remove one of the two.") from twice
    except RecursionError as error:
        raise RecipeInvalid(f"{path} is nested too deeply to be a recipe. Look for brackets that stay open.") from error


def quoting_hint(message: str) -> str:
    """What to do where a value that should be text is none, by msgspec's sentence; empty for other faults."""
    if "Expected `str`, got `" not in message or any(f"got `{kind}`" in message for kind in ("array", "object")):
        return ""
    return " Write it in quotes, as 'no': YAML reads a bare yes, no, on, off, null, number or date as something else."
