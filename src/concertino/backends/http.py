"""Any OpenAI-compatible server: vLLM, SGLang, Ollama, llama-server, a cloud provider."""

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
from msgspec import Struct

from concertino.backends.base import BackendContext, Capability, Generation, Health
from concertino.backends.openai_wire import chat_body, post_embeddings, stream_chat
from concertino.backends.options import parse_options
from concertino.errors import BackendUnavailable, ConfigurationError, UnsupportedParameter
from concertino.types import Chunk, Embeddings


class HttpOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a backend of type `http`. The key itself is never in the configuration."""

    base_url: str
    """Up to and including the version, for example http://127.0.0.1:8000/v1."""
    api_key_env: str = ""
    api_key_file: str = ""
    capabilities: tuple[Capability, ...] = (
        Capability.TOOLS,
        Capability.JSON_SCHEMA,
        Capability.LOGPROBS,
        Capability.SEED,
        Capability.EXTRA,
    )
    """What that server can do; requests that need more are refused before they are sent."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 120.0


class HttpBackend:
    """Passes generations on and streams what comes back."""

    def __init__(self, context: BackendContext) -> None:
        self._who = f"backend {context.name!r}"
        self._options = parse_options(context, HttpOptions)
        if not self._options.base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"backends.{context.name}.options.base_url must begin with http:// or https://.",
                param=f"backends.{context.name}.options.base_url",
            )
        self._base = self._options.base_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._health = Health.STARTING
        self.capabilities = frozenset(self._options.capabilities)

    async def start(self) -> None:
        """Read the key and open the connection pool. The server itself may come up later."""
        headers = {}
        key = self._read_key()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._options.connect_timeout_s, sock_read=self._options.read_timeout_s
        )
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        self._health = Health.READY

    def _read_key(self) -> str:
        if self._options.api_key_env:
            key = os.environ.get(self._options.api_key_env, "")
            if not key:
                name = self._options.api_key_env
                raise ConfigurationError(f"{self._who} reads its key from {name}, which is not set. Export it.")
            return key.strip()
        if self._options.api_key_file:
            try:
                return Path(self._options.api_key_file).expanduser().read_text("utf-8").strip()
            except OSError as error:
                raise ConfigurationError(f"{self._who} cannot read its key file: {error}.") from error
        return ""

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        if generation.adapter is not None:
            raise UnsupportedParameter(f"{self._who} takes no adapter files; name the tuned model instead.")
        if generation.grammar is not None and Capability.GRAMMAR not in self.capabilities:
            raise UnsupportedParameter(f"{self._who} does not take grammars.")
        body = chat_body(generation)
        if generation.grammar is not None:
            body["grammar"] = generation.grammar
        try:
            async for chunk in stream_chat(self._open(), f"{self._base}/chat/completions", body, self._who):
                yield chunk
            self._health = Health.READY
        except BackendUnavailable:
            self._health = Health.DOWN
            raise

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        return await post_embeddings(self._open(), f"{self._base}/embeddings", model, texts, self._who)

    def health(self) -> Health:
        return self._health

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise BackendUnavailable(f"{self._who} is not started.")
        return self._session
