"""llama.cpp as a backend: one supervised process per base model, shared by every specialist on that base."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from msgspec import UNSET, Struct, structs

from concertino.backends.base import BackendContext, Capability, Generation, Health, ModelUse
from concertino.backends.llamacpp.beams import likeliest
from concertino.backends.llamacpp.process import EngineProcess, EngineSpec
from concertino.backends.llamacpp.tools import call_format, calls_from_text, required, shown
from concertino.backends.openai_wire import chat_body, post_embeddings, stream_chat
from concertino.backends.options import parse_options
from concertino.backends.scope import Scopes
from concertino.errors import BackendUnavailable, ConfigurationError
from concertino.types import Chunk, Embeddings, Message, Role, Sampling

_CHAT_URL = "http://engine/v1/chat/completions"


class LlamaCppOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a backend of type `llamacpp`."""

    threads: int = 0
    """Threads per engine; 0 means the cores that this process may use."""
    parallel: int = 4
    """Requests that one engine works on at once, by continuous batching."""
    batch_tokens: int = 64
    """Prompt tokens read in one go. A request that is cancelled meanwhile stops at the next boundary; on two cores
    64 reads as fast as 512 and stops five times sooner."""
    prompt_cache_mib: int = 256
    """Memory for prompts read before, per engine."""
    read_timeout_s: float = 300.0


