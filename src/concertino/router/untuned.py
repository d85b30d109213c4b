"""The head's encoder as it was before it was tuned: the published weights, as int8, in the head's own graph.

It costs a run of the head: the tokenizer and the token table, which tuning leaves as it is, are the head's, and the
matrices of the layers are read from the model store and take the place of the tuned ones.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open

from concertino.router.encoder import Encoder, tuned_encoder

_PARTS = {"projected": "attention.output.dense", "wide": "intermediate.dense", "narrow": "output.dense"}
_NORMS = {"middle": "attention.output.LayerNorm", "out": "output.LayerNorm"}
"""Names in the graph that `training/routing/export.py` writes -> names below a layer of a BERT encoder."""


def quantise_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[rows, columns]` float -> (int8 of that shape, float32 scale per column), symmetric, no zero point."""
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127.0
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


def initializers(weights: Path, layers: int) -> dict[str, np.ndarray]:
    """What the int8 graph calls the weights of a safetensors file's first `layers` layers, and their values."""
    found: dict[str, np.ndarray] = {}
    with safe_open(weights, "np") as file:
        names = set(file.keys())
        prefix = "" if "embeddings.LayerNorm.weight" in names else "bert."

        def read(name: str) -> np.ndarray:
            return np.asarray(file.get_tensor(prefix + name), dtype=np.float32)

        def norm(name: str, stem: str) -> None:
            found[f"{name}.gamma"], found[f"{name}.beta"] = read(f"{stem}.weight"), read(f"{stem}.bias")

        def linear(name: str, *stems: str) -> None:
            matrix = np.concatenate([read(f"{stem}.weight").T for stem in stems], axis=1)
            values, found[f"{name}.scale"] = quantise_columns(matrix)
            found[f"{name}.weight"] = np.ascontiguousarray(values)
            found[f"{name}.bias"] = np.concatenate([read(f"{stem}.bias") for stem in stems])

        norm("embedded", "embeddings.LayerNorm")
        for layer in (f"encoder.layer.{index}" for index in range(layers)):
            if f"{prefix}{layer}.output.dense.weight" not in names:
                break  # the base has fewer
            linear(f"{layer}.qkv", *(f"{layer}.attention.self.{part}" for part in ("query", "key", "value")))
            for name, stem in _PARTS.items():
                linear(f"{layer}.{name}", f"{layer}.{stem}")
            for name, stem in _NORMS.items():
                norm(f"{layer}.{name}", f"{layer}.{stem}")
    return found


def untuned_encoder(folder: Path, weights: Path, recipe: Mapping[str, float | str]) -> Encoder:
    """The encoder that a folder of router weights, made by `recipe`, was tuned from, whose own `weights` are given.

    Its `logits` mean nothing: the head is not its own.
    """
    return tuned_encoder(folder, initializers(weights, int(recipe.get("layers", 6))))
