"""A LoRA adapter file made on the spot, strong enough that its effect on an answer cannot be missed."""

from pathlib import Path

import gguf
import numpy as np


def write_adapter(path: Path, base: Path, seed: int, rank: int = 4, strength: float = 0.6) -> Path:
    """A GGUF adapter with random A and B on the first feed-forward layers of a llama-family base."""
    fields = gguf.GGUFReader(base).fields
    architecture = fields["general.architecture"].contents()
    width = int(fields[f"{architecture}.embedding_length"].contents())
    inner = int(fields[f"{architecture}.feed_forward_length"].contents())
    draw = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(4):
        a = draw.normal(0, strength / width**0.5, (rank, width)).astype(np.float32)
        b = draw.normal(0, strength, (inner, rank)).astype(np.float32)
        writer.add_tensor(f"blk.{layer}.ffn_up.weight.lora_a", a)
        writer.add_tensor(f"blk.{layer}.ffn_up.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
