"""A tiny BERT with random weights and a tokenizer of plain words: what the encoder engine is tested with."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from concertino.backends.encoder.session import EncoderFiles
from concertino.backends.encoder.shape import MODULES

WORDS = [f"word{number}" for number in range(30)]
WIDTH, INNER, LAYERS = 16, 32, 2


def files_in(folder: Path) -> EncoderFiles:
    return EncoderFiles(*(folder / name for name in ("config.json", "model.safetensors", "tokenizer.json")))


def tiny_encoder(folder: Path, seed: int = 0) -> EncoderFiles:
    """Write the three files of a BERT of 2 layers of width 16."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 64, **sizes}))
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {
        "embeddings.word_embeddings.weight": rng.normal(size=(len(names), WIDTH)),
        "embeddings.position_embeddings.weight": rng.normal(size=(64, WIDTH)) * 0.1,
        "embeddings.token_type_embeddings.weight": rng.normal(size=(2, WIDTH)) * 0.1,
    }
    layers = [f"encoder.layer.{layer}" for layer in range(LAYERS)]
    for stem in ("embeddings", *(f"{layer}.{part}output" for layer in layers for part in ("attention.", ""))):
        arrays[f"{stem}.LayerNorm.weight"] = np.ones(WIDTH)
        arrays[f"{stem}.LayerNorm.bias"] = np.zeros(WIDTH)
    for layer in layers:
        for stem in MODULES.values():
            inside = INNER if stem == "output.dense" else WIDTH
            outside = INNER if stem == "intermediate.dense" else WIDTH
            arrays[f"{layer}.{stem}.weight"] = rng.normal(size=(outside, inside)) / np.sqrt(inside)
            arrays[f"{layer}.{stem}.bias"] = rng.normal(size=outside) * 0.1
    save_file({name: value.astype(np.float32) for name, value in arrays.items()}, folder / "model.safetensors")
    return files_in(folder)
