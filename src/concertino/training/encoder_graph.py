"""The graph of a BERT encoder without its weights: what `backends.encoder` runs, written node by node.

Every weight is an external initializer under its Hugging Face name, so one small file serves any weights of that
shape, and the bytes of the base model stay where the store keeps them. Each linear layer has a LoRA branch whose
matrices are inputs (Hu et al. 2021, "LoRA"): `W x + b + B (A x)`, so one session serves every adapter on a base, and
an adapter is chosen by request. Inputs: `summed`, `[1, tokens, width]`, the embedding sum of one text, and for each
layer and module `layer.{i}.{module}.A` as `[in, rank]` and `.B` as `[rank, out]`. Output: `pooled`, `[1, width]`.
"""

from pathlib import Path
from typing import Any

from msgspec import Struct

from concertino.backends.encoder.shape import MODULES, EncoderShape
from concertino.errors import ConfigurationError

_FUSED = "com.microsoft"


class _Linear(Struct, frozen=True):
    module: str
    weights: str
    """Hugging Face name below the layer."""
    inside: int
    outside: int


class _Writer:
    def __init__(self, shape: EncoderShape) -> None:
        try:
            from onnx import TensorProto, helper
        except ImportError as error:
            raise ConfigurationError(
                "writing an encoder's graph needs onnx: pip install 'concertino[train]'"
            ) from error
        self.float, self.helper, self.shape, self.tensor = TensorProto.FLOAT, helper, shape, TensorProto
        self.external, self.int64 = TensorProto.EXTERNAL, TensorProto.INT64
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []

    def weight(self, name: str, *shape: int) -> str:
        """An initializer whose values are handed in when the session is made."""
        tensor = self.tensor(name=name, data_type=self.float, dims=shape, data_location=self.external)
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "weights"
        self.initializers.append(tensor)
        return name

    def input(self, name: str, *shape: int | str) -> str:
        self.inputs.append(self.helper.make_tensor_value_info(name, self.float, shape))
        return name

    def node(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def linear(self, layer: int, source: str, linear: _Linear) -> str:
        """`source @ weight + bias + (source @ A) @ B`; the weight comes transposed, as `[in, out]`."""
        name = f"layer.{layer}.{linear.module}"
        stem = f"encoder.layer.{layer}.{linear.weights}"
        product = self.node(
            "MatMul", [source, self.weight(f"{stem}.weight", linear.inside, linear.outside)], f"{name}.product"
        )
        plain = self.node("Add", [product, self.weight(f"{stem}.bias", linear.outside)], f"{name}.plain")
        rank = f"rank.{layer}.{linear.module}"
        down = self.node("MatMul", [source, self.input(f"{name}.A", linear.inside, rank)], f"{name}.down")
        up = self.node("MatMul", [down, self.input(f"{name}.B", rank, linear.outside)], f"{name}.up")
        return self.node("Add", [plain, up], name)

    def norm(self, name: str, source: str, stem: str) -> str:
        width = self.shape.width
        inputs = [source, self.weight(f"{stem}.weight", width), self.weight(f"{stem}.bias", width)]
        return self.node("LayerNormalization", inputs, name, axis=-1, epsilon=self.shape.epsilon)

    def layer(self, index: int, source: str) -> str:
        shape = self.shape
        inside = {"up": shape.width, "down": shape.inner}
        outside = {"up": shape.inner, "down": shape.width}
        made = {
            module: _Linear(module, stem, inside.get(module, shape.width), outside.get(module, shape.width))
            for module, stem in MODULES.items()
        }
        name = f"layer.{index}"
        heads = [self.linear(index, source, made[module]) for module in ("query", "key", "value")]
        attended = self.node("MultiHeadAttention", heads, f"{name}.attended", _FUSED, num_heads=shape.heads)
        projected = self.linear(index, attended, made["output"])
        summed = self.node("Add", [projected, source], f"{name}.skip")
        middle = self.norm(f"{name}.middle", summed, f"encoder.layer.{index}.attention.output.LayerNorm")
        active = self.node("Gelu", [self.linear(index, middle, made["up"])], f"{name}.active", _FUSED)
        narrow = self.linear(index, active, made["down"])
        again = self.node("Add", [narrow, middle], f"{name}.again")
        return self.norm(f"{name}.out", again, f"encoder.layer.{index}.output.LayerNorm")


def write_graph(shape: EncoderShape, path: Path) -> None:
    """Write the weightless graph for encoders of `shape`. Needs the `train` extra."""
    writer = _Writer(shape)
    helper = writer.helper
    summed = writer.input("summed", 1, "tokens", shape.width)
    hidden = writer.norm("embedded", summed, "embeddings.LayerNorm")
    for index in range(shape.layers):
        hidden = writer.layer(index, hidden)
    axes = helper.make_tensor("token_axis", writer.int64, [1], [1])
    writer.node("ReduceMean", [hidden, "token_axis"], "pooled", keepdims=0)
    pooled = helper.make_tensor_value_info("pooled", writer.float, [1, shape.width])
    model = helper.make_model(
        helper.make_graph(writer.nodes, "encoder", writer.inputs, [pooled], [*writer.initializers, axes]),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(_FUSED, 1)],
        ir_version=9,
        producer_name="concertino",
    )
    path.write_bytes(model.SerializeToString(deterministic=True))
