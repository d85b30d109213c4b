"""A causal base model for training: from a GGUF file of the catalogue, dequantised, or from a Hugging Face folder.

Needs torch and transformers; imported by `training.causal` when a training begins.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf.quants import dequantize
from tokenizers import Tokenizer

from concertino.errors import ConfigurationError, TrainingRefused
from concertino.models.file_hash import file_sha256
from concertino.training.gguf_tokenizer import read_tokenizer

LAYERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of a block's tensors in GGUF and in Hugging Face's form."""

PERMUTED = frozenset({"llama"})
"""Architectures whose q and k rows the GGUF converter reorders, because llama.cpp rotates neighbouring pairs."""

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True)
class CausalBase:
    """A loaded base: the model in fp32, its tokenizer, and what serving will need to know of it."""

    model: Any
    tokenizer: Tokenizer
    chat_template: str
    eos_token: str
    bos_token: str
    architecture: str
    heads: int
    kv_heads: int
    sha256: str
    """Of the weights file."""
    gguf: Path | None
    """The file that llama.cpp will serve, where there is one."""


def load_base(path: Path) -> CausalBase:
    """Load a GGUF file of the llama or qwen2 family, or a Hugging Face folder.

    A folder's adapter can be checked against llama.cpp where the folder also holds the base as one GGUF file.
    Raises TrainingRefused for a base that cannot be trained here, ConfigurationError for a path that holds none.
    """
    if path.is_dir():
        return _from_folder(path)
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is neither a GGUF file nor a Hugging Face folder: {error}.", param="training.base"
        ) from error
    return _from_gguf(path, reader)


def _from_gguf(path: Path, reader: Any) -> CausalBase:
    fields = reader.fields
    architecture = fields["general.architecture"].contents()
    if architecture not in ("llama", "qwen2"):
        raise TrainingRefused(
            f"The base {path} is of the family {architecture!r}; from GGUF files, llama and qwen2 are read. "
            "Give its Hugging Face folder as training.base instead.",
            param="training.base",
        )

    def of(key: str, otherwise: Any = None) -> Any:
        field = fields.get(key)
        return field.contents() if field is not None else otherwise

    names = {tensor.name for tensor in reader.tensors}
    config = _config(architecture, lambda key, otherwise=None: of(f"{architecture}.{key}", otherwise), names)
    tokens = of("tokenizer.ggml.tokens")
    config.vocab_size = len(tokens)
    model = _empty(config)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    state = {}
    for tensor in reader.tensors:
        name = _name(tensor.name, path)
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=True)
        if architecture in PERMUTED and name.rsplit(".", 1)[0].endswith(("q_proj", "k_proj")):
            values = unpermute(values, heads if "q_proj" in name else kv_heads)
        state[name] = torch.from_numpy(np.ascontiguousarray(values))
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    _fill(model, state, path)
    return CausalBase(
        model=model,
        tokenizer=read_tokenizer(fields, path),
        chat_template=of("tokenizer.chat_template", ""),
        eos_token=tokens[of("tokenizer.ggml.eos_token_id", 0)],
        bos_token=tokens[of("tokenizer.ggml.bos_token_id")] if of("tokenizer.ggml.bos_token_id") is not None else "",
        architecture=architecture,
        heads=heads,
        kv_heads=kv_heads,
        sha256=file_sha256(path),
        gguf=path,
    )


def _config(architecture: str, of: Any, names: set[str]) -> Any:
    heads = of("attention.head_count")
    kind = transformers.LlamaConfig if architecture == "llama" else transformers.Qwen2Config
    more: dict[str, Any] = {}
    if architecture == "llama":
        more = {
            "attention_bias": "blk.0.attn_q.bias" in names,
            "head_dim": of("attention.key_length", of("embedding_length") // heads),
        }
    return kind(
        hidden_size=of("embedding_length"),
        intermediate_size=of("feed_forward_length"),
        num_hidden_layers=of("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=of("attention.head_count_kv", heads),
        max_position_embeddings=of("context_length"),
        rms_norm_eps=of("attention.layer_norm_rms_epsilon"),
        rope_theta=of("rope.freq_base", 10_000.0),
        tie_word_embeddings="output.weight" not in names,
        use_cache=False,
        **more,
    )


def _empty(config: Any) -> Any:
    """A model without memory of its own, but for the rotation's frequencies, which no file holds."""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    return model


def _fill(model: Any, state: dict[str, Any], path: Path) -> None:
    try:
        missing = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise TrainingRefused(
            f"The base {path} does not fit its own description: {error}", param="training.base"
        ) from None
    if missing.missing_keys or missing.unexpected_keys:
        odd = [*missing.missing_keys, *missing.unexpected_keys]
        raise TrainingRefused(
            f"The base {path} lacks or adds {len(odd)} tensors, as {odd[0]}. Give its Hugging Face folder instead.",
            param="training.base",
        )
    model.tie_weights()
    model.eval()


def _name(name: str, path: Path) -> str:
    """The Hugging Face name of a GGUF tensor."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    parts = stem.split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in LAYERS:
        return f"model.layers.{parts[1]}.{LAYERS[parts[2]]}.{kind}"
    raise TrainingRefused(
        f"The base {path} has a tensor {name!r} that is not known here. Give its Hugging Face folder as training.base.",
        param="training.base",
    )


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in the order of llama-family GGUF files (convert_hf_to_gguf.py, LlamaModel.permute)."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `permute`."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _from_folder(folder: Path) -> CausalBase:
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        fast = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        tokenizer = fast.backend_tokenizer
    except (OSError, ValueError, AttributeError, json.JSONDecodeError) as error:
        raise ConfigurationError(
            f"{folder} holds no causal model in Hugging Face's form with a fast tokenizer: {error}",
            param="training.base",
        ) from error
    files = sorted(folder.glob("*.gguf"))
    weights = files[0] if len(files) == 1 else next(iter(sorted(folder.glob("*.safetensors"))), None)
    model.config.use_cache = False
    return CausalBase(
        model=model.eval(),
        tokenizer=tokenizer,
        chat_template=fast.chat_template if isinstance(fast.chat_template, str) else "",
        eos_token=fast.eos_token or "",
        bos_token=fast.bos_token or "",
        architecture=model.config.model_type,
        heads=model.config.num_attention_heads,
        kv_heads=getattr(model.config, "num_key_value_heads", model.config.num_attention_heads),
        sha256=file_sha256(weights) if weights is not None else "",
        gguf=files[0] if len(files) == 1 else None,
    )
