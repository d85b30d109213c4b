"""What of a chat body is put into one shape for every engine, and what is refused before an engine sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concertino.config import PolicySettings, Settings
from concertino.errors import InvalidRequest
from concertino.gateway.openai_request import parse_chat, with_limits
from concertino.policy import Policy, SpecialistFacts
from concertino.specialists.pool import Pool, Target
from concertino.specialists.prompts import generation_for
from concertino.types import Principal, Request

HELLO = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


def parsed(body: dict[str, Any]) -> Request:
    return parse_chat(with_limits(body, {})).request


def refused(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        parsed(body)
    return error.value


def loop(call_id: str = "call_1", arguments: str = "{}", answer_to: str | None = None, **call: Any) -> list[Any]:
    """A question, a tool call, and the tool's answer."""
    made = {"id": call_id, "type": "function", "function": {"name": "now", "arguments": arguments}, **call}
    answer = {"role": "tool", "tool_call_id": call_id if answer_to is None else answer_to, "content": "ok"}
    return [HELLO, {"role": "assistant", "content": None, "tool_calls": [made]}, answer]


@pytest.mark.parametrize(
    "call_id",
    [
        "call_Q8fJ2mPzX4cV7bN1kL6tR3wY",  # OpenAI
        "chatcmpl-tool-8f14e45fceea467b8a1b2c3d4e5f6071",  # vLLM
        "D681PevKs",  # Mistral
        "toolu_01A09q90qw90lq917835lq9",  # Anthropic
        "functions.get_weather:0",  # Kimi
        "call_41f2|fc_67ca09c5efe0819096d0511c92b8c890096610f474011cc0",  # clients of OpenAI's Responses
        "call_1__thought__Eq8BCqwBAdHtim/8x+Y=",  # LiteLLM
        "cursor-pi-bridge-run-c2417032-9686-40f2-bd3c-a763fbaa7693-tool-10",
    ],
)
def test_ids_that_clients_really_send_are_taken(call_id: str) -> None:
    messages = parsed({"messages": loop(call_id)}).messages
    assert messages[1].tool_calls is not None
    assert messages[1].tool_calls[0].id == messages[2].tool_call_id == call_id


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (loop("Patient John Smith MRN 483920 is HIV positive"), "messages[1].tool_calls[0].id"),
        (loop(""), "messages[2].tool_call_id"),
        (loop("x" * 257), "messages[1].tool_calls[0].id"),
        (loop(answer_to="Patient John Smith"), "messages[2].tool_call_id"),
        (loop(type="Patient John Smith is HIV positive"), "messages[1].tool_calls[0].type"),
        (loop(arguments="{"), "messages[1].tool_calls[0].function.arguments"),
        (loop(arguments="[1]"), "messages[1].tool_calls[0].function.arguments"),
        (loop(arguments="[" * 100_000), "messages[1].tool_calls[0].function.arguments"),
    ],
)
def test_a_tool_call_that_no_engine_could_read_names_its_field(messages: list[Any], param: str) -> None:
    assert refused({"messages": messages}).param == param


@pytest.mark.parametrize("arguments", ["", " ", "null", "{}"])
def test_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    calls = parsed({"messages": loop(arguments=arguments)}).messages[1].tool_calls
    assert calls is not None and calls[0].function.arguments == "{}"


def test_nulls_in_a_tool_are_left_out() -> None:
    function = {"name": "now", "description": None, "parameters": None, "strict": None}
    tools = parsed({"messages": [HELLO], "tools": [{"type": "function", "function": function, "x": None}]}).tools
    assert tools == ({"type": "function", "function": {"name": "now"}},)


@pytest.mark.parametrize(("field", "value"), [("description", 1), ("parameters", []), ("parameters", "none")])
def test_a_tool_that_no_engine_could_read_names_its_field(field: str, value: Any) -> None:
    tool = {"type": "function", "function": {"name": "now", field: value}}
    assert refused({"messages": [HELLO], "tools": [tool]}).param == f"tools[0].function.{field}"


@pytest.mark.parametrize(
    "choice", [None, "none", "auto", "required", {"type": "function", "function": {"name": "now"}}]
)
def test_a_tool_choice_that_can_be_kept_is_taken(choice: Any) -> None:
    assert parsed({"messages": [HELLO], "tools": [TOOL], "tool_choice": choice}).tool_choice == choice


@pytest.mark.parametrize(
    "choice",
    [
        "later", {"a": 1}, {"type": "function"}, {"type": "function", "function": {"name": "then"}},
        {"type": "function", "function": {"name": ["now"]}}, {"type": "now", "function": {"name": "now"}},
    ],
)  # fmt: skip
def test_a_tool_choice_that_cannot_be_kept_is_refused(choice: Any) -> None:
    assert refused({"messages": [HELLO], "tools": [TOOL], "tool_choice": choice}).param == "tool_choice"


def test_a_tool_cannot_be_required_where_there_is_none() -> None:
    assert refused({"messages": [HELLO], "tool_choice": "required"}).param == "tool_choice"
    assert parsed({"messages": [HELLO], "tool_choice": "auto"}).tool_choice == "auto"


def test_own_options_that_are_null_count_as_absent() -> None:
    body = {"messages": [HELLO], "concertino": None}
    assert parsed(body) == parsed({"messages": [HELLO]})
    limited = parse_chat(with_limits(body, {b"x-concertino-max-cost": "2"}))
    assert limited.request.limits.max_cost == 2


def test_a_conversation_of_the_assistant_alone_is_told_what_is_wanted() -> None:
    said = refused({"messages": [{"role": "assistant", "content": "Hi"}]})
    assert "role 'user'" in said.message and "empty" not in said.message


@pytest.mark.parametrize(
    "parts",
    [
        ("he has diabetes and his number is 123-", "45-6789"),
        ("Write to Mr Jones of asth", "ma"),
    ],
)
async def test_what_content_parts_cut_in_two_is_whole_for_policy(parts: tuple[str, str]) -> None:
    content = [{"type": "text", "text": part} for part in parts]
    request = parsed({"messages": [{"role": "user", "content": content}]})
    policy = Policy(PolicySettings(detector_timeout_s=20.0), [SpecialistFacts("general")])
    assert (await policy.evaluate(request, Principal())).facts.health_data


def test_engines_are_given_content_parts_as_one_string(team_settings: Callable[..., Settings]) -> None:
    pool = Pool(team_settings(), Path, lambda card: "")
    request = parsed({"messages": [{"role": "user", "content": [{"type": "text", "text": part} for part in "ab"]}]})
    assert generation_for(Target(pool.get("general")), request).messages[-1].content == "a\nb"
