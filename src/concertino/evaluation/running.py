"""Generations on an engine, one at a time, each with what it cost. Every prediction is kept on disk as it comes.

The same backends and the same generations serve requests, so what is measured is what is served.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from concertino import plugins
from concertino.backends.base import BackendContext, Capability, Generation, ModelUse
from concertino.errors import ContextTooLong
from concertino.evaluation.cost import Meter
from concertino.models import Store, gguf_path
from concertino.models.adapters import MANIFEST
from concertino.models.file_hash import file_sha256
from concertino.specialists.skills import label_confidence, text_confidence
from concertino.types import Role, TokenLogprob

Note = Callable[[str], None]
_TOLD_EVERY = 50


class Asked(Struct, frozen=True):
    """A generation, and the closed set of its answers where it is constrained to one."""

    generation: Generation
    choices: tuple[str, ...] = ()


class Prediction(Struct, frozen=True, omit_defaults=True):
    """What a runner answered to one row, and what that cost. `key` is a hash of all that it depends on."""

    key: str
    text: str
    confidence: float | None = None
    """Of free text the probability of the answer by the model, before a temperature and a scope."""
    scores: dict[str, float] = field(default_factory=dict)
    """Log-probability of each label, where the engine gives all of them."""
    seconds: float | None = None
    cpu_s: float | None = None
    joules: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    too_long: bool = False
    """Did not fit the model, however much was left out."""
    scope: float | None = None
    """How surely the text is one that the skill is for; not kept on disk."""


class Kept:
    """Predictions of one runner on disk, a line each. An interrupted run goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Prediction] = {}
        decoder = msgspec.json.Decoder(Prediction)
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    with contextlib.suppress(msgspec.DecodeError):  # the last line of a killed run may be half one
                        prediction = decoder.decode(line)
                        self._found[prediction.key] = prediction

    def get(self, key: str) -> Prediction | None:
        return self._found.get(key)

    def put(self, prediction: Prediction) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            if file.tell() and not self._ends_whole():
                file.write(b"\n")
            file.write(msgspec.json.encode(prediction) + b"\n")
        self._found[prediction.key] = prediction

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"


class Engine:
    """A backend for one model, started when the first prediction is really needed."""

    def __init__(self, type_name: str, store: Store, use: ModelUse, held: ExitStack, **options: Any) -> None:
        self.use = use
        self._store = store
        self._held = held
        context = BackendContext("evaluation", options, (use,), self._resolve, self._file)
        self.backend = plugins.load(plugins.BACKENDS, type_name, "training.engine")(context)
        self._started = False
        self._hashes: dict[str | None, str] = {}

    @property
    def capabilities(self) -> frozenset[Capability]:
        found: frozenset[Capability] = self.backend.capabilities
        return found

    def _resolve(self, name: str) -> Path:
        path = gguf_path(self._store, name)
        self._held.enter_context(self._store.lease(name))
        return path

    def _file(self, name: str, file: str) -> Path:
        path = self._store.resolve(name, file)
        self._held.enter_context(self._store.lease(name))
        return path

    async def start(self) -> None:
        if not self._started:
            await self.backend.start()
            self._started = True

    async def close(self) -> None:
        await self.backend.close()

    def key(self, asked: Asked) -> str:
        """A hash of the prompt, the constraint, the model's bytes and the adapter's."""
        generation = asked.generation
        plain = structs.replace(generation, adapter=None)
        digest = hashlib.sha256(msgspec.json.encode(plain, order="deterministic"))
        digest.update(self._hash_of(generation.adapter).encode())
        return digest.hexdigest()

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model's weights; its name, where the store does not have it."""
        manifest = self._store.manifest(self.use.model)
        return next(iter(manifest.files.values())).sha256 if manifest else self.use.model

    def _hash_of(self, adapter: str | None) -> str:
        if adapter not in self._hashes:
            self._hashes[adapter] = self.model_hash + (adapter_hash(Path(adapter)) if adapter else "")
        return self._hashes[adapter]

    async def predict(self, asked: Asked) -> Prediction:
        """Answer one generation and measure it; one that is too long is shortened step by step."""
        await self.start()
        key, tried = self.key(asked), asked.generation
        while True:
            try:
                return await self._measured(key, tried, asked.choices)
            except ContextTooLong:
                shorter = shortened(tried)
                if shorter is None:
                    return Prediction(key, "", too_long=True)
                tried = shorter

    async def _measured(self, key: str, generation: Generation, choices: tuple[str, ...]) -> Prediction:
        engines = getattr(self.backend, "engines", {})
        meter = Meter([engine.pid for engine in engines.values() if engine.pid])
        text, confidence, usage = "", None, None
        tokens: list[TokenLogprob] = []
        meter.start()
        async for chunk in self.backend.generate(generation):
            text += chunk.text
            tokens.extend(chunk.logprobs)
            usage = chunk.usage or usage
            confidence = chunk.confidence if chunk.confidence is not None else confidence
        spent = meter.stop()
        scores: dict[str, float] = {}
        if Capability.LABELS in self.capabilities and tokens:
            scores = {rival.token: rival.logprob for rival in tokens[0].top}
        elif tokens:
            confidence = label_confidence(choices, tokens) if choices else text_confidence(tokens)
        return Prediction(
            key,
            text,
            confidence,
            scores,
            spent.seconds,
            spent.cpu_s,
            spent.joules,
            usage.prompt_tokens if usage else None,
            usage.completion_tokens if usage else None,
        )


@asynccontextmanager
async def engine_for(type_name: str, store: Store, use: ModelUse, **options: Any) -> AsyncIterator[Engine]:
    """An engine that is closed at the end, and whose files cannot be removed meanwhile."""
    with ExitStack() as held:
        engine = Engine(type_name, store, use, held, **options)
        try:
            yield engine
        finally:
            await engine.close()


async def predict_all(engine: Engine, kept: Kept, asked: Sequence[Asked], who: str, note: Note) -> list[Prediction]:
    """Predictions in order, from the disk where they are there."""
    keys = [engine.key(one) for one in asked]
    missing = sum(kept.get(key) is None for key in keys)
    if missing:
        note(f"{who}: {missing} of {len(asked)} rows to answer")
    found: list[Prediction] = []
    done = 0
    for key, one in zip(keys, asked, strict=True):
        prediction = kept.get(key)
        if prediction is None:
            prediction = await engine.predict(one)
            kept.put(prediction)
            done += 1
            if done % _TOLD_EVERY == 0:
                note(f"{who}: {done} of {missing}")
        found.append(prediction)
    return found


def adapter_hash(path: Path) -> str:
    """SHA-256 of an adapter: of its folder's manifest, which names the files by theirs, or of the one file."""
    return file_sha256(path / MANIFEST if path.is_dir() else path)


def shortened(generation: Generation) -> Generation | None:
    """The generation without its first example, else with half of the text's middle left out; None at the end."""
    messages = generation.messages
    first = 1 if messages[0].role is Role.SYSTEM else 0
    if len(messages) - first > 2:
        return structs.replace(generation, messages=messages[:first] + messages[first + 2 :])
    text = messages[-1].text
    if len(text) < 200:
        return None
    quarter = len(text) // 4
    cut = structs.replace(messages[-1], content=f"{text[:quarter]} ... {text[-quarter:]}")
    return structs.replace(generation, messages=(*messages[:-1], cut))