class LlamaCppBackend:
    """Starts an engine per base model and speaks to each over its Unix socket."""

    capabilities = frozenset(
        {
            Capability.EMBED,
            Capability.TOOLS,
            Capability.JSON_SCHEMA,
            Capability.GRAMMAR,
            Capability.LOGPROBS,
            Capability.SEED,
            Capability.ADAPTERS,
            Capability.BEAMS,
        }
    )

    def __init__(self, context: BackendContext) -> None:
        self._context = context
        self._options = parse_options(context, LlamaCppOptions)
        for name in ("parallel", "batch_tokens"):
            if getattr(self._options, name) < 1:
                where = f"backends.{context.name}.options.{name}"
                raise ConfigurationError(f"{where} must be at least 1.", param=where)
        self._uses = {use.model: use for use in context.uses}
        self._engines: dict[str, EngineProcess] = {}
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._scopes: Scopes | None = None
        self._searching = {model: asyncio.Lock() for model in self._uses}
        """One beam search at a time for a model: it keeps the engine's places busy by itself, and two would take them
        from each other at every step, with what has been read there."""
        self._toolless: set[str] = set()
        """Models whose chat template leaves tools out."""

    @property
    def engines(self) -> dict[str, EngineProcess]:
        """The running engines by model name."""
        return dict(self._engines)

    async def start(self) -> None:
        specs = [self._spec(use) for use in self._uses.values()]
        self._engines = {spec.name: EngineProcess(spec) for spec in specs}
        try:
            await asyncio.gather(self._load_scopes(), *(engine.start() for engine in self._engines.values()))
        except BaseException:
            await self.close()
            raise
        timeout = aiohttp.ClientTimeout(total=None, sock_read=self._options.read_timeout_s)
        for name, engine in self._engines.items():
            # A connection a request: closing it is how the engine learns that nobody is listening any more.
            connector = aiohttp.UnixConnector(path=str(engine.socket_path), limit=0, force_close=True)
            self._sessions[name] = aiohttp.ClientSession(connector=connector, timeout=timeout)
        await self._read_templates()
        await self._read_preambles()

    def _spec(self, use: ModelUse) -> EngineSpec:
        return EngineSpec(
            name=use.model,
            model_path=str(self._context.resolve(use.model)),
            context_tokens=min(use.context_tokens, 512) if use.embed else use.context_tokens,
            parallel=1 if use.embed else self._options.parallel,
            threads=self._options.threads or len(os.sched_getaffinity(0)),
            batch_tokens=self._options.batch_tokens,
            prompt_cache_mib=self._options.prompt_cache_mib,
            adapters=use.adapters,
            embed=use.embed,
        )

    async def _read_templates(self) -> None:
        for use in self._uses.values():
            if use.embed:
                continue
            async with self._sessions[use.model].get("http://engine/props") as response:
                can = (await response.json()).get("chat_template_caps") or {}
            if not can.get("supports_tools", True):
                self._toolless.add(use.model)

    async def _read_preambles(self) -> None:
        """Read each specialist's system message once, so that the first question does not pay for it."""
        for use in self._uses.values():
            for preamble in use.preambles[: self._options.parallel]:
                messages = (Message(Role.SYSTEM, preamble), Message(Role.USER, "Hello"))
                generation = Generation(use.model, messages, Sampling(max_tokens=1))
                async for _ in self.generate(generation):
                    pass

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        engine, session = await self._engine(generation.model)
        body = chat_body(generation)
        body["cache_prompt"] = True
        for message in body["messages"]:
            if message["role"] == Role.DEVELOPER:
                message["role"] = Role.SYSTEM.value  # chat templates know no other name for it
        if generation.beams is not UNSET:
            chunk = await self._likeliest(engine, session, body["messages"], generation, generation.beams)
            yield structs.replace(chunk, scope=await self._scope(generation))
            return
        rivals = generation.sampling.top_logprobs
        if generation.sampling.logprobs and not rivals:
            body["top_logprobs"] = 1  # at 0 llama.cpp gives no log-probabilities at all
        if generation.grammar is not None:
            body["grammar"] = generation.grammar
        if engine.spec.adapters:
            # llama.cpp leaves every loaded adapter at full strength when a request names none, so each is named.
            body["lora"] = self._scales(engine.spec, generation)
        must, may = required(generation), generation.tools if generation.tool_choice != "none" else ()
        if must:
            # llama.cpp would bind some models to their own syntax, and others to nothing.
            body |= {"tool_choice": "none", "response_format": call_format(must)}
        if may and generation.model in self._toolless:
            body["messages"] = shown(body["messages"], must or may)
        scope = await self._scope(generation)
        chunks = self._stream(engine, session, body)
        async for chunk in calls_from_text(chunks, must or may, must=bool(must)) if may else chunks:
            if chunk.logprobs and not rivals:
                chunk = structs.replace(chunk, logprobs=tuple(structs.replace(one, top=()) for one in chunk.logprobs))
            yield structs.replace(chunk, scope=scope) if scope is not None else chunk
            scope = None  # said once

    async def _load_scopes(self) -> None:
        self._scopes = await asyncio.to_thread(Scopes, self._context)

    async def _scope(self, generation: Generation) -> float | None:
        if self._scopes is None or generation.adapter not in self._scopes:
            return None
        return await asyncio.to_thread(self._scopes.of, generation)

    async def _stream(
        self, engine: EngineProcess, session: aiohttp.ClientSession, body: dict[str, Any]
    ) -> AsyncIterator[Chunk]:
        try:
            async for chunk in stream_chat(session, _CHAT_URL, body, self._who(engine)):
                yield chunk
        except BackendUnavailable:
            # Nothing was sent: the engine died a moment ago. Its successor takes the request.
            await engine.wait_restarted()
            async for chunk in stream_chat(session, _CHAT_URL, body, self._who(engine)):
                yield chunk

    async def _likeliest(
        self, engine: EngineProcess, session: aiohttp.ClientSession, messages: Any, generation: Generation, beams: int
    ) -> Chunk:
        longest = generation.sampling.max_tokens
        most = longest if isinstance(longest, int) else engine.spec.context_tokens
        lora = self._scales(engine.spec, generation)
        async with self._searching[generation.model]:
            try:
                return await likeliest(session, messages, beams, most, lora, self._who(engine))
            except BackendUnavailable:
                await engine.wait_restarted()  # it died; its successor begins anew
                return await likeliest(session, messages, beams, most, lora, self._who(engine))

    def _scales(self, spec: EngineSpec, generation: Generation) -> list[dict[str, float]]:
        if generation.adapter is not None and generation.adapter not in spec.adapters:
            raise ConfigurationError(f"The engine of {spec.name} did not load the adapter {generation.adapter}.")
        return [
            {"id": index, "scale": generation.adapter_scale if path == generation.adapter else 0.0}
            for index, path in enumerate(spec.adapters)
        ]

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        engine, session = await self._engine(model)
        return await post_embeddings(session, "http://engine/v1/embeddings", model, texts, self._who(engine))

    async def _engine(self, model: str) -> tuple[EngineProcess, aiohttp.ClientSession]:
        engine = self._engines.get(model)
        if engine is None or model not in self._sessions:
            raise BackendUnavailable(f"Backend {self._context.name!r} runs no engine for {model!r}; it is not started.")
        await engine.wait_ready()
        return engine, self._sessions[model]

    @staticmethod
    def _who(engine: EngineProcess) -> str:
        return f"The engine of {engine.spec.name}"

    def health(self) -> Health:
        states = {engine.health() for engine in self._engines.values()}
        if not states or states == {Health.READY}:
            return Health.READY
        return Health.DOWN if Health.DOWN in states else Health.STARTING

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        await asyncio.gather(*(engine.stop() for engine in self._engines.values()))
        self._engines.clear()
