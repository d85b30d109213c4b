"""Tool calls that a model writes as text."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from concertino.backends.llamacpp.tools import calls_from_text
from concertino.types import Chunk, FinishReason, Usage

TOOLS: tuple[dict[str, Any], ...] = ({"type": "function", "function": {"name": "get_weather"}},)
CALL = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'


async def passed(text: str) -> list[Chunk]:
    async def chunks() -> AsyncIterator[Chunk]:
        for place in range(0, len(text), 3):
            yield Chunk(text=text[place : place + 3])
        yield Chunk(finish_reason=FinishReason.STOP)
        yield Chunk(usage=Usage(5, 7))

    return [chunk async for chunk in calls_from_text(chunks(), TOOLS)]


@pytest.mark.parametrize("text", [CALL, f"```json\n{CALL}\n```\n\n\n", f"<tool_call>\n{CALL}\n</tool_call>"])
async def test_an_answer_that_is_a_call_becomes_one(text: str) -> None:
    first, last, usage = await passed(text)
    assert first.text == ""
    assert first.tool_calls[0]["function"]["name"] == "get_weather"
    assert json.loads(first.tool_calls[0]["function"]["arguments"]) == {"city": "Oslo"}
    assert last.finish_reason is FinishReason.TOOL_CALLS
    assert usage.usage == Usage(5, 7)


@pytest.mark.parametrize(
    "text",
    [
        "It rains in Oslo.",
        f"I would call {CALL}",
        '{"name": "delete_all", "arguments": {}}',
        '{"name": "get_weather"}',
        "```python\nprint({})\n```",
        "{broken",
    ],
)
async def test_any_other_text_stays_text(text: str) -> None:
    chunks = await passed(text)
    assert "".join(chunk.text for chunk in chunks) == text
    assert not any(chunk.tool_calls for chunk in chunks)
    assert chunks[-2].finish_reason is FinishReason.STOP


async def test_plain_text_is_not_held_back() -> None:
    seen: list[str] = []

    async def chunks() -> AsyncIterator[Chunk]:
        yield Chunk(text="Hello")
        assert seen == ["Hello"]
        yield Chunk(text=" you")

    async for chunk in calls_from_text(chunks(), TOOLS):
        seen.append(chunk.text)
    assert seen == ["Hello", " you"]
