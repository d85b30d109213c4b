"""LoRA on the linear layers of a causal language model (Hu et al. 2021, arXiv:2106.09685).

Needs torch; imported by `training.causal` when a training begins.
"""

import math
from typing import Any

import torch
from torch.nn import functional

from concertino.errors import ConfigurationError, TrainingRefused

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every linear layer of a block; never the embeddings or lm_head, which would bar swapping adapters while serving."""


class LoraLinear(torch.nn.Module):
    """`W x + b + scale B (A x)` over a frozen linear layer. A is `[rank, in]`, B `[out, rank]` and begins at zero."""

    def __init__(self, base: Any, rank: int, scale: float, dropout: float, draw: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = dropout
        bound = 1 / math.sqrt(base.in_features)
        self.A = torch.nn.Parameter(torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=draw))
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if hidden.device.type == "cpu" and type(self.base) is torch.nn.Linear and not (self.dropout and self.training):
            fused: torch.Tensor = _Fused.apply(hidden, self.base.weight, self.base.bias, self.A, self.B, self.scale)
            return fused
        plain: torch.Tensor = self.base(hidden)
        seen = functional.dropout(hidden, self.dropout, self.training) if self.dropout else hidden
        low = functional.linear(functional.linear(seen.to(self.A.dtype), self.A), self.B)
        return plain + (low * self.scale).to(plain.dtype)


class _Fused(torch.autograd.Function):
    """The same sum with the branch added in place: no copies of the wide activations, forwards or backwards."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
        flat = hidden.reshape(-1, hidden.shape[-1])
        a, b = a.to(flat.dtype), b.to(flat.dtype)  # a base in bf16 has its branches multiplied in bf16 too
        low = flat @ a.t()
        out = torch.addmm(bias, flat, weight.t()) if bias is not None else flat @ weight.t()
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(flat, low, weight, a, b)
        ctx.scale = scale
        return out.view(*hidden.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        flat, low, weight, a, b = ctx.saved_tensors
        out = gradients[0].reshape(-1, gradients[0].shape[-1])
        inner = (out @ b).mul_(ctx.scale)
        into = None
        if ctx.needs_input_grad[0]:
            into = (out @ weight).addmm_(inner, a).view(*gradients[0].shape[:-1], -1)
        return into, None, None, (inner.t() @ flat).float(), (out.t() @ low).float().mul_(ctx.scale), None


def attach(model: Any, rank: int, alpha: float, dropout: float, seed: int) -> dict[str, LoraLinear]:
    """Freeze `model` and give each of its blocks' linear layers a branch.

    Returns the branches by the name of their layer (`model.layers.0.self_attn.q_proj`), drawn from `seed`.
    Raises TrainingRefused for a model that has no such layers.
    """
    model.requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    linears = [name for name, module in model.named_modules() if _is_linear(module) and name.split(".")[-1] in MODULES]
    if not linears:
        raise TrainingRefused(
            f"The base has none of the layers that LoRA is put on ({', '.join(MODULES)}). "
            "Choose a base of the llama or qwen2 family.",
            param="training.base",
        )
    branches = {}
    for name in linears:
        parent = model.get_submodule(name.rpartition(".")[0])
        branch = LoraLinear(getattr(parent, name.rpartition(".")[2]), rank, alpha / rank, dropout, draw)
        setattr(parent, name.rpartition(".")[2], branch)
        branches[name] = branch
    return branches


def _is_linear(module: Any) -> bool:
    return hasattr(module, "in_features") and hasattr(module, "out_features")


def weights_of(branches: dict[str, LoraLinear]) -> dict[str, torch.Tensor]:
    """Copies of the matrices, fp32 on the CPU, as `NAME.A` and `NAME.B`."""
    return {
        f"{name}.{side}": gathered(getattr(branch, side)).detach().to("cpu", torch.float32, copy=True)
        for name, branch in branches.items()
        for side in ("A", "B")
    }


def put_weights(branches: dict[str, LoraLinear], weights: dict[str, torch.Tensor]) -> None:
    """Set the matrices. Raises TrainingRefused where names or shapes are those of another base."""
    wanted = {f"{name}.{side}": getattr(branch, side) for name, branch in branches.items() for side in ("A", "B")}
    wrong = [name for name in wanted.keys() | weights.keys() if _shape(wanted, name) != _shape(weights, name)]
    if wrong:
        name = min(wrong)
        raise TrainingRefused(
            f"The adapter is for another base: {len(wrong)} of its {len(weights)} matrices do not fit, as {name}, "
            f"which is {_shape(weights, name)} in the adapter and {_shape(wanted, name)} in the base. "
            "Use the base that it was trained on.",
            param="training.base",
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(_like(parameter, weights[name].to(parameter.device, parameter.dtype)))


def cut_to(weights: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """The nearest matrices of `rank` (Eckart and Young 1936): of each product B A the largest singular values stay.

    Shapes stay too: rows of A and columns of B beyond `rank` are zero.
    """
    cut = {}
    for name in sorted({name.rpartition(".")[0] for name in weights}):
        a, b = weights[f"{name}.A"], weights[f"{name}.B"]
        left, inner_left = torch.linalg.qr(b)
        right, inner_right = torch.linalg.qr(a.t())
        u, values, v = torch.linalg.svd(inner_left @ inner_right.t())
        root = values.sqrt()
        root[rank:] = 0.0
        cut[f"{name}.A"] = (root[:, None] * v) @ right.t()
        cut[f"{name}.B"] = (left @ u) * root
    return cut


def shortened(weights: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """The first `rank` rows of each A and columns of each B."""
    return {
        name: (matrix[:rank] if name.endswith(".A") else matrix[:, :rank]).contiguous()
        for name, matrix in weights.items()
    }


def _shape(matrices: dict[str, Any], name: str) -> str:
    return "x".join(map(str, matrices[name].shape)) if name in matrices else "absent"


def _like(parameter: Any, value: Any) -> Any:
    """A whole matrix, in shards where the parameter is."""
    if not hasattr(parameter, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


def gathered(parameter: Any) -> Any:
    """A parameter whole, where FSDP keeps a shard of it on each process."""
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter


def put_in_bf16(model: Any) -> None:
    """Put the weights of `model` in bf16, but not its buffers: rotary frequencies need all their bits.

    Nor what lies in 4 bits already.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.bfloat16)


def in_four_bits(model: Any, device: Any) -> None:
    """Put the linear layers of `model` in 4 bits (NF4; Dettmers et al. 2023, arXiv:2305.14314), each on `device`.

    Raises ConfigurationError without bitsandbytes.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise ConfigurationError(
            "training.method qlora needs bitsandbytes: pip install 'concertino[qlora]'", param="training.method"
        ) from error
    for name in [name for name, module in model.named_modules() if type(module) is torch.nn.Linear]:
        if name.split(".")[-1] not in MODULES:
            continue
        parent, old = model.get_submodule(name.rpartition(".")[0]), model.get_submodule(name)
        new = bitsandbytes.nn.Linear4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compute_dtype=torch.bfloat16,
            quant_type="nf4",
        )
        new.weight = bitsandbytes.nn.Params4bit(old.weight.detach(), requires_grad=False, quant_type="nf4")
        if old.bias is not None:
            new.bias = old.bias
        # On processors with bf16 instructions its first answer would repack the weights in a form that no gradient
        # passes: after a look at dev the training would fail, or go on without one.
        new.support_avx512bf16_for_cpu = False
        setattr(parent, name.rpartition(".")[2], new.to(device))
