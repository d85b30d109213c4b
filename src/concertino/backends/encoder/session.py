"""One encoder in memory with any number of LoRA adapters: the base is loaded once, an adapter is an input.

Each text is run by itself, unpadded, so its score depends on nothing but the text.
"""

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime as ort
from msgspec import Struct
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from concertino.backends.encoder.lexical import Lexical
from concertino.backends.encoder.shape import MODULES, EncoderShape, read_shape
from concertino.errors import ConfigurationError
from concertino.models.adapters import AdapterManifest, read_adapter

WEIGHTS = "adapter.safetensors"
GRAPH = "graph.onnx"
SHIPPED_GRAPH = Path(__file__).with_name("bert_6x384.onnx")
SHIPPED_SHAPE = EncoderShape(layers=6, width=384, inner=1536, heads=12)

MAX_CHARACTERS = 20_000
"""Longer texts lose their middle before they are tokenised, so that no text is slow."""


ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json")
"""Of an encoder, by their Hugging Face names, in the order of `EncoderFiles`."""


class EncoderFiles(Struct, frozen=True):
    """The base model's files, in the Hugging Face formats."""

    config: Path
    weights: Path
    tokenizer: Path

    @classmethod
    def found(cls, find: Callable[[str], Path]) -> "EncoderFiles":
        """Each where `find` says that the file of its name lies. Raises what that raises."""
        return cls(*map(find, ENCODER_FILES))


class Scored(Struct, frozen=True):
    """What an adapter makes of a text."""

    probabilities: np.ndarray
    """`[labels]`, softmax of the logits over the adapter's temperature."""
    scope: float
    """Probability that the text is one that the skill is for; 1 where the adapter does not tell."""
    tokens: int


class Member(Struct, frozen=True, eq=False):
    """One set of LoRA matrices with its head."""

    inputs: dict[str, ort.OrtValue]
    head: tuple[np.ndarray, np.ndarray]
    """`[width, labels]` and `[labels]`."""


class Adapter(Struct, frozen=True, eq=False):
    """An adapter ready to run."""

    manifest: AdapterManifest
    members: tuple[Member, ...]
    lexical: Lexical | None
    scope: tuple[np.ndarray, float] | None
    """Weights over the first member's vector, and their bias."""


def clip_text(text: str) -> str:
    """The two ends of a text of more than MAX_CHARACTERS, without lone surrogates, which UTF-8 lacks."""
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        text = f"{text[:half]} {text[-half:]}"
    return text.encode("utf-8", "replace").decode()


