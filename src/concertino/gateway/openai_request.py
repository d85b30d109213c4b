"""The OpenAI chat and embeddings bodies -> our own nouns. What cannot be honoured is refused in words."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from concertino.errors import InvalidRequest, UnsupportedParameter
from concertino.types import ContentPart, Limits, Message, Request, Role, Sampling, ToolCall

_IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""Bookkeeping of the hosted service: it asks nothing of a model, so leaving it aside changes no answer."""

_REFUSED = {
    "functions": "Send `tools` instead.",
    "function_call": "Send `tool_choice` instead.",
    "logit_bias": "Leave it out.",
    "audio": "Only text is answered.",
    "prediction": "Leave it out.",
    "web_search_options": "Nothing here searches the web.",
    "reasoning_effort": "Leave it out.",
    "verbosity": "Leave it out; say in the message how long the answer may be.",
    "parallel_tool_calls": "Leave it out.",
}


_LIMIT_HEADERS = {
    "max_latency_ms": b"x-concertino-max-latency-ms",
    "max_cost": b"x-concertino-max-cost",
}
"""For clients that cannot add a field to the body."""


_CALL_ID = re.compile(r"[A-Za-z0-9_.:|/+=-]{1,256}")
"""OpenAI makes `call_...`, vLLM `chatcmpl-tool-...`, Mistral nine letters and digits, Kimi `functions.NAME:0`; clients
of OpenAI's Responses join two by a bar, and proxies append base64. None has a blank."""


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class OwnOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The `concertino` field: what only this endpoint understands. `decision` puts the Decision into the body;
    the others are limits that the choice of a specialist keeps."""

    decision: bool = False
    max_latency_ms: float | None = None
    max_cost: float | None = None


class ChatBody(Struct, frozen=True):
    """The fields of `POST /v1/chat/completions` that are understood."""

    messages: tuple[Message, ...]
    model: str = "auto"
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    modalities: tuple[str, ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    concertino: OwnOptions | None = None


class Chat(Struct, frozen=True):
    """A parsed chat call: the request itself and how the answer shall be delivered."""

    request: Request
    stream: bool
    include_usage: bool
    show_decision: bool


_KNOWN = frozenset(field.name for field in msgspec.structs.fields(ChatBody))


def parse_chat(raw: dict[str, Any]) -> Chat:
    """Raises InvalidRequest or UnsupportedParameter, naming the field."""
    for name, advice in _REFUSED.items():
        if raw.get(name) not in (None, [], {}, True if name == "parallel_tool_calls" else None):
            raise UnsupportedParameter(f"{name!r} is not supported. {advice}", param=name)
    body = _convert(raw, ChatBody)
    sampling, own, tools = _sampling(body), body.concertino or OwnOptions(), _tools(body.tools)
    request = Request(
        messages=_messages(body.messages),
        model=body.model or "auto",
        sampling=sampling,
        tools=tools,
        tool_choice=_tool_choice(body.tool_choice, tools),
        response_format=_response_format(body.response_format),
        limits=_limits(own, bool(body.stream)),
        extra={name: raw[name] for name in raw.keys() - _KNOWN - _IGNORED - _REFUSED.keys()},
    )
    return Chat(
        request=request,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        show_decision=own.decision,
    )


def _convert(raw: dict[str, Any], struct: type[Any]) -> Any:
    try:
        return msgspec.convert(raw, struct)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        param = place.rstrip("`") or None
        missing = "missing required field" in text
        if missing:
            param = text.rsplit("`", 2)[1]
            nearest = difflib.get_close_matches(param, [str(name) for name in raw], n=1)
            hint = f" Did you mean it by {nearest[0]!r}?" if nearest else ""
            raise InvalidRequest(f"{param!r} is missing.{hint} Add it.", param=param) from error
        where = f"{param!r}: " if param else ""
        raise InvalidRequest(f"{where}{text}. Correct it and send the request again.", param=param) from error


def _sampling(body: ChatBody) -> Sampling:
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    stop = (body.stop,) if isinstance(body.stop, str) else (body.stop or ())
    _within("max_tokens", most, 1, 1_000_000)
    _within("temperature", body.temperature, 0, 2)
    _within("top_p", body.top_p, 0, 1)
    _within("presence_penalty", body.presence_penalty, -2, 2)
    _within("frequency_penalty", body.frequency_penalty, -2, 2)
    _within("top_logprobs", body.top_logprobs, 0, 20)
    _within("seed", body.seed, -(2**63), 2**63 - 1)
    if body.n not in (None, 1):
        raise UnsupportedParameter(
            f"'n' is {body.n}, but one answer a request is given. Ask again for more.", param="n"
        )
    if body.modalities not in (None, ("text",)):
        raise UnsupportedParameter("'modalities' may only be ['text'].", param="modalities")
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    if len(stop) > 16 or any(not text for text in stop):
        raise InvalidRequest("'stop' takes up to 16 strings, none of them empty.", param="stop")
    return Sampling(
        max_tokens=_or_unset(most),
        temperature=_or_unset(body.temperature),
        top_p=_or_unset(body.top_p),
        # llama.cpp draws a seed of its own for negative numbers, so a fixed one is folded into its range.
        seed=UNSET if body.seed is None else body.seed % 2**31,
        stop=tuple(stop),
        presence_penalty=_or_unset(body.presence_penalty),
        frequency_penalty=_or_unset(body.frequency_penalty),
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
    )


def with_limits(raw: dict[str, Any], headers: Mapping[bytes, str]) -> dict[str, Any]:
    """The body with the limits that its headers set; what the body itself says counts more. Raises InvalidRequest."""
    own = {} if raw.get("concertino") is None else raw["concertino"]
    given: dict[str, float] = {}
    for name, header in _LIMIT_HEADERS.items():
        if (text := headers.get(header)) is None:
            continue
        try:
            given[name] = float(text)
        except ValueError as error:
            said = header.decode()
            raise InvalidRequest(f"The header {said} is {text[:40]!r}, but must be a number.", param=said) from error
    if not given or not isinstance(own, dict):
        return raw
    return {**raw, "concertino": {**given, **own}}


def _limits(own: OwnOptions, stream: bool) -> Limits:
    for name in ("max_latency_ms", "max_cost"):
        _within(f"concertino.{name}", getattr(own, name), 0, 1e9)
    if own.max_latency_ms is None and own.max_cost is None:
        return Limits()
    return Limits(own.max_latency_ms, own.max_cost, first_token=stream)


def _or_unset(value: Any) -> Any | UnsetType:
    return UNSET if value is None else value


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidRequest(f"{name!r} is {value}, but must lie between {low} and {high}.", param=name)


def _messages(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if not messages:
        raise InvalidRequest("'messages' is empty. Send at least one message.", param="messages")
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        parts: tuple[ContentPart, ...] = message.content if isinstance(message.content, tuple) else ()
        for part in parts:
            if part.type not in ("text", "refusal") or part.text is None:
                raise UnsupportedParameter(
                    f"{where} has a part of type {part.type!r}, but only text can be read. Leave the part out.",
                    param=f"{where}.content",
                )
        if message.content is None and not message.tool_calls:
            raise InvalidRequest(f"{where} has no content. Give it some, or leave it out.", param=f"{where}.content")
        if message.role is Role.TOOL and not message.tool_call_id:
            raise InvalidRequest(f"{where} is a tool's answer without tool_call_id.", param=f"{where}.tool_call_id")
    if not any(message.text.strip() for message in messages if message.role is not Role.ASSISTANT):
        if any(message.text.strip() for message in messages):
            raise InvalidRequest(
                "All messages are the assistant's. Add one of role 'user' to answer.", param="messages"
            )
        raise InvalidRequest("All messages are empty. Say something in a message of role 'user'.", param="messages")
    return tuple(_in_one_shape(message, f"messages[{place}]") for place, message in enumerate(messages))


def _in_one_shape(message: Message, where: str) -> Message:
    """As every engine reads it: arguments of calls as a JSON object. Parts of content stay as they came until a prompt
    is made of them, because policy reads what they say side by side."""
    if message.tool_call_id is not None:
        _check_call_id(message.tool_call_id, f"{where}.tool_call_id")
    if not message.tool_calls:
        return message
    calls = tuple(_tool_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(message.tool_calls))
    return msgspec.structs.replace(message, tool_calls=calls)


def _tool_call(call: ToolCall, where: str) -> ToolCall:
    _check_call_id(call.id, f"{where}.id")
    if call.type != "function":
        raise InvalidRequest(f"{where}.type is {call.type[:40]!r}, but must be 'function'.", param=f"{where}.type")
    if call.function.arguments.strip() in ("", "null"):  # what some clients send for a function without arguments
        return msgspec.structs.replace(call, function=msgspec.structs.replace(call.function, arguments="{}"))
    at = f"{where}.function.arguments"
    try:
        given = msgspec.json.decode(call.function.arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(
            f"{at} is not valid JSON: {error}. Correct it, or leave the call out.", param=at
        ) from error
    if not isinstance(given, dict):
        raise InvalidRequest(f"{at} must be a JSON object as a string, such as '{{\"a\": 1}}'.", param=at)
    return call


def _check_call_id(given: str, where: str) -> None:
    if not _CALL_ID.fullmatch(given):
        raise InvalidRequest(
            f"{where} must be the call's id: 1 to 256 letters, digits and signs of '_-.:|/+=', no blanks.", param=where
        )


def _tools(tools: tuple[dict[str, Any], ...] | None) -> tuple[dict[str, Any], ...]:
    return tuple(_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools or ()))


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    """The tool without fields that are null, which engines take for values of a wrong type."""
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(
            f"{where} must be {{'type': 'function', 'function': {{'name': ..., 'parameters': ...}}}}.", param=where
        )
    function = {name: value for name, value in function.items() if value is not None}
    for name, kind, said in (("description", str, "a string"), ("parameters", dict, "a JSON schema, an object")):
        if not isinstance(function.get(name, kind()), kind):
            at = f"{where}.function.{name}"
            raise InvalidRequest(f"{at} must be {said}. Correct it, or leave it out.", param=at)
    return {name: value for name, value in tool.items() if value is not None} | {"function": function}


def _tool_choice(chosen: str | dict[str, Any] | None, tools: tuple[dict[str, Any], ...]) -> str | dict[str, Any] | None:
    names = [tool["function"]["name"] for tool in tools]
    if chosen in (None, "none", "auto") or (chosen == "required" and tools):
        return chosen
    if chosen == "required":
        raise InvalidRequest("'tool_choice' is 'required', but there are no 'tools'. Send some.", param="tool_choice")
    function = chosen.get("function") if isinstance(chosen, dict) and chosen.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise InvalidRequest(
            "'tool_choice' must be 'none', 'auto', 'required' or "
            "{'type': 'function', 'function': {'name': ...}} with the name of one of 'tools'.",
            param="tool_choice",
        )
    if name not in names:
        there = ", ".join(names)[:300] or "none"
        raise InvalidRequest(
            f"'tool_choice' names {name[:80]!r}, which is not among 'tools': {there}.", param="tool_choice"
        )
    return chosen


def _response_format(chosen: dict[str, Any] | None) -> dict[str, Any] | None:
    if chosen is None:
        return None
    kind = chosen.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise InvalidRequest(
            f"response_format.type is {kind!r}, but must be 'text', 'json_object' or 'json_schema'.",
            param="response_format.type",
        )
    declared = chosen.get("json_schema")
    if kind == "json_schema" and not (isinstance(declared, dict) and isinstance(declared.get("schema"), dict)):
        raise InvalidRequest(
            "response_format.json_schema must be {'name': ..., 'schema': {...}}.", param="response_format.json_schema"
        )
    return chosen


class EmbeddingsBody(Struct, frozen=True):
    """The fields of `POST /v1/embeddings`."""

    model: str
    input: str | tuple[str, ...]
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


def parse_embeddings(raw: dict[str, Any]) -> EmbeddingsBody:
    """Raises InvalidRequest or UnsupportedParameter, naming the field."""
    given = raw.get("input")
    if isinstance(given, list) and given and not all(isinstance(text, str) for text in given):
        raise UnsupportedParameter(
            "'input' must be a string or a list of strings; token ids are not read.", param="input"
        )
    body: EmbeddingsBody = _convert(raw, EmbeddingsBody)
    texts = (body.input,) if isinstance(body.input, str) else body.input
    if not texts or any(not text for text in texts):
        raise InvalidRequest("'input' is empty, or one of its texts is.", param="input")
    if len(texts) > 2048:
        raise InvalidRequest(f"'input' has {len(texts)} texts, but at most 2048 are taken at once.", param="input")
    if body.encoding_format not in (None, "float", "base64"):
        raise InvalidRequest("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    if body.dimensions is not None:
        raise UnsupportedParameter("'dimensions' cannot be chosen; leave it out.", param="dimensions")
    return body
