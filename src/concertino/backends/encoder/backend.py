"""Sentence encoders as a backend: adapters answer with a label and say how sure they are; the base embeds."""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from concertino.backends.base import BackendContext, Capability, Generation, Health, ModelUse
from concertino.backends.encoder.session import GRAPH, Adapter, Encoder, EncoderFiles, load_adapter, shared_encoder
from concertino.backends.options import parse_options
from concertino.confidence import within
from concertino.errors import BackendUnavailable, ConfigurationError, UnsupportedParameter
from concertino.models.file_hash import file_sha256
from concertino.types import Chunk, Embeddings, FinishReason, Role, TokenLogprob, TopLogprob, Usage

_FLOOR = 1e-30


class EncoderOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a backend of type `encoder`."""

    threads: int = 0
    """Texts that are read at once, each on one thread; 0 means the cores that this process may use."""


class EncoderBackend:
    """Runs encoders in this process. A text takes milliseconds, so there is no engine to supervise."""

    capabilities = frozenset({Capability.EMBED, Capability.LABELS, Capability.LOGPROBS, Capability.ADAPTERS})

    def __init__(self, context: BackendContext) -> None:
        self._context = context
        self._options = parse_options(context, EncoderOptions)
        self._encoders: dict[tuple[str, Path | None], Encoder] = {}
        self._adapters: dict[str, tuple[Encoder, Adapter]] = {}
        self._pool: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        if self._pool is None:
            threads = self._options.threads or len(os.sched_getaffinity(0))
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encoder")
        await asyncio.get_running_loop().run_in_executor(self._pool, self._load)

    def _load(self) -> None:
        for use in self._context.uses:
            if use.embed:
                self._encoder(use.model, None)
            for path in use.adapters:
                self._load_adapter(use, Path(path))

    def _load_adapter(self, use: ModelUse, folder: Path) -> None:
        graph = folder / GRAPH
        encoder = self._encoder(use.model, graph if graph.is_file() else None)
        adapter = load_adapter(folder, file_sha256(self._context.file(use.model, "model.safetensors")))
        missing = {name for member in adapter.members for name in encoder.plain.keys() ^ member.inputs.keys()}
        if missing:
            raise ConfigurationError(
                f"The adapter {folder} does not fit {use.model}: {min(missing)} is on one side only."
            )
        self._adapters[str(folder)] = (encoder, adapter)

    def _encoder(self, model: str, graph: Path | None) -> Encoder:
        key = (model, graph)
        if key not in self._encoders:
            files = EncoderFiles.found(lambda name: self._context.file(model, name))
            self._encoders[key] = shared_encoder(files, graph)
        return self._encoders[key]

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        """One chunk: the likeliest label, the log-probabilities of all, and the confidence.

        The confidence is the label's probability, and less for a text that is likelier not one that the skill is for.
        """
        if self._pool is None:
            raise BackendUnavailable(f"Backend {self._context.name!r} is not started.")
        found = self._adapters.get(generation.adapter or "")
        if found is None:
            raise UnsupportedParameter(
                f"Backend {self._context.name!r} answers with the labels of an adapter, and {generation.model!r} was "
                f"asked {'without one' if not generation.adapter else 'with one that is not loaded'}. "
                "Name a skill, as in specialist/skill.",
                param="model",
            )
        encoder, adapter = found
        text = next((message.text for message in reversed(generation.messages) if message.role is Role.USER), "")
        scored = await asyncio.get_running_loop().run_in_executor(self._pool, encoder.score, text, adapter)
        labels = adapter.manifest.labels
        order = scored.probabilities.argsort()[::-1]
        top = tuple(TopLogprob(labels[i], math.log(max(float(scored.probabilities[i]), _FLOOR))) for i in order)
        best = top[0]
        yield Chunk(
            text=best.token,
            logprobs=(TokenLogprob(best.token, best.logprob, top),),
            confidence=within(math.exp(best.logprob), scored.scope),
            finish_reason=FinishReason.STOP,
            usage=Usage(prompt_tokens=scored.tokens, completion_tokens=1),
        )

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        if self._pool is None:
            raise BackendUnavailable(f"Backend {self._context.name!r} is not started.")
        loop, encoder = asyncio.get_running_loop(), self._encoder(model, None)
        found = await asyncio.gather(*(loop.run_in_executor(self._pool, encoder.embed, text) for text in texts))
        return Embeddings([vector.tolist() for vector, _ in found], sum(tokens for _, tokens in found))

    def health(self) -> Health:
        return Health.STARTING if self._pool is None else Health.READY

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._encoders.clear()
        self._adapters.clear()
