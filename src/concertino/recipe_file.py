"""A recipe's file -> a Recipe that can be followed.

YAML is read as it is, but for keys that stand twice, of which it would drop the first.
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from concertino.config import explain
from concertino.errors import RecipeInvalid
from concertino.recipe import Recipe
from concertino.recipe_check import check


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe. Raises RecipeInvalid, naming the file, the key and what to do."""
    raw = _read_yaml(path)
    try:
        recipe = msgspec.convert(raw, Recipe)
    except msgspec.ValidationError as error:
        sentence, where = explain(str(error), Recipe, "docs/factory.md")
        raise RecipeInvalid(f"{path}: {sentence}{_quoting_hint(str(error))}", param=where) from error
    check(recipe, path)
    return recipe


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


def _read_yaml(path: Path) -> Any:
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


def _quoting_hint(message: str) -> str:
    """What to do where a value that should be text is none, by msgspec's sentence; empty for other faults."""
    if "Expected `str`, got `" not in message or any(f"got `{kind}`" in message for kind in ("array", "object")):
        return ""
    return " Write it in quotes, as 'no': YAML reads a bare yes, no, on, off, null, number or date as something else."
