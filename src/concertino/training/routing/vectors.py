"""Vectors of texts that are looked at again and again, kept in the home folder."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from concertino.router.fitted import Vectors

FOLDER = "vectors"
"""Of the home folder."""
KEPT = 4
"""Files there, the last used."""

Rows = Sequence[tuple[str, str]]


def remembered(
    rows: Rows, encoder: Vectors, encoder_sha256: str, home: Path, note: Callable[[str], None]
) -> np.ndarray:
    """Unit-length vectors of the rows' texts, float32 `[rows, width]`, made where the home folder has none by this
    encoder of these texts. They are kept as float16 without their texts; a home folder that cannot be written is said.
    """
    digest = hashlib.sha256(encoder_sha256.encode())
    for text, _ in rows:
        digest.update(f"\0{len(text)}\0".encode() + text.encode("utf-8", "replace"))
    path = home / FOLDER / f"{digest.hexdigest()[:32]}.npy"
    try:
        found = np.load(path, allow_pickle=False).astype(np.float32)
        if len(found) == len(rows):
            with suppress(OSError):
                os.utime(path)
            return np.asarray(found)
    except (OSError, ValueError, EOFError):
        pass  # none yet, or half of one
    note(f"reading {len(rows)} examples, for the first time")
    vectors = encoder.whole([text for text, _ in rows]).astype(np.float16)
    try:
        _keep(path, vectors)
    except OSError as error:
        note(f"their vectors cannot be kept: {error}")
    return np.asarray(vectors, dtype=np.float32)


def _keep(path: Path, vectors: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, vectors)
    partial.replace(path)
    for old in sorted(path.parent.glob("*.npy"), key=lambda one: one.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)
