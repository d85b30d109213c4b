"""all-MiniLM-L6-v2 as published, from the model store: what descriptions and tables of outcomes are compared by.

The head's encoder does not do for them: tuning it for five classes made it forget what the others are about.
"""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from concertino.backends.encoder.session import EncoderFiles, shared_encoder
from concertino.config import home_folder
from concertino.default_models import SENTENCE_ENCODER
from concertino.models import Store
from concertino.router.encoder import Encoder

WEIGHTS = "model.safetensors"


class PublishedEncoder(Encoder):
    """Text -> embeddings, in fp32. It has no head, and so no logits."""

    def __init__(self, files: EncoderFiles) -> None:
        self._base = shared_encoder(files)
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._pool = None

    def _run(self, tokens: list[int], output: str) -> np.ndarray:
        vector = self._base.pooled(tokens)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def open_published(home: Path | None = None) -> PublishedEncoder:
    """The encoder of the store in `home`, by default the usual home folder. Raises ModelMissing."""
    store = Store(home or home_folder())
    return PublishedEncoder(EncoderFiles.found(lambda name: store.resolve(SENTENCE_ENCODER, name)))


def published_sha256(home: Path | None = None) -> str:
    """SHA-256 of the weights that `open_published` reads. Raises ModelMissing."""
    return Store(home or home_folder()).require(SENTENCE_ENCODER).files[WEIGHTS].sha256
