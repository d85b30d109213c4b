"""What the frozen weights are multiplied in while an adapter is trained."""

import re
from pathlib import Path
from typing import Any

from concertino.recipe import Precision

FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""How Linux names the instructions for bf16 products, on x86 and on ARM."""


def in_bf16(wanted: Precision, device: Any = None) -> bool:
    """Whether to multiply in bf16: as the recipe says, and with `auto` where the machine has instructions for it.

    `device` is torch's; None means the processor. Without such instructions bf16 is slower than fp32.
    """
    if wanted is not Precision.AUTO:
        return wanted is Precision.BF16
    return (device is not None and device.type != "cpu") or processor_multiplies_bf16()


def processor_multiplies_bf16(about: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions for bf16 products; False where the system does not tell."""
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", about.read_text("ascii", "replace"), re.MULTILINE)
    except OSError:
        return False
    return found is not None and bool(FLAGS & set(found.group(1).split()))
