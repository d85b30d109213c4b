"""The OpenAI protocol from the client's side, against bytes as they come."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from concertino.backends.base import Generation
from concertino.backends.openai_wire import chat_body, error_from, parse_chunk, sse_data, stream_chat
from concertino.errors import (
    BackendError,
    BackendUnavailable,
    ConcertinoError,
    ContextTooLong,
    InvalidRequest,
    Overloaded,
)
from concertino.types import FinishReason, Message, Role, Sampling

STREAM = (
    'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}\r\n\r\n'
    'data: {"choices":[{"index":0,"delta":{"content":"Grüße, "}}]}\n\n: a comment\n\n'
    'data: {"choices":[{"index":0,"delta":{"content":"世界"}}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,'
    '"prompt_tokens_details":{"cached_tokens":1}}}\n\n'
    "data: [DONE]\n\n"
).encode()


async def pieces(data: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        yield data[start:end]


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=40))
async def test_however_the_bytes_are_cut_the_same_chunks_come_out(cuts: list[int]) -> None:
    found = [data async for data in sse_data(pieces(STREAM, cuts))]
    assert found[-1] == b"[DONE]"
    chunks = [parse_chunk(data, "it") for data in found[:-1]]
    assert "".join(chunk.text for chunk in chunks) == "Grüße, 世界"
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [FinishReason.STOP]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.total_tokens) == (3, 2, 1, 5)


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", b"[]", b'"x"', b"{", b'{"choices":[{"delta":3}]}', b'{"choices":[{"finish_reason":3}]}'],
)
def test_garbage_from_an_upstream_is_a_backend_error(data: bytes) -> None:
    with pytest.raises(BackendError, match="it sent something"):
        parse_chunk(data, "it")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("STOP", FinishReason.STOP),
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("function_call", FinishReason.TOOL_CALLS),
        ("safety", FinishReason.CONTENT_FILTER),
        ("because", FinishReason.STOP),
        ("", None),
    ],
)
def test_an_answer_is_not_lost_for_the_name_of_its_end(said: str, meant: FinishReason | None) -> None:
    assert parse_chunk(b'{"choices":[{"finish_reason":"%s"}]}' % said.encode(), "it").finish_reason is meant


def test_an_answer_that_the_server_broke_off_is_not_taken_for_a_whole_one() -> None:
    with pytest.raises(BackendError, match=r"broke off its answer \(abort\)"):
        parse_chunk(b'{"choices":[{"finish_reason":"abort"}]}', "it")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":{"message":"too long","type":"exceed_context_size_error","code":400}}', ContextTooLong),
        (400, b'{"error":{"message":"bad","type":"invalid_request_error"}}', InvalidRequest),
        (429, b"slow down", Overloaded),
        (401, b'{"error":"no"}', BackendError),
        (500, b'{"error":{"message":"boom"}}', BackendError),
        (502, b"<html>", BackendError),
    ],
)
def test_an_upstream_error_becomes_ours(status: int, body: bytes, kind: type[ConcertinoError]) -> None:
    assert type(error_from(status, body, "it")) is kind


def test_unset_sampling_stays_out_of_the_body() -> None:
    generation = Generation("m", (Message(Role.USER, "Hi"),), Sampling(temperature=0.0, stop=("x",)))
    body = chat_body(generation)
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert body["temperature"] == 0.0
    assert body["stop"] == ["x"]
    assert not {"max_tokens", "seed", "top_p", "tools", "logprobs", "response_format"} & body.keys()


async def upstream(aiohttp_handler: object) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/chat", aiohttp_handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/chat"


async def collect(url: str) -> str:
    async with aiohttp.ClientSession() as session:
        return "".join([chunk.text async for chunk in stream_chat(session, url, {}, "it")])


async def test_a_stream_cut_off_before_done_is_an_error_and_never_an_answer() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(STREAM[: STREAM.index(b"data: [DONE]")])
        return response

    runner, url = await upstream(handler)
    try:
        with pytest.raises(BackendError, match="before it was complete"):
            await collect(url)
    finally:
        await runner.cleanup()


async def test_an_upstream_that_drops_the_connection_is_an_error() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10_000
        await response.prepare(request)
        await response.write(STREAM[:80])
        assert request.transport is not None
        request.transport.abort()
        return response

    runner, url = await upstream(handler)
    try:
        with pytest.raises(BackendError, match="broke off"):
            await collect(url)
    finally:
        await runner.cleanup()


async def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await collect("http://127.0.0.1:9/chat")


def test_a_line_without_end_is_refused_before_it_fills_memory() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data: " + b"x" * 1_000_000

    async def read() -> None:
        async for _ in sse_data(endless()):
            pass

    with pytest.raises(BackendError, match="4 MiB"):
        asyncio.run(read())


def test_error_events_inside_a_stream_are_raised() -> None:
    with pytest.raises(BackendError, match="boom"):
        parse_chunk(msgspec.json.encode({"error": {"message": "boom"}}), "it")
