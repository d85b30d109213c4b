"""The tuned encoder as an ONNX graph: float for reference, int8 for shipping.

The graph is written out node by node rather than traced, so that the export does not change with the version of
torch and every weight matrix can be one `DynamicQuantizeMatMul`: int8 weights with a scale per column, activations
quantised on the fly. It reads the embedding sum of one text, `[1, tokens, width]`, and gives its logits,
`[1, classes]`; the token table stays outside (`router.encoder` looks rows up), so that no file is large.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from concertino.errors import ConfigurationError
from concertino.router.untuned import quantise_columns

Arrays = Mapping[str, np.ndarray]

HEADS = 12
EPSILON = 1e-12
_FUSED = "com.microsoft"


class Precision(StrEnum):
    FLOAT = "float32"
    INT8 = "int8"


def quantise_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[rows, columns]` float -> (int8 of that shape, float32 scale per row)."""
    values, scale = quantise_columns(table.T)
    return np.ascontiguousarray(values.T), scale


class _Graph:
    def __init__(self, precision: Precision) -> None:
        try:
            from onnx import helper, numpy_helper
        except ImportError as error:
            raise ConfigurationError("writing router weights needs onnx: pip install 'concertino[train]'") from error
        self.helper, self.numpy_helper = helper, numpy_helper
        self.precision = precision
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def linear(self, name: str, source: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """`source @ weight + bias`, `weight` as `[in, out]`."""
        bias_name = self.constant(f"{name}.bias", bias.astype(np.float32))
        if self.precision is Precision.FLOAT:
            product = self.node("MatMul", [source, self.constant(f"{name}.weight", weight)], f"{name}.product")
            return self.node("Add", [product, bias_name], name)
        values, scale = quantise_columns(weight)
        inputs = [source, self.constant(f"{name}.weight", values), self.constant(f"{name}.scale", scale), "", bias_name]
        return self.node("DynamicQuantizeMatMul", inputs, name, _FUSED)

    def norm(self, name: str, source: str, gamma: np.ndarray, beta: np.ndarray) -> str:
        inputs = [source, self.constant(f"{name}.gamma", gamma), self.constant(f"{name}.beta", beta)]
        return self.node("LayerNormalization", inputs, name, axis=-1, epsilon=EPSILON)

    def add_and_norm(self, name: str, source: str, skip: str, gamma: np.ndarray, beta: np.ndarray) -> str:
        inputs = [source, skip, self.constant(f"{name}.gamma", gamma), self.constant(f"{name}.beta", beta)]
        return self.node("SkipLayerNormalization", inputs, name, _FUSED, epsilon=EPSILON)


def _layer(graph: _Graph, name: str, source: str, weights: Arrays) -> str:
    def matrix(part: str) -> np.ndarray:
        return weights[f"{name}.{part}.weight"].T

    def vector(part: str, kind: str = "bias") -> np.ndarray:
        return weights[f"{name}.{part}.{kind}"]

    parts = [f"attention.self.{part}" for part in ("query", "key", "value")]
    packed = graph.linear(
        f"{name}.qkv",
        source,
        np.concatenate([matrix(part) for part in parts], axis=1),
        np.concatenate([vector(part) for part in parts]),
    )
    split = [f"{name}.{letter}" for letter in "qkv"]
    graph.nodes.append(graph.helper.make_node("Split", [packed], split, name=f"{name}.split", axis=-1, num_outputs=3))
    attended = graph.node("MultiHeadAttention", split, f"{name}.attended", _FUSED, num_heads=HEADS)
    projected = graph.linear(
        f"{name}.projected", attended, matrix("attention.output.dense"), vector("attention.output.dense")
    )
    norm = "attention.output.LayerNorm"
    middle = graph.add_and_norm(f"{name}.middle", projected, source, vector(norm, "weight"), vector(norm))
    wide = graph.linear(f"{name}.wide", middle, matrix("intermediate.dense"), vector("intermediate.dense"))
    active = graph.node("Gelu", [wide], f"{name}.active", _FUSED)
    narrow = graph.linear(f"{name}.narrow", active, matrix("output.dense"), vector("output.dense"))
    norm = "output.LayerNorm"
    return graph.add_and_norm(f"{name}.out", narrow, middle, vector(norm, "weight"), vector(norm))


def write_encoder(weights: Arrays, head: tuple[np.ndarray, np.ndarray], path: Path, precision: Precision) -> None:
    """Write the graph of a BERT encoder, mean pooling, L2 normalisation and a linear head.

    `weights` are the encoder's arrays under their Hugging Face names without the `bert.` prefix; `head` is
    (`[width, classes]`, `[classes]`). Output `vector` is the unit embedding, `logits` what the head makes of it.
    """
    graph = _Graph(precision)
    helper = graph.helper
    width, classes = head[0].shape
    hidden = graph.norm(
        "embedded", "summed", weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"]
    )
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    for index in range(layers):
        hidden = _layer(graph, f"encoder.layer.{index}", hidden, weights)
    axes = graph.constant("token_axis", np.array([1], dtype=np.int64))
    pooled = graph.node("ReduceMean", [hidden, axes], "pooled", keepdims=0)
    vector = graph.node("LpNormalization", [pooled], "vector", axis=-1, p=2)
    product = graph.node("MatMul", [vector, graph.constant("head.weight", head[0].astype(np.float32))], "head.product")
    graph.node("Add", [product, graph.constant("head.bias", head[1].astype(np.float32))], "logits")

    from onnx import TensorProto, save

    def tensor(name: str, shape: list[int | str]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "router",
            [tensor("summed", [1, "tokens", width])],
            [tensor("logits", [1, classes]), tensor("vector", [1, width])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(_FUSED, 1)],
        ir_version=9,
        producer_name="concertino",
    )
    save(model, str(path))
