"""What the frozen weights are multiplied in."""

from pathlib import Path

import pytest

from concertino.recipe import Precision
from concertino.training.precision import in_bf16, processor_multiplies_bf16


@pytest.mark.parametrize(
    ("about", "can"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("Features\t: fp asimd bf16 sve\n", True),
        ("flags\t\t: fpu avx512f avx2\nmodel name: x avx512_bf16\n", False),
        ("", False),
    ],
)
def test_the_processor_says_whether_it_multiplies_bf16(about: str, can: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(about)
    assert processor_multiplies_bf16(tmp_path / "cpuinfo") is can


def test_a_system_that_does_not_tell_trains_in_fp32(tmp_path: Path) -> None:
    assert not processor_multiplies_bf16(tmp_path / "absent")


def test_a_recipe_that_names_a_precision_gets_it() -> None:
    assert in_bf16(Precision.BF16)
    assert not in_bf16(Precision.FP32)
