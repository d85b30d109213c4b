"""A trained causal adapter is written beside its place, tried in llama.cpp, and only then put there."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from concertino.config import SkillCard
from concertino.models.adapters import AdapterManifest, write_manifest
from concertino.training import gguf_export
from concertino.training.causal_check import Asked, agreement
from concertino.training.gguf_base import CausalBase

ADAPTER, UNCHECKED = "adapter", "adapter.unchecked"
PEFT = "peft"
"""Folder beside the adapter with its PEFT form, for engines other than llama.cpp."""


def export(
    weights: dict[str, Any],
    base: CausalBase,
    manifest: AdapterManifest,
    skill: SkillCard,
    asked: Sequence[Asked],
    end: int,
    folder: Path,
    note: Callable[[str], None],
    threads: int = 0,
) -> float | None:
    """Write an adapter for llama.cpp to `folder / adapter` and its PEFT form to `folder / peft`.

    A family that has no GGUF form here has the PEFT form as its adapter too. `asked` is what torch was asked and said,
    `end` the token that ends a turn. Gives the share of answers that llama.cpp gave as torch did; None where the base
    has no GGUF file to try the adapter on. Raises TrainingRefused on disagreement, DiskFull.
    """
    gguf_export.refuse_without_room(folder, gguf_export.bytes_needed(weights), "The adapter")
    unchecked, place = folder / UNCHECKED, folder / ADAPTER
    shutil.rmtree(unchecked, ignore_errors=True)
    gguf_export.export_peft(weights, manifest.base, manifest.alpha, folder / PEFT)
    equal = None
    if base.architecture in gguf_export.FAMILIES:
        gguf_export.export_gguf(weights, base, manifest.alpha, unchecked / gguf_export.GGUF)
    else:
        shutil.copytree(folder / PEFT, unchecked)
    if base.gguf is None or base.architecture not in gguf_export.FAMILIES:
        note("the base has no GGUF file that llama.cpp could be asked with: the adapter was not tried in it")
    else:
        cores = threads or len(os.sched_getaffinity(0))
        found = agreement(base.gguf, unchecked / gguf_export.GGUF, skill, asked, end, cores)
        tokens = "" if found.tokens is None else f", and {found.tokens:.1%} of the tokens one by one"
        note(f"llama.cpp gives {found.equal:.0%} of {found.rows} answers as torch does{tokens}")
        equal = found.equal
    write_manifest(unchecked, manifest)
    shutil.rmtree(place, ignore_errors=True)
    unchecked.rename(place)
    return equal
