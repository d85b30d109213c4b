"""A BERT encoder for training: frozen weights, a LoRA branch on every linear layer, mean pooling and a head.

The arithmetic is that of `encoder_graph`, batched and padded. Needs torch; imported by `training.encoder` alone.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional

from concertino.backends.encoder.shape import MODULES, EncoderShape


class LoraLinear(torch.nn.Module):
    """`W x + b + scale B (A x)` with W and b frozen (Hu et al. 2021). B begins at zero, so training begins at W.

    It multiplies in the type of what it is given: fp32, or bf16, for which it holds a copy of W.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rank: int, scale: float, bf16: bool) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("weight_bf16", weight.bfloat16() if bf16 else None, persistent=False)
        outside, inside = weight.shape
        self.A = torch.nn.Parameter(torch.randn(inside, rank) / math.sqrt(inside))
        self.B = torch.nn.Parameter(torch.zeros(rank, outside))
        self.scale = scale

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        flat = hidden.flatten(0, -2)
        kind = flat.dtype
        weight = self.weight if kind is torch.float32 else self.weight_bf16
        plain = functional.linear(flat, weight, self.bias.to(kind))
        low = flat @ self.A.to(kind)
        return torch.addmm(plain, low, self.B.to(kind), alpha=self.scale).unflatten(0, hidden.shape[:-1])


class EncoderModel(torch.nn.Module):
    """Token ids -> logits over labels. Only the LoRA matrices and the head are parameters.

    With `bf16` it is trained in bf16, and in fp32 it is asked, as when serving.
    """

    def __init__(
        self,
        shape: EncoderShape,
        weights: Path,
        labels: int,
        rank: int,
        alpha: float,
        dropout: float,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.bf16 = bf16
        self.shape = shape
        self.dropout = dropout
        arrays = {name.removeprefix("bert."): value.float() for name, value in load_file(str(weights)).items()}
        self._frozen: dict[str, torch.Tensor] = {
            name: value for name, value in arrays.items() if "LayerNorm" in name or name.startswith("embeddings.")
        }
        self.linear = torch.nn.ModuleDict()
        for layer in range(shape.layers):
            for module, stem in MODULES.items():
                name = f"encoder.layer.{layer}.{stem}"
                self.linear[f"{layer}_{module}"] = LoraLinear(
                    arrays[f"{name}.weight"], arrays[f"{name}.bias"], rank, alpha / rank, bf16
                )
        self.head = torch.nn.Linear(shape.width, labels)
        torch.nn.init.normal_(self.head.weight, std=0.02)
        torch.nn.init.zeros_(self.head.bias)

    def adapter_parameters(self) -> list[torch.nn.Parameter]:
        return list(self.linear.parameters())

    def _norm(self, hidden: torch.Tensor, stem: str) -> torch.Tensor:
        weight, bias = self._frozen[f"{stem}.weight"], self._frozen[f"{stem}.bias"]
        kind = hidden.dtype
        return functional.layer_norm(hidden, (self.shape.width,), weight.to(kind), bias.to(kind), self.shape.epsilon)

    def _layer(self, index: int, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        def linear(module: str, source: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.linear[f"{index}_{module}"](source)
            return found

        def heads(values: torch.Tensor) -> torch.Tensor:
            return values.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2)

        query, key, value = (heads(linear(module, hidden)) for module in ("query", "key", "value"))
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        name = f"encoder.layer.{index}"
        middle = self._norm(linear("output", attended) + hidden, f"{name}.attention.output.LayerNorm")
        narrow = linear("down", functional.gelu(linear("up", middle)))
        return self._norm(narrow + middle, f"{name}.output.LayerNorm")

    def pooled(self, batch: Sequence[Sequence[int]]) -> torch.Tensor:
        """Mean of the last layer over each text's tokens, `[texts, width]`."""
        longest = max(len(ids) for ids in batch)
        ids = torch.tensor([[*tokens, *([0] * (longest - len(tokens)))] for tokens in batch])
        kept = torch.tensor([[1.0] * len(tokens) + [0.0] * (longest - len(tokens)) for tokens in batch])
        words = functional.embedding(ids, self._frozen["embeddings.word_embeddings.weight"])
        places = self._frozen["embeddings.position_embeddings.weight"][:longest]
        kind = self._frozen["embeddings.token_type_embeddings.weight"][0]
        hidden = self._norm(words + places + kind, "embeddings.LayerNorm")
        if self.bf16 and self.training:
            hidden = hidden.bfloat16()
        mask = kept.bool()[:, None, None, :]
        for index in range(self.shape.layers):
            hidden = self._layer(index, hidden, mask)
        return (hidden.float() * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)

    def forward(self, batch: Sequence[Sequence[int]]) -> torch.Tensor:
        pooled = functional.dropout(self.pooled(batch), self.dropout, self.training)
        logits: torch.Tensor = self.head(pooled)
        return logits

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The adapter as the encoder engine reads it: LoRA's scale is folded into B."""
        found = {}
        for name, module in self.linear.items():
            layer, part = name.split("_")
            found[f"layer.{layer}.{part}.A"] = module.A.detach().numpy()
            found[f"layer.{layer}.{part}.B"] = (module.B * module.scale).detach().numpy()
        found["head.weight"] = self.head.weight.detach().numpy().T
        found["head.bias"] = self.head.bias.detach().numpy()
        return {name: np.ascontiguousarray(value, dtype=np.float16) for name, value in found.items()}

    def take(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Become the member that `arrays` are of."""
        with torch.no_grad():
            for name, module in self.linear.items():
                layer, part = name.split("_")
                module.A.copy_(torch.from_numpy(arrays[f"layer.{layer}.{part}.A"].astype(np.float32)))
                module.B.copy_(torch.from_numpy(arrays[f"layer.{layer}.{part}.B"].astype(np.float32)) / module.scale)
            self.head.weight.copy_(torch.from_numpy(arrays["head.weight"].astype(np.float32).T))
            self.head.bias.copy_(torch.from_numpy(arrays["head.bias"].astype(np.float32)))
        self.eval()
