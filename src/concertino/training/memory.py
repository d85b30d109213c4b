"""Keep a long training's memory from growing with the number of steps."""

import ctypes

MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of glibc's mallopt(3)."""
LARGE = 1 << 20
"""Bytes. What is at least so large is given back to the system when it is freed."""


def give_back_large_blocks() -> bool:
    """Have glibc map large blocks by themselves, for the rest of the process; False where there is no glibc.

    By default glibc learns to take blocks of up to 32 MB from its heap. Texts of many lengths make tensors of many
    sizes, between which small long-lived blocks lie, so that holes cannot be given back and the heap grows for hours.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(MMAP_THRESHOLD, LARGE))
    except (OSError, AttributeError):
        return False
