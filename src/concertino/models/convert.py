"""A BERT encoder in safetensors -> the GGUF that llama.cpp reads, kept in the store as a derived file.

Layout of safetensors: 8 bytes little-endian header length, a JSON header, then the tensors
(https://huggingface.co/docs/safetensors). GGUF names and WordPiece conventions are llama.cpp's for its `bert`
architecture: whole words begin with U+2581, continuations lose their `##`.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concertino.errors import ModelCorrupt, ModelError
from concertino.models.catalogue import Entry, Format
from concertino.models.file_hash import file_sha256
from concertino.models.store import Manifest, Store, StoredFile

RECIPE = "bert-f16-1"
"""Changes whenever the conversion would give other bytes, so that old ones are not taken for new."""
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
MEAN_POOLING = 1
MOSTLY_F16 = 1

EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
STAYS_F32 = ("token_types.weight", "position_embd.weight")


def needs_conversion(entry: Entry) -> bool:
    """Whether llama.cpp needs a derived file: an encoder whose weights are safetensors."""
    return entry.format is Format.SAFETENSORS and entry.embedding_dimension is not None


def gguf_path(store: Store, name: str, *, locked: bool = False) -> Path:
    """The GGUF that llama.cpp loads for a stored model; made from safetensors the first time, once for all processes.

    `locked` says that the caller holds `store.lock(name)`. Raises ModelMissing, ModelCorrupt, or ModelError for an
    architecture that cannot be converted.
    """
    manifest = store.require(name)
    weights = next(iter(manifest.files))
    if weights.endswith(".gguf"):
        return store.resolve(name)
    derived = f"{name}.f16.gguf"
    if _is_made(store, manifest, derived):
        return store.resolve(name, derived)
    if not locked:
        with store.lock(name):
            return gguf_path(store, name, locked=True)
    room = store.partial(name)
    room.mkdir(parents=True, exist_ok=True)
    part = room / "derived.part"
    convert_bert(
        weights=store.resolve(name, weights, verify=True),
        config=store.resolve(name, "config.json", verify=True),
        vocabulary=store.resolve(name, "vocab.txt", verify=True),
        name=name,
        target=part,
    )
    stored = StoredFile(file_sha256(part), part.stat().st_size, _origin(manifest))
    path = store.adopt(part, stored.sha256)
    store.record(Manifest(name, manifest.files, {derived: stored}, manifest.pulled_at))
    return path


def _origin(manifest: Manifest) -> str:
    return f"{RECIPE} of sha256-{next(iter(manifest.files.values())).sha256}"


def _is_made(store: Store, manifest: Manifest, derived: str) -> bool:
    stored = manifest.derived.get(derived)
    if stored is None or stored.origin != _origin(manifest):
        return False
    path = store.blob(stored.sha256)
    return path.is_file() and path.stat().st_size == stored.bytes


def convert_bert(weights: Path, config: Path, vocabulary: Path, name: str, target: Path) -> None:
    """Write `target`: matrices in float16, vectors in float32, mean pooling, a WordPiece vocabulary."""
    import gguf  # 0.2 s to import, and needed once in a model's life

    about = json.loads(config.read_text("utf-8"))
    if about.get("model_type") != "bert" or about.get("hidden_act") != "gelu":
        raise ModelError(
            f"{name!r} is a {about.get('model_type')!r} model; only BERT encoders can be converted to GGUF here. "
            "Give the catalogue a GGUF file of it instead.",
            param=name,
        )
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(name)
    writer.add_file_type(MOSTLY_F16)
    writer.add_context_length(about["max_position_embeddings"])
    writer.add_embedding_length(about["hidden_size"])
    writer.add_feed_forward_length(about["intermediate_size"])
    writer.add_block_count(about["num_hidden_layers"])
    writer.add_head_count(about["num_attention_heads"])
    writer.add_layer_norm_eps(about["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(MEAN_POOLING))
    _add_vocabulary(writer, vocabulary.read_text("utf-8").splitlines(), about["type_vocab_size"])
    for source, tensor in read_safetensors(weights).items():
        if target_name := _gguf_name(source):
            half = tensor.ndim == 2 and target_name not in STAYS_F32
            writer.add_tensor(target_name, np.ascontiguousarray(tensor, dtype=np.float16 if half else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, tokens: list[str], types: int) -> None:
    normal, unknown, control, unused = 1, 2, 3, 5  # llama.cpp's token attributes
    kinds = []
    for token in tokens:
        special = token.startswith("[") and token.endswith("]") and len(token) > 2
        kinds.append(unused if token.startswith("[unused") else control if special else normal)
    kinds[tokens.index("[UNK]")] = unknown
    pieces = [
        token if kind != normal else token[2:] if token.startswith("##") and len(token) > 2 else f"\u2581{token}"
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_type_count(types)
    writer.add_bos_token_id(tokens.index("[CLS]"))
    writer.add_eos_token_id(tokens.index("[SEP]"))
    writer.add_sep_token_id(tokens.index("[SEP]"))
    writer.add_unk_token_id(tokens.index("[UNK]"))
    writer.add_pad_token_id(tokens.index("[PAD]"))
    writer.add_mask_token_id(tokens.index("[MASK]"))


def _gguf_name(source: str) -> str | None:
    """llama.cpp's name of a tensor, or None for those an encoder with mean pooling does not need."""
    source = source.removeprefix("bert.")
    if source in EMBEDDINGS:
        return EMBEDDINGS[source]
    module, _, kind = source.rpartition(".")
    if module in EMBEDDINGS:
        return f"{EMBEDDINGS[module]}.{kind}"
    if module.startswith("encoder.layer."):
        number, _, inner = module.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{LAYER[inner]}.{kind}"
    return None


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Floating-point tensors of a safetensors file by name, mapped rather than read. Raises ModelCorrupt."""
    with path.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header: dict[str, Any] = json.loads(handle.read(length))
    mapped = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    tensors: dict[str, NDArray[Any]] = {}
    for name, about in header.items():
        if name == "__metadata__" or about["dtype"] not in DTYPES:
            continue
        begin, end = about["data_offsets"]
        dtype = DTYPES[about["dtype"]]
        if end > mapped.size or end - begin != math.prod(about["shape"]) * dtype.itemsize:
            raise ModelCorrupt(f"{path}: the tensor {name} does not lie within the file.")
        tensors[name] = mapped[begin:end].view(dtype).reshape(about["shape"])
    return tensors
