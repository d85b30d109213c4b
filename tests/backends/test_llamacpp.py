"""The llama.cpp backend on a real model: SmolLM2-135M-Instruct."""

import asyncio
import json
import math
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from concertino.backends.base import BackendContext, Generation, Health, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.errors import BackendError, BackendUnavailable, ConfigurationError, ContextTooLong, InvalidRequest
from concertino.types import Chunk, FinishReason, Message, Role, Sampling
from tests.backends.lora import write_adapter

pytestmark = pytest.mark.models
QUESTION = "Name three colours."


def asked(text: str = QUESTION, **changes: Any) -> Generation:
    sampling = Sampling(**{"max_tokens": 24, "temperature": 0.0, **changes.pop("sampling", {})})
    return Generation("smol", (Message(Role.USER, text),), sampling, **changes)


async def text_of(backend: LlamaCppBackend, generation: Generation) -> str:
    return "".join([chunk.text async for chunk in backend.generate(generation)])


async def idle_within(process: psutil.Process, seconds: float) -> bool:
    """Whether the engine comes to rest (a tenth of one core over a quarter of a second) within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = process.cpu_times().user
        await asyncio.sleep(0.25)
        if process.cpu_times().user - before <= 0.025:
            return True
    return False


@pytest.fixture(scope="module")
def adapters(smol: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    return str(write_adapter(folder / "a.gguf", smol, 1)), str(write_adapter(folder / "b.gguf", smol, 2))


def make(smol: Path, adapters: tuple[str, ...] = (), **options: Any) -> LlamaCppBackend:
    use = ModelUse("smol", adapters, context_tokens=1024)
    return LlamaCppBackend(BackendContext("local", options, (use,), lambda _: smol))


@pytest.fixture
async def backend(smol: Path) -> AsyncIterator[LlamaCppBackend]:
    engine = make(smol)
    await engine.start()
    yield engine
    await engine.close()


async def test_it_streams_tokens_with_log_probabilities_and_counts_them(backend: LlamaCppBackend) -> None:
    generation = asked(sampling={"logprobs": True, "top_logprobs": 3})
    chunks: list[Chunk] = [chunk async for chunk in backend.generate(generation)]
    spoken = [chunk for chunk in chunks if chunk.text]
    assert len(spoken) > 3
    steps = [step for chunk in chunks for step in chunk.logprobs]
    assert steps
    assert all(step.logprob <= 0 and len(step.top) == 3 for step in steps)
    assert all(math.isclose(step.logprob, max(top.logprob for top in step.top), abs_tol=1e-4) for step in steps)
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 24
    assert usage.prompt_tokens > 0
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [FinishReason.LENGTH]


async def test_log_probabilities_come_without_rivals_too(backend: LlamaCppBackend) -> None:
    generation = asked(sampling={"logprobs": True, "max_tokens": 4})
    steps = [step async for chunk in backend.generate(generation) for step in chunk.logprobs]
    assert len(steps) == 4
    assert all(step.logprob <= 0 and step.top == () for step in steps)


async def test_a_call_written_as_text_stays_text_where_no_tool_may_be_called(
    backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    call = 'Repeat: {"name": "weather", "arguments": {}}'

    async def written(*_: Any) -> AsyncIterator[Chunk]:  # what a small coder model writes; the 135M does not
        yield Chunk('{"name": "weather", "arguments": {}}')
        yield Chunk(finish_reason=FinishReason.STOP)

    monkeypatch.setattr(backend, "_stream", written)
    for choice, calls in (("auto", 1), ("none", 0)):
        generation = asked(call, tools=(tool,), tool_choice=choice)
        chunks = [chunk async for chunk in backend.generate(generation)]
        assert sum(len(chunk.tool_calls) for chunk in chunks) == calls


async def test_a_tool_is_called_where_one_is_required_whatever_the_question(backend: LlamaCppBackend) -> None:
    place = {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}, "required": ["city"]}
    tools = tuple(
        {"type": "function", "function": {"name": name, "parameters": place | {"$defs": {"City": {"enum": cities}}}}}
        for name, cities in (("weather", ["Oslo", "Rome"]), ("map", ["Bonn"]))
    )
    named = {"type": "function", "function": {"name": "map"}}
    for choice, may in (("required", {"weather", "map"}), (named, {"map"})):
        generation = asked("Tell me a joke.", tools=tools, tool_choice=choice, sampling={"max_tokens": 200})
        chunks = [chunk async for chunk in backend.generate(generation)]
        (call,) = [call["function"] for chunk in chunks for call in chunk.tool_calls]
        assert call["name"] in may
        assert json.loads(call["arguments"])["city"] in (["Bonn"] if call["name"] == "map" else ["Oslo", "Rome"])
        assert "".join(chunk.text for chunk in chunks) == ""
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [FinishReason.TOOL_CALLS]
    with pytest.raises(InvalidRequest, match="not complete"):
        await text_of(backend, asked("Tell me a joke.", tools=tools, tool_choice=named, sampling={"max_tokens": 3}))


async def test_a_model_whose_template_leaves_tools_out_is_told_of_them_all_the_same(backend: LlamaCppBackend) -> None:
    tool = {"type": "function", "function": {"name": "weather", "description": "How the weather is " * 20}}
    read = []
    for tools in ((), (tool,)):
        chunks = [chunk async for chunk in backend.generate(asked(tools=tools, sampling={"max_tokens": 1}))]
        read.append(next(chunk.usage.prompt_tokens for chunk in chunks if chunk.usage))
    assert read[1] > read[0] + 60


async def test_the_same_seed_gives_the_same_answer(backend: LlamaCppBackend) -> None:
    drawn = {"temperature": 1.0, "seed": 11}
    first = await text_of(backend, asked(sampling=drawn))
    assert await text_of(backend, asked(sampling=drawn)) == first
    assert await text_of(backend, asked(sampling={**drawn, "seed": 12})) != first


async def test_a_developer_message_is_read_as_a_system_message(backend: LlamaCppBackend) -> None:
    texts = []
    for role in (Role.SYSTEM, Role.DEVELOPER):
        messages = (Message(role, "Answer in capital letters."), Message(Role.USER, QUESTION))
        texts.append(await text_of(backend, Generation("smol", messages, Sampling(max_tokens=16, temperature=0.0))))
    assert texts[0] == texts[1]


async def test_grammars_and_schemas_bind_the_answer(backend: LlamaCppBackend) -> None:
    assert await text_of(backend, asked(grammar='root ::= "left" | "right"')) in ("left", "right")
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "maximum": 9}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    value = json.loads(await text_of(backend, asked(response_format=wanted, sampling={"max_tokens": 60})))
    assert value["colour"] in ("red", "blue")
    assert isinstance(value["count"], int)


async def test_each_request_is_shaped_by_the_adapter_it_names_and_by_no_other(
    smol: Path, adapters: tuple[str, str]
) -> None:
    first, second = adapters
    bare = make(smol)
    await bare.start()
    expected = await text_of(bare, asked())
    await bare.close()
    loaded = make(smol, adapters)
    await loaded.start()
    try:
        # At once, so that continuous batching has every chance to mix them up.
        by_none, by_first, by_second, by_none_again = await asyncio.gather(
            text_of(loaded, asked()),
            text_of(loaded, asked(adapter=first)),
            text_of(loaded, asked(adapter=second)),
            text_of(loaded, asked()),
        )
        assert by_none == by_none_again == expected
        assert len({expected, by_first, by_second}) == 3
        assert await text_of(loaded, asked(adapter=first, adapter_scale=0.0)) == expected
        with pytest.raises(ConfigurationError, match="did not load"):
            await text_of(loaded, asked(adapter="other.gguf"))
    finally:
        await loaded.close()


async def test_a_killed_engine_costs_its_request_a_clean_error_and_comes_back(backend: LlamaCppBackend) -> None:
    engine = backend.engines["smol"]
    stream = backend.generate(asked("Tell a long story.", sampling={"max_tokens": 400}))
    for _ in range(3):
        await anext(stream)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises((BackendError, BackendUnavailable), match=r"broke off|before it was complete|cannot be reached"):
        async for _ in stream:
            pass
    started = time.monotonic()
    assert await text_of(backend, asked())  # waits for the successor
    assert time.monotonic() - started < 20
    assert engine.restarts == 1
    assert backend.health() is Health.READY


async def test_closing_the_stream_stops_the_engine_s_work(backend: LlamaCppBackend) -> None:
    process = psutil.Process(backend.engines["smol"].pid)
    stream = backend.generate(asked("Tell a long story.", sampling={"max_tokens": 900}))
    for _ in range(3):
        await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await idle_within(process, 1.0)


async def test_cancelling_while_the_prompt_is_read_stops_the_engine_s_work(backend: LlamaCppBackend) -> None:
    process = psutil.Process(backend.engines["smol"].pid)
    reading = asyncio.ensure_future(text_of(backend, asked("word " * 900)))
    await asyncio.sleep(0.3)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await idle_within(process, 1.5)  # reading all of it takes twice that


async def test_a_conversation_over_the_context_is_refused_in_words(backend: LlamaCppBackend) -> None:
    with pytest.raises(ContextTooLong, match="does not fit"):
        await text_of(backend, asked("word " * 3000))


async def test_a_file_that_is_no_model_is_told_with_the_engine_s_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(1000))
    engine = make(broken)
    with pytest.raises(BackendUnavailable, match="did not start"):
        await engine.start()
    await engine.close()


async def test_closing_leaves_no_process_and_no_socket(smol: Path) -> None:
    engine = make(smol)
    await engine.start()
    process = engine.engines["smol"]
    pid, socket_path = process.pid, process.socket_path
    assert pid is not None
    assert socket_path.stat()
    assert socket_path.parent.stat().st_mode & 0o077 == 0
    await engine.close()
    assert not psutil.pid_exists(pid)
    assert not socket_path.parent.exists()
    await engine.close()