def clip_tokens(tokens: Sequence[int], limit: int) -> list[int]:
    """The first and last half of `limit` of `tokens` ([CLS] ... [SEP]) where there are more."""
    if len(tokens) <= limit:
        return list(tokens)
    return [*tokens[: limit // 2], *tokens[limit // 2 - limit :]]


class Encoder:
    """A BERT encoder with mean pooling. Safe in several threads; each run uses one of them.

    `graph` is a weightless graph as `training.encoder_graph` writes it; without it the one in the package is used,
    which fits encoders of 6 layers of width 384. Raises ConfigurationError for a base of another shape.
    """

    def __init__(self, files: EncoderFiles, graph: Path | None = None) -> None:
        self.shape = read_shape(files.config)
        if graph is None and self.shape != SHIPPED_SHAPE:
            raise ConfigurationError(f"{files.config} is of {self.shape}; its adapters need a {GRAPH} beside them.")
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        arrays = {name.removeprefix("bert."): value for name, value in load_file(files.weights).items()}
        self._words = arrays["embeddings.word_embeddings.weight"].astype(np.float32, copy=False)
        kinds = arrays["embeddings.token_type_embeddings.weight"].astype(np.float32)
        self._positions = arrays["embeddings.position_embeddings.weight"].astype(np.float32) + kinds[0]
        self._session = self._load(arrays, graph or SHIPPED_GRAPH)
        self.plain = self._no_adapter()

    def _load(self, arrays: dict[str, np.ndarray], graph: Path) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        stems = [f"encoder.layer.{index}.{stem}" for index in range(self.shape.layers) for stem in MODULES.values()]
        transposed = {f"{stem}.weight" for stem in stems}
        names = [name for name in arrays if name.startswith(("encoder.layer.", "embeddings.LayerNorm."))]
        values = [
            ort.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(arrays[name].T if name in transposed else arrays[name], dtype=np.float32)
            )
            for name in names
        ]
        options.add_external_initializers(names, values)
        self._held = values  # the session reads them in place
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def _no_adapter(self) -> dict[str, ort.OrtValue]:
        """Matrices of rank 1 that change nothing: the base by itself."""
        inputs = {}
        for layer in range(self.shape.layers):
            for module in MODULES:
                inside = self.shape.inner if module == "down" else self.shape.width
                outside = self.shape.inner if module == "up" else self.shape.width
                inputs[f"layer.{layer}.{module}.A"] = np.zeros((inside, 1), np.float32)
                inputs[f"layer.{layer}.{module}.B"] = np.zeros((1, outside), np.float32)
        return {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in inputs.items()}

    def tokens(self, text: str, limit: int) -> list[int]:
        return clip_tokens(self._tokenizer.encode(clip_text(text)).ids, min(limit, self.shape.positions))

    def pooled(self, tokens: Sequence[int], adapter: dict[str, ort.OrtValue] | None = None) -> np.ndarray:
        """Mean of the last layer over the tokens, float32 `[width]`."""
        summed = self._words[list(tokens)] + self._positions[: len(tokens)]
        feed = {"summed": ort.OrtValue.ortvalue_from_numpy(summed[None]), **(adapter or self.plain)}
        (found,) = self._session.run_with_ort_values(["pooled"], feed)
        return np.asarray(found.numpy()[0])

    def embed(self, text: str, limit: int = 256) -> tuple[np.ndarray, int]:
        """A unit vector for a text, float32 `[width]`, and the tokens that were read."""
        tokens = self.tokens(text, limit)
        vector = self.pooled(tokens)
        return vector / max(float(np.linalg.norm(vector)), 1e-12), len(tokens)

    def score(self, text: str, adapter: Adapter) -> Scored:
        """Probabilities of the adapter's labels for one text."""
        tokens = self.tokens(text, adapter.manifest.max_tokens)
        vectors = [self.pooled(tokens, member.inputs).astype(np.float64) for member in adapter.members]
        logits = [_log_softmax(v @ m.head[0] + m.head[1]) for v, m in zip(vectors, adapter.members, strict=True)]
        joined = _log_softmax(np.mean(logits, axis=0))
        if adapter.lexical is not None:
            share = adapter.lexical.share
            joined = np.log((1 - share) * np.exp(joined) + share * adapter.lexical.probabilities(text) + 1e-30)
        probabilities = np.exp(_log_softmax(joined / adapter.manifest.temperature))
        scope = 1.0
        if adapter.scope is not None:
            margin = float(vectors[0] @ adapter.scope[0] + adapter.scope[1])
            scope = 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, margin))))
        return Scored(probabilities, scope, len(tokens))


_shared: WeakValueDictionary[tuple[EncoderFiles, Path | None], Encoder] = WeakValueDictionary()
_sharing = threading.Lock()


def shared_encoder(files: EncoderFiles, graph: Path | None = None) -> Encoder:
    """The encoder of these files that somebody in this process holds already, else a new one."""
    with _sharing:
        found = _shared.get((files, graph))
        if found is None:
            found = _shared[files, graph] = Encoder(files, graph)
        return found


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def load_adapter(folder: Path, base_sha256: str | None) -> Adapter:
    """Read an adapter folder for a base of that hash (None: not checked).

    Raises ConfigurationError for another engine, another base, damaged files or arrays that do not fit.
    """
    manifest = read_adapter(folder)
    if manifest.engine != "encoder":
        raise ConfigurationError(f"The adapter {folder} is for the {manifest.engine} engine, not for an encoder.")
    if base_sha256 is not None and manifest.base_sha256 != base_sha256:
        raise ConfigurationError(
            f"The adapter {folder} was trained on {manifest.base} {manifest.base_sha256[:12]}, and the base here is "
            f"{base_sha256[:12]}. Pull that base, or train the adapter again.",
            param="adapter",
        )
    arrays = {name: value.astype(np.float32) for name, value in load_file(folder / WEIGHTS).items()}
    weight, bias = arrays.pop("scope.weight", None), arrays.pop("scope.bias", None)
    scope = None if weight is None or bias is None else (weight.astype(np.float64).ravel(), float(bias.ravel()[0]))
    lexical = None
    if "lexical.idf" in arrays:
        idf, weight, bias = (arrays.pop(f"lexical.{part}").astype(np.float64) for part in ("idf", "weight", "bias"))
        lexical = Lexical(idf, weight, bias, float(arrays.pop("lexical.share")[0]))
    members = tuple(_member(arrays, f"{number}.", len(manifest.labels), folder) for number in range(manifest.members))
    return Adapter(manifest, members, lexical, scope)


def _member(arrays: dict[str, np.ndarray], prefix: str, labels: int, folder: Path) -> Member:
    own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    weight, bias = own.pop("head.weight", None), own.pop("head.bias", None)
    if weight is None or bias is None or weight.shape[1] != labels or bias.shape != (labels,):
        raise ConfigurationError(f"The adapter {folder} has no head for its {labels} labels. Train it again.")
    inputs = {name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for name, value in own.items()}
    return Member(inputs, (weight.astype(np.float64), bias.astype(np.float64)))
