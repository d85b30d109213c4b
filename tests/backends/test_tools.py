"""Tool calls that a model writes as text."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from concertino.backends.base import Generation
from concertino.backends.llamacpp.tools import call_format, calls_from_text, required, shown
from concertino.errors import BackendError, ConcertinoError, InvalidRequest
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
        '{"name": ["get_weather"], "arguments": {}}',
        '{"name": "get_weather", "arguments": {"a": ' + "[" * 5_000 + "}}",
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


OTHER: dict[str, Any] = {"type": "function", "function": {"name": "search"}}


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, []),
        ("auto", []),
        ("none", []),
        ("required", ["get_weather", "search"]),
        ({"type": "function", "function": {"name": "search"}}, ["search"]),
    ],
)
def test_the_choice_says_which_tools_one_must_be_called_of(choice: Any, names: list[str]) -> None:
    tools = required(Generation("m", (), tools=(*TOOLS, OTHER), tool_choice=choice))
    assert [tool["function"]["name"] for tool in tools] == names


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "no"}}, {"function": 1}, {}, "any"])
def test_a_tool_that_is_not_there_cannot_be_required(choice: Any) -> None:
    with pytest.raises(InvalidRequest):
        required(Generation("m", (), tools=(OTHER,), tool_choice=choice))
    with pytest.raises(InvalidRequest):
        required(Generation("m", (), tool_choice="required"))


def schema_of(*parameters: Any) -> dict[str, Any]:
    tools = tuple({"type": "function", "function": {"name": "f", "parameters": one}} for one in parameters)
    schema: dict[str, Any] = call_format(tools)["json_schema"]["schema"]
    return schema


def test_references_of_a_tool_s_schema_point_into_it_where_it_stands_in_the_format() -> None:
    own = {"properties": {"x": {"$ref": "#/$defs/Y"}, "all": {"$ref": "#"}}, "$defs": {"Y": {"enum": ["#/a"]}}}
    schema = schema_of({"type": "object"}, own)
    assert schema["anyOf"][1]["properties"]["arguments"] == {"$ref": "#/$defs/arguments1"}
    assert schema["$defs"]["arguments1"] == {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/arguments1/$defs/Y"}, "all": {"$ref": "#/$defs/arguments1"}},
        "$defs": {"Y": {"enum": ["#/a"]}},
    }


def test_arguments_are_always_an_object() -> None:
    assert schema_of({"type": ["object", "null"]})["$defs"]["arguments0"] == {"type": "object"}
    assert schema_of({})["$defs"]["arguments0"]["additionalProperties"] is False
    with pytest.raises(InvalidRequest, match="must be an object"):
        schema_of({"type": "string"})


async def cut(text: str, finish: FinishReason, seen: list[Chunk]) -> ConcertinoError:
    async def chunks() -> AsyncIterator[Chunk]:
        yield Chunk(text=text)
        yield Chunk(finish_reason=finish)
        yield Chunk(usage=Usage(5, 7))

    with pytest.raises(ConcertinoError) as caught:
        async for chunk in calls_from_text(chunks(), TOOLS, must=True):
            seen.append(chunk)
    return caught.value


async def test_what_must_be_a_call_and_is_none_is_an_error_that_counts_its_tokens_and_passes_no_text_on() -> None:
    for text in ("It rains.", CALL[:-1], '{"name": "delete_all", "arguments": {}}'):
        seen: list[Chunk] = []
        assert isinstance(await cut(text, FinishReason.STOP, seen), BackendError)
        error = await cut(text, FinishReason.LENGTH, seen)
        assert isinstance(error, InvalidRequest)
        assert error.param == "max_tokens"
        assert seen == [Chunk(usage=Usage(5, 7))] * 2


def test_tools_are_told_in_the_system_message_beside_what_it_says() -> None:
    user = {"role": "user", "content": "Hi"}
    alone, beside = shown([user], TOOLS), shown([{"role": "system", "content": "Be brief."}, user], TOOLS)
    assert [message["role"] for message in alone] == [message["role"] for message in beside] == ["system", "user"]
    assert "get_weather" in alone[0]["content"]
    assert beside[0]["content"] == f"Be brief.\n\n{alone[0]['content']}"
