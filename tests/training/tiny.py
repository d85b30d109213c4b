"""Causal bases small enough to train in seconds, as GGUF files that llama.cpp really loads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from concertino.datasets.folder import Dataset, DatasetManifest, Part, Row, open_dataset, write_manifest, write_rows
from concertino.recipe import Recipe

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MERGES = ("t h", "th e", "i n", "o n", "c a", "ca t", "d o", "do g", "Ġ t", "Ġ a")
SPECIAL = ("<|im_start|>", "<|im_end|>")
WORKER = """
import sys
from pathlib import Path
from concertino.datasets.folder import open_dataset
from concertino.training.causal import train
from tests.training import tiny
folder = Path(sys.argv[1])
settings = dict(pair.split("=") for pair in sys.argv[3:])
number = lambda value: float(value) if "." in value else int(value) if value.isdigit() else value
recipe = tiny.recipe(**{key: number(value) for key, value in settings.items()})
train(recipe, open_dataset(folder / "data"), folder / "base.gguf", folder / sys.argv[2], print)
"""
"""A training in a process of its own: folder with base and data, name of the run, settings as `name=value`."""


def byte_signs() -> list[str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def write_base(path: Path, architecture: str = "llama", *, template: str = CHATML, seed: int = 1) -> Path:
    """A random base of two blocks. qwen2 has biases and an output layer of its own; llama ties it to the embeddings."""
    width, inner, heads, kv_heads, blocks = 64, 96, 4, 2, 2
    draw = np.random.default_rng(seed)
    tokens = [*SPECIAL, *byte_signs(), *(merge.replace(" ", "") for merge in MERGES)]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(blocks)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    if architecture == "llama":
        writer.add_rope_dimension_count(width // heads)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if architecture == "qwen2" else "smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)

    def add(name: str, *shape: int, spread: float = 0.25) -> None:
        writer.add_tensor(name, draw.normal(0, spread, shape).astype(np.float32))

    add("token_embd.weight", len(tokens), width, spread=1.0)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    if architecture == "qwen2":
        add("output.weight", len(tokens), width)
    narrow = width // heads * kv_heads
    sizes = {
        "attn_q": (width, width), "attn_k": (narrow, width), "attn_v": (narrow, width), "attn_output": (width, width),
        "ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner),
    }  # fmt: skip
    for block in range(blocks):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(width, np.float32))
        for name, shape in sizes.items():
            add(f"blk.{block}.{name}.weight", *shape)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                add(f"blk.{block}.{name}.bias", shape[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dataset(folder: Path, train: Sequence[Row], dev: Sequence[Row] = ()) -> Dataset:
    """A dataset on disk with these rows."""
    folder.mkdir(parents=True)
    infos = {part: write_rows(folder / f"{part}.jsonl", rows) for part, rows in ((Part.TRAIN, train), (Part.DEV, dev))}
    labels: dict[str, int] = {}
    for row in (*train, *dev):
        for label in row.labels:
            labels[label] = labels.get(label, 0) + 1
    write_manifest(folder, DatasetManifest("pets/kind", "digest", "2026-01-01T00:00:00Z", infos, labels))
    return open_dataset(folder)


def pets(count: int, start: int = 0) -> list[Row]:
    """Rows whose label can be read off the text; every third is long."""
    words = {"cat": "it purrs", "dog": "it barks", "donkey": "it brays"}
    rows = []
    for number in range(start, start + count):
        label = list(words)[number % 3]
        text = f"pet {number}: {words[label]}" + " and eats the hay" * (number % 4 == 3)
        rows.append(Row(f"r{number}", text, (label,)))
    return rows


def recipe(**training: Any) -> Recipe:
    """A recipe for the pets; keyword arguments replace training settings."""
    import msgspec

    settings: dict[str, Any] = {
        "engine": "causal", "base": "tiny", "rank": 4, "epochs": 8, "learning_rate": 0.02, "batch": 4,
        "max_tokens": 200, "checkpoint_steps": 5, "threads": 1, "precision": "fp32",
    }  # fmt: skip
    whole = {
        "name": "pets/kind",
        "description": "Which pet it is",
        "instruction": "Name the pet.",
        "data": {"sources": [{"path": "pets.jsonl"}]},
        "training": settings | training,
    }
    return msgspec.convert(whole, Recipe)
