"""Sentence vectors of a dataset's rows, and the nearest training rows of a text."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concertino.datasets.folder import Row
from concertino.evaluation.running import Engine, Note

BACKEND = "encoder"
_AT_ONCE = 64
_TOLD_EVERY = 2048


class Neighbours:
    """Training rows by nearness to a text."""

    def __init__(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self.rows = rows
        self.vectors = vectors

    def nearest(self, vector: np.ndarray, count: int) -> list[tuple[Row, float]]:
        """The `count` nearest rows with their cosine similarity, nearest first."""
        if not self.rows:
            return []
        near = self.vectors @ vector
        best = np.argsort(-near, kind="stable")[:count]
        return [(self.rows[place], float(near[place])) for place in best]


async def embed(engine: Engine, texts: Sequence[str], folder: Path, note: Note) -> np.ndarray:
    """Unit vectors `[texts, width]`, kept in `folder` by a hash of the model and the texts."""
    digest = hashlib.sha256(engine.model_hash.encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    path = folder / f"vectors-{digest.hexdigest()[:20]}.npy"
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False))
    await engine.start()
    note(f"{engine.use.model}: {len(texts)} texts to embed")
    found: list[list[float]] = []
    for start in range(0, len(texts), _AT_ONCE):
        found += (await engine.backend.embed(engine.use.model, texts[start : start + _AT_ONCE])).vectors
        if len(found) % _TOLD_EVERY == 0:
            note(f"{engine.use.model}: {len(found)} of {len(texts)}")
    vectors = np.asarray(found, dtype=np.float32)
    _keep(path, vectors)
    return vectors


def _keep(path: Path, vectors: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, vectors)
    partial.replace(path)
