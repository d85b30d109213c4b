"""A trained causal adapter as files: PEFT's form, and the GGUF form that llama.cpp loads.

Needs torch; imported by `training.causal` when a training ends.
"""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from concertino.errors import DiskFull, TrainingRefused
from concertino.training.checkpoint import written_whole
from concertino.training.gguf_base import LAYERS, PERMUTED, CausalBase, permute
from concertino.training.lora import MODULES

FAMILIES = ("llama", "qwen2")
"""Architectures whose adapters can be written as GGUF."""

GGUF, PEFT, PEFT_CONFIG = "adapter.gguf", "adapter_model.safetensors", "adapter_config.json"

_BASE_KEY = "concertino.base_sha256"
_NAMES = {hugging: name for name, hugging in LAYERS.items()}


def bytes_needed(weights: dict[str, Any]) -> int:
    """What both forms take on disk: fp32 and fp16."""
    return sum(int(np.prod(matrix.shape)) for matrix in weights.values()) * 6


def refuse_without_room(folder: Path, wanted: int, what: str) -> None:
    """Raise DiskFull where the folder's disk has fewer than `wanted` bytes left."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise DiskFull(
            f"{what} needs {wanted / 1e6:.0f} MB in {folder}, and {free / 1e6:.0f} MB are free. "
            "Make room and run the same command again: it goes on from the last checkpoint."
        )


def export_peft(weights: dict[str, Any], base_name: str, alpha: float, folder: Path) -> None:
    """`adapter_model.safetensors` and `adapter_config.json`, as peft.PeftModel.from_pretrained reads them."""
    from safetensors.torch import save

    sides = {"A": "lora_A", "B": "lora_B"}
    named = {}
    for name, matrix in weights.items():
        layer, _, side = name.rpartition(".")
        named[f"base_model.model.{layer}.{sides[side]}.weight"] = matrix.contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": _rank(weights),
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted({name.split(".")[-2] for name in weights}, key=MODULES.index),
    }
    with written_whole(folder / PEFT) as partial:
        partial.write_bytes(save(named, {"format": "pt"}))
    with written_whole(folder / PEFT_CONFIG) as partial:
        partial.write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def export_gguf(weights: dict[str, Any], base: CausalBase, alpha: float, path: Path) -> Path:
    """The adapter in GGUF, fp16, with q and k in the order of the family's base files.

    Raises TrainingRefused for a family whose order is not known here, and for weights that are not finite in fp16.
    """
    if base.architecture not in FAMILIES:
        raise TrainingRefused(
            f"An adapter for the family {base.architecture!r} cannot be written as GGUF here; the PEFT form was.",
            param="training.base",
        )
    tensors = {}
    for name, matrix in sorted(weights.items()):
        layer, _, side = name.rpartition(".")
        values = matrix.numpy()
        if side == "B" and base.architecture in PERMUTED and layer.endswith(("q_proj", "k_proj")):
            values = permute(values, base.heads if layer.endswith("q_proj") else base.kv_heads)
        with np.errstate(over="ignore"):
            tensors[f"{_gguf_name(layer)}.weight.lora_{side.lower()}"] = values.astype(np.float16)
    _refuse_runaway(tensors)
    with written_whole(path) as partial:
        writer = gguf.GGUFWriter(partial, base.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(alpha))
        writer.add_string(_BASE_KEY, base.sha256)
        for name, values in tensors.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _read_back(partial, tensors)
    return path


def _refuse_runaway(tensors: dict[str, Any]) -> None:
    bad = [name for name, values in tensors.items() if not np.isfinite(values).all()]
    if bad:
        raise TrainingRefused(
            f"The adapter has weights that are no numbers, or too large for fp16, in {len(bad)} of its {len(tensors)} "
            f"matrices ({bad[0]}): they ran away while they were trained. Look at the loss in curves.jsonl, and train "
            "again into another folder with a lower training.learning_rate. The adapter was not exported.",
            param="training.learning_rate",
        )


def _read_back(path: Path, tensors: dict[str, Any]) -> None:
    """Raise OSError where the file does not hold the tensors: its writer does not notice a disk that is full."""
    try:
        found = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
        whole = all(np.array_equal(found[name], values) for name, values in tensors.items())
    except (ValueError, IndexError, KeyError):
        whole = False
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _gguf_name(layer: str) -> str:
    _, _, block, *rest = layer.split(".")
    return f"blk.{block}.{_NAMES['.'.join(rest)]}"


def _rank(weights: dict[str, Any]) -> int:
    return int(next(matrix.shape[0] for name, matrix in weights.items() if name.endswith(".A")))
