"""The http backend against an OpenAI-compatible server on loopback."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from concertino.backends.base import BackendContext, Generation, Health, ModelUse
from concertino.backends.http import HttpBackend
from concertino.config import build
from concertino.errors import BackendError, BackendUnavailable, ConfigurationError, UnsupportedParameter
from concertino.types import Embeddings, FinishReason, Message, Role, Sampling

SECRET = "sk-upstream-4711"


class Upstream:
    """Answers like a server of that protocol, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/embeddings", self.embed)
        self.runner = web.AppRunner(app)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization", ""))
        if self.keys[-1] != f"Bearer {SECRET}":
            return web.json_response({"error": {"message": "no such key"}}, status=401)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for text in ("Bon", "jour"):
            await response.write(b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n")
        await response.write(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        return response

    async def embed(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        rows = [{"index": place, "embedding": [3.0, 4.0 * place]} for place in range(len(texts))]
        return web.json_response({"data": rows[::-1], "usage": {"prompt_tokens": 7}})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.runner.setup()
    await web.TCPSite(server.runner, "127.0.0.1", 0).start()
    yield server
    await server.runner.cleanup()


def backend(upstream: Upstream | None, **options: Any) -> HttpBackend:
    port = upstream.runner.addresses[0][1] if upstream else 9
    declared = {"base_url": f"http://127.0.0.1:{port}/v1", **options}
    return HttpBackend(BackendContext("cloud", declared, (ModelUse("m"),), Path))


GENERATION = Generation("m", (Message(Role.USER, "Hello"),), Sampling(max_tokens=5, seed=3), extra={"top_k": 4})


async def test_a_generation_is_passed_on_with_the_key_and_streamed_back(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    engine = backend(upstream, api_key_file=str(tmp_path / "key"))
    await engine.start()
    chunks = [chunk async for chunk in engine.generate(GENERATION)]
    embedded = await engine.embed("m", ["a", "b"])
    await engine.close()
    assert "".join(chunk.text for chunk in chunks) == "Bonjour"
    assert chunks[-1].finish_reason is FinishReason.STOP
    assert upstream.asked[0] == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "seed": 3,
        "top_k": 4,
    }
    assert embedded == Embeddings([[1.0, 0.0], [0.6, 0.8]], 7)


async def test_a_wrong_key_is_an_error_that_says_so(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "wrong")
    engine = backend(upstream, api_key_env="UPSTREAM_KEY")
    await engine.start()
    with pytest.raises(BackendError, match="refused our key"):
        _ = [chunk async for chunk in engine.generate(GENERATION)]
    await engine.close()


async def test_a_key_that_is_not_set_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPSTREAM_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="UPSTREAM_KEY, which is not set"):
        await backend(None, api_key_env="UPSTREAM_KEY").start()


async def test_an_upstream_that_is_away_turns_the_backend_down() -> None:
    engine = backend(None)
    await engine.start()
    with pytest.raises(BackendUnavailable):
        _ = [chunk async for chunk in engine.generate(GENERATION)]
    assert engine.health() is Health.DOWN
    await engine.close()


def test_the_key_is_never_in_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", SECRET)
    options = {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "UPSTREAM_KEY"}
    settings = build({"backends": {"cloud": {"type": "http", "options": options}}}, "a test")
    assert SECRET not in msgspec.json.encode(settings).decode()
    with pytest.raises(ConfigurationError, match="api_key"):
        backend(None, api_key=SECRET)


async def test_what_the_upstream_cannot_take_is_refused_before_it_is_sent(upstream: Upstream) -> None:
    engine = backend(upstream)
    await engine.start()
    for generation in (
        msgspec.structs.replace(GENERATION, adapter="a.gguf"),
        msgspec.structs.replace(GENERATION, grammar='root ::= "a"'),
    ):
        with pytest.raises(UnsupportedParameter):
            _ = [chunk async for chunk in engine.generate(generation)]
    await engine.close()
    assert upstream.asked == []
