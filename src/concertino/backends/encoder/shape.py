"""What an encoder looks like: the numbers of a BERT model, and the names of its linear layers."""

import json
from pathlib import Path

from msgspec import Struct

from concertino.errors import ConfigurationError

MODULES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
"""Names of a layer's linear parts here -> their Hugging Face names below the layer."""


class EncoderShape(Struct, frozen=True):
    """Sizes of a BERT encoder (Devlin et al. 2018)."""

    layers: int
    width: int
    inner: int
    heads: int
    epsilon: float = 1e-12
    positions: int = 512


def read_shape(config: Path) -> EncoderShape:
    """The shape in a Hugging Face `config.json`. Raises ConfigurationError for another architecture."""
    raw = json.loads(config.read_text("utf-8"))
    kind, activation = raw.get("model_type", "bert"), raw.get("hidden_act", "gelu")
    positions = raw.get("position_embedding_type", "absolute")
    if kind != "bert" or activation != "gelu" or positions != "absolute":
        raise ConfigurationError(
            f"{config} describes a {kind} with {activation} and {positions} positions; the encoder engine runs BERT "
            "encoders with gelu and absolute positions.",
            param="base",
        )
    return EncoderShape(
        layers=raw["num_hidden_layers"],
        width=raw["hidden_size"],
        inner=raw["intermediate_size"],
        heads=raw["num_attention_heads"],
        epsilon=raw.get("layer_norm_eps", 1e-12),
        positions=raw.get("max_position_embeddings", 512),
    )
