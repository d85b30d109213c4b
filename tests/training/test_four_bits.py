"""QLoRA: the base in 4 bits, on a processor."""

import sys
from pathlib import Path
from typing import Any

import pytest

from concertino.errors import ConfigurationError
from concertino.recipe import Method
from tests.training import tiny

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train


def test_an_adapter_is_trained_on_a_base_in_four_bits(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from concertino.training.causal import train

    base = tiny.write_base(tmp_path / "base.gguf", "qwen2")
    data = tiny.dataset(tmp_path / "data", tiny.pets(60), tiny.pets(18, start=100))
    result = train(tiny.recipe(epochs=10, method=Method.QLORA), data, base, tmp_path / "run")
    assert result.best_dev is not None and result.best_dev > 0.65  # by chance 0.33
    # llama.cpp answers with the base as it is in its file, torch with the base in 4 bits.
    assert result.agreement is not None and result.agreement >= 0.8


@pytest.fixture
def held() -> Any:
    """A small model of two linear layers, in 4 bits."""
    pytest.importorskip("bitsandbytes")
    from concertino.training.lora import in_four_bits

    torch.manual_seed(1)
    model = torch.nn.ModuleDict({"up_proj": torch.nn.Linear(64, 128), "down_proj": torch.nn.Linear(128, 64)})
    model.plain = torch.nn.Linear(64, 64)
    in_four_bits(model, torch.device("cpu"))
    return model


def test_linear_layers_take_half_a_byte_a_weight_and_answer_nearly_alike(held: Any) -> None:
    from concertino.training.lora import put_in_bf16

    up = held["up_proj"]
    assert up.weight.numel() * up.weight.element_size() == 64 * 128 // 2
    assert type(held.plain) is torch.nn.Linear
    torch.manual_seed(1)
    exact = torch.nn.Linear(64, 128)
    given = torch.randn(8, 64)
    with torch.no_grad():
        assert float((up(given) - exact(given)).norm() / exact(given).norm()) < 0.2
        before = up(given)
        put_in_bf16(held)  # has no business with what lies in 4 bits
        assert held.plain.weight.dtype == torch.bfloat16
        assert float((up(given) - before).norm() / before.norm()) < 0.02


def test_a_gradient_passes_after_an_answer_without_one(held: Any) -> None:
    """On a processor with bf16 instructions bitsandbytes would repack the weights in a form that stops gradients."""
    given = torch.randn(1, 64)

    def gradient() -> Any:
        wanted = given.clone().requires_grad_()
        held.train()
        held["down_proj"](held["up_proj"](wanted)).sum().backward()
        assert wanted.grad is not None
        return wanted.grad

    before = gradient()
    held.eval()
    with torch.no_grad():
        held["down_proj"](held["up_proj"](given))
    assert float(before.abs().max()) > 0
    assert torch.equal(gradient(), before)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concertino.training.causal import train

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    base = tiny.write_base(tmp_path / "base.gguf")
    data = tiny.dataset(tmp_path / "data", tiny.pets(6))
    with pytest.raises(ConfigurationError, match=r"qlora needs bitsandbytes: pip install 'concertino\[qlora\]'"):
        train(tiny.recipe(method=Method.QLORA), data, base, tmp_path / "run")
