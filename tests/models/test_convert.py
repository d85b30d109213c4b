"""The converted encoder embeds as the original does."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from concertino.config import home_folder
from concertino.errors import ModelCorrupt, ModelError
from concertino.models import Store, gguf_path, load_catalogue
from concertino.models.catalogue import LocalSource
from concertino.models.convert import read_safetensors
from concertino.models.pull import Puller

from .conftest import make_entry

Array = NDArray[Any]
MINILM = "all-MiniLM-L6-v2"
REAL_HOME = os.environ.get("CONCERTINO_HOME", "")
TEXTS = [
    "hello world",
    "The lessee shall indemnify the lessor against all claims.",
    "Straße café naïve — Ünïcödé, 12.5% (a/b)",
    "def f(x):\n    return x**2",
    "東京は日本の首都です",
    "electroencephalographically pneumonoultramicroscopic",
    "[CLS] is a word here, [SEP] too",
    "word " * 200,
]


def tiny_bert(folder: Path, hidden: int = 8, layers: int = 1, hidden_act: str = "gelu") -> dict[str, Path]:
    """A BERT encoder of random weights with six words, as three files."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "he", "##llo", "[unused0]"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(words), hidden),
        "embeddings.position_embeddings.weight": (16, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "pooler.dense.weight": (hidden, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(layers):
        layer = f"encoder.layer.{number}"
        for module in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{layer}.{module}.weight": (hidden, hidden), f"{layer}.{module}.bias": (hidden,)}
        shapes |= {f"{layer}.intermediate.dense.weight": (16, hidden), f"{layer}.intermediate.dense.bias": (16,)}
        shapes |= {f"{layer}.output.dense.weight": (hidden, 16), f"{layer}.output.dense.bias": (hidden,)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    header: dict[str, Any] = {}
    body = b""
    draw = np.random.default_rng(1)
    for name, shape in shapes.items():
        blob = draw.standard_normal(shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(blob)]}
        body += blob
    head = json.dumps(header).encode()
    config = {"model_type": "bert", "hidden_act": hidden_act, "hidden_size": hidden, "intermediate_size": 16}
    config |= {"num_hidden_layers": layers, "num_attention_heads": 2, "max_position_embeddings": 16}
    config |= {"type_vocab_size": 2, "layer_norm_eps": 1e-12}
    files = {name: folder / name for name in ("model.safetensors", "config.json", "vocab.txt")}
    files["model.safetensors"].write_bytes(struct.pack("<Q", len(head)) + head + body)
    files["config.json"].write_text(json.dumps(config))
    files["vocab.txt"].write_text("\n".join(words) + "\n", encoding="utf-8")
    return files


def pull_local(store: Store, files: dict[str, Path]) -> None:
    entry = make_entry("tiny", {n: (p.read_bytes(), (LocalSource(str(p)),)) for n, p in files.items()})
    Puller(store).pull(entry)


def test_an_encoder_is_converted_once_and_the_gguf_has_its_words_and_weights(store: Store, tmp_path: Path) -> None:
    from gguf import GGUFReader

    files = tiny_bert(tmp_path / "bert")
    pull_local(store, files)
    path = gguf_path(store, "tiny")
    assert path.parent == store.blobs
    made = path.stat().st_mtime_ns
    assert gguf_path(store, "tiny") == path
    assert path.stat().st_mtime_ns == made
    reader = GGUFReader(path)
    assert reader.fields["tokenizer.ggml.tokens"].contents() == [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *("\u2581he", "llo", "[unused0]"),
    ]
    assert reader.fields["bert.pooling_type"].contents() == 1
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert not [name for name in tensors if "pooler" in name]
    original = read_safetensors(files["model.safetensors"])["encoder.layer.0.output.dense.weight"]
    np.testing.assert_allclose(tensors["blk.0.ffn_down.weight"].data, original, rtol=1e-3)


def test_a_derived_file_is_leased_listed_and_removed_with_its_model(store: Store, tmp_path: Path) -> None:
    pull_local(store, tiny_bert(tmp_path / "bert"))
    path = gguf_path(store, "tiny")
    with store.lease("tiny"), pytest.raises(ModelError, match="in use"):
        store.remove("tiny")
    store.remove("tiny")
    assert not path.exists()


def test_the_same_weights_always_give_the_same_gguf(tmp_path: Path) -> None:
    files = tiny_bert(tmp_path / "bert")
    names = []
    for home in (tmp_path / "one", tmp_path / "two"):
        pull_local(Store(home), files)
        names.append(gguf_path(Store(home), "tiny").name)
    assert names[0] == names[1]


def test_a_derived_file_that_is_damaged_is_made_anew_by_pull(store: Store, tmp_path: Path) -> None:
    files = tiny_bert(tmp_path / "bert")
    pull_local(store, files)
    path = gguf_path(store, "tiny")
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    pull_local(store, files)
    assert gguf_path(store, "tiny").read_bytes() == whole


def test_another_architecture_is_refused_with_what_to_do(store: Store, tmp_path: Path) -> None:
    pull_local(store, tiny_bert(tmp_path / "bert", hidden_act="relu"))
    with pytest.raises(ModelError, match="Give the catalogue a GGUF file"):
        gguf_path(store, "tiny")


def test_a_tensor_that_points_outside_its_file_is_corrupt(tmp_path: Path) -> None:
    head = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(head)) + head + bytes(8))
    with pytest.raises(ModelCorrupt):
        read_safetensors(tmp_path / "x")


@pytest.mark.models
def test_minilm_through_llama_cpp_is_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    import xllamacpp

    home = home_folder(REAL_HOME)
    store = Store(home)
    Puller(store).pull(load_catalogue(home).entry(MINILM))
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf_path(store, MINILM))
    parameters.embedding = True
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 512
    rows = xllamacpp.Server(parameters).handle_embeddings({"input": TEXTS})["data"]
    for text, row in zip(TEXTS, rows, strict=True):
        found = np.array(row["embedding"])
        assert found.shape == (384,)
        wanted = reference(text, *(store.resolve(MINILM, file) for file in (None, "config.json", "tokenizer.json")))
        assert found @ wanted / np.linalg.norm(found) > 0.9999, text


def reference(text: str, weights: Path, config: Path, tokenizer: Path) -> Array:
    """Mean-pooled, L2-normalised embedding, shape (hidden_size,). Devlin et al. 2019; exact GELU."""
    about = json.loads(config.read_text("utf-8"))
    w = {name: tensor.astype(np.float64) for name, tensor in read_safetensors(weights).items()}
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.no_truncation()
    ids = reader.encode(text).ids
    heads, eps = about["num_attention_heads"], about["layer_norm_eps"]

    def norm(x: Array, name: str) -> Array:
        spread = np.sqrt(x.var(-1, keepdims=True) + eps)
        scaled: Array = (x - x.mean(-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]
        return scaled

    def dense(x: Array, name: str) -> Array:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(about["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            dense(x, f"{layer}.attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weight / weight.sum(-1, keepdims=True)) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    pooled: Array = x.mean(0)
    unit: Array = pooled / np.linalg.norm(pooled)
    return unit
