"""The members of an earlier version of a skill: with more of them, or another lexical half, they need no training."""

from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.backends.encoder.session import WEIGHTS
from concertino.datasets.folder import Dataset
from concertino.errors import RegistryCorrupt, TrainingRefused
from concertino.models.adapters import read_adapter
from concertino.recipe import Recipe
from concertino.recipe_file import load_recipe
from concertino.registry.version import ADAPTER, read_version

_RECIPE = "recipe.yaml"
_SCOPE = ("scope.weight", "scope.bias")


class Members(Struct, frozen=True, eq=False):
    """What can be taken over from a version."""

    version: str
    """Its short name."""
    members: tuple[dict[str, np.ndarray], ...]
    """In the order of their seeds; the arrays by their names in the adapter, without the member's number."""
    scope: dict[str, np.ndarray] | None
    """The scope head, which is fitted on the first member; None where there is none."""


def read_members(folder: Path, recipe: Recipe, dataset: Dataset, base_sha256: str) -> Members:
    """The members in a version's folder, as many as the recipe wants at most.

    Raises TrainingRefused where the version is damaged, or where recipe, dataset or base would give other members.
    """
    from safetensors.numpy import load_file

    try:
        version = read_version(folder)
    except RegistryCorrupt as error:
        raise TrainingRefused(str(error), param="members_from") from error
    manifest = read_adapter(folder / ADAPTER)
    for what, before, now in (
        ("engine", manifest.engine, str(recipe.training.engine)),
        ("recipe", load_recipe(folder / _RECIPE).member_digest, recipe.member_digest),
        ("dataset", version.lineage.dataset, dataset.manifest.content),
        ("base", version.base_sha256, base_sha256),
        ("labels", manifest.labels, recipe.labels or dataset.labels),
    ):
        if before != now:
            raise TrainingRefused(
                f"The members of {version.name} {version.short} are of another {what} than those that this training "
                "would make. Train without --members-from.",
                param="members_from",
            )
    arrays = load_file(folder / ADAPTER / WEIGHTS)
    members = tuple(
        {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith(f"{number}.")}
        for number in range(min(manifest.members, recipe.training.members))
    )
    scope = {name: arrays[name] for name in _SCOPE} if manifest.scope else None
    return Members(version.short, members, scope)
