"""A small tuned sentence encoder with a linear head, int8, one text at a time.

Each text is run by itself, unpadded. That is faster here than a padded batch, and it makes a text's score depend on
nothing but the text: activations are quantised on the fly, so in a shared batch the neighbours would set the scale.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from concertino.router.manifest import FILES

MAX_CHARACTERS = 8_000
"""Longer texts lose their middle before they are tokenised, so that no text is slow."""
MAX_TOKENS = 192
"""What the encoder reads of a text: its first and last tokens, with [CLS] and [SEP]."""

END_TOKENS = 48
"""Of a text of more than twice as many tokens, each end is read by itself too."""

THREADS = 2
"""Texts of a batch that are encoded at once."""


def clip(text: str) -> str:
    """The first and last half of `MAX_CHARACTERS` of a longer text, without lone surrogates, which UTF-8 lacks."""
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        text = f"{text[:half]} {text[-half:]}"
    return text.encode("utf-8", "replace").decode()


def window(tokens: Sequence[int], limit: int = MAX_TOKENS) -> list[int]:
    """The first and last half of `limit` of `tokens` ([CLS] ... [SEP]) where there are more."""
    if len(tokens) <= limit:
        return list(tokens)
    return [*tokens[: limit // 2], *tokens[limit // 2 - limit :]]


class Encoder:
    """Text -> logits or embeddings of the text, and of the two ends of a long one. Safe in several threads."""

    def __init__(
        self,
        tokenizer: Path,
        tokens: Path,
        tables: Path,
        graph: Path,
        replaced: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """`replaced` are initializers of the graph, by name, that others take the place of."""
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokens = np.load(tokens, mmap_mode="r", allow_pickle=False)
        with np.load(tables, allow_pickle=False) as arrays:
            self._scales = arrays["scales"].astype(np.float32)[:, None]
            self._positions = arrays["positions"].astype(np.float32)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        self._held = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in (replaced or {}).items()}
        for name, value in self._held.items():
            options.add_initializer(name, value)  # the session reads it in place
        self._session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._pool: ThreadPoolExecutor | None = None

    def encode(self, text: str) -> np.ndarray:
        """The logits of one text, float32 `[views, classes]`: the text's, then those of a long text's head and tail."""
        return np.stack([self._run(view, "logits") for view in self._views(text)])

    def vectors(self, text: str) -> np.ndarray:
        """The unit-length embeddings of the same views, float32 `[views, width]`."""
        return np.stack([self._run(view, "vector") for view in self._views(text)])

    def _views(self, text: str) -> list[list[int]]:
        tokens = self._tokenizer.encode(clip(text)).ids
        views = [window(tokens)]
        if len(tokens) > 2 * END_TOKENS:
            views += [[*tokens[: END_TOKENS - 1], tokens[-1]], [tokens[0], *tokens[1 - END_TOKENS :]]]
        return views

    def _run(self, tokens: list[int], output: str) -> np.ndarray:
        summed = self._tokens[tokens] * self._scales[tokens] + self._positions[: len(tokens)]
        (values,) = self._session.run([output], {"summed": summed[None]})
        return np.asarray(values[0])

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each text, in order, `THREADS` texts at a time."""
        return self._many(self.encode, texts)

    def vectors_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`vectors` of each text, in order, `THREADS` texts at a time."""
        return self._many(self.vectors, texts)

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        """The embedding of each whole text, without the ends of long ones, float32 `[texts, width]`."""
        return np.stack([views[0] for views in self.vectors_many(texts)])

    def _many(self, read: Callable[[str], np.ndarray], texts: Sequence[str]) -> list[np.ndarray]:
        if len(texts) < 2 * THREADS:
            return [read(text) for text in texts]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="router")
        return list(self._pool.map(read, texts))


def tuned_encoder(folder: Path, replaced: Mapping[str, np.ndarray] | None = None) -> Encoder:
    """The encoder of a folder of weights that `concertino router train` wrote, as the package has one."""
    tokenizer, tokens, tables, graph = (folder / name for name in FILES)
    return Encoder(tokenizer, tokens, tables, graph, replaced)
