"""Tool calls that a model writes as text.

llama.cpp turns a model's own tool syntax into tool calls. Small coder models often write the call as a JSON object in
a code block instead; where an answer consists of that, and names a tool of the request, it is the call that was meant.
Where a call is required, llama.cpp binds only some models to one, so the answer is bound to that JSON object here.
"""

import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

from msgspec import structs

from concertino.backends.base import Generation
from concertino.errors import BackendError, ConcertinoError, InvalidRequest
from concertino.types import Chunk, FinishReason, Role, Usage

_BLOCK = re.compile(r"^\s*(?:```(?:json)?\s*|<tool_call>\s*)?(\{.*\})\s*(?:```|</tool_call>)?\s*$", re.DOTALL)
_MAY_BEGIN_A_CALL = "{`<"


_SHOWN = """\
You can call these functions, given as JSON schemas:
{tools}
To call one, answer with nothing but a JSON object: {{"name": the function, "arguments": {{...}}}}"""
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}

Tools = tuple[dict[str, Any], ...]


def required(generation: Generation) -> Tools:
    """The tools of which one must be called; empty where the model may answer without.

    Raises InvalidRequest where none is there: the gateway has seen to that, but a program in this process has not.
    """
    chosen = generation.tool_choice
    if chosen in (None, "none", "auto"):
        return ()
    tools = generation.tools
    if chosen != "required":
        function = chosen.get("function") if isinstance(chosen, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        tools = tuple(tool for tool in tools if tool["function"]["name"] == name)
    if not tools:
        raise InvalidRequest(
            "'tool_choice' requires a tool that is not among 'tools'. Correct it.", param="tool_choice"
        )
    return tools


def call_format(tools: Tools) -> dict[str, Any]:
    """A `response_format` whose only answers are calls of one of `tools`, as `calls_from_text` reads them.

    Raises InvalidRequest where a tool's parameters are no object.
    """
    definitions = {f"arguments{place}": _arguments(tool, place) for place, tool in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool["function"]["name"]}, "arguments": {"$ref": f"#/$defs/{defined}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool, defined in zip(tools, definitions, strict=True)
    ]
    schema = {"anyOf": calls, "$defs": definitions}
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}


def _arguments(tool: dict[str, Any], place: int) -> dict[str, Any]:
    parameters = tool["function"].get("parameters") or _NO_ARGUMENTS
    kind = parameters.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        name = tool["function"]["name"]
        raise InvalidRequest(f"The parameters of {name} are of type {kind!r}, but must be an object.", param="tools")
    if not parameters.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        parameters = {**parameters, "type": "object"}
    moved: dict[str, Any] = _moved(parameters, f"#/$defs/arguments{place}")
    return moved


def _moved(schema: Any, to: str) -> Any:
    """A schema whose references to places in itself hold where it stands now."""
    if isinstance(schema, list):
        return [_moved(one, to) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: to + one[1:] if name == "$ref" and isinstance(one, str) and one.startswith("#") else _moved(one, to)
        for name, one in schema.items()
    }


def shown(messages: list[dict[str, Any]], tools: Tools) -> list[dict[str, Any]]:
    """The messages of a body with the tools in the system message, for a chat template that leaves them out."""
    text = _SHOWN.format(tools="\n".join(json.dumps(tool["function"]) for tool in tools))
    if messages and messages[0]["role"] == Role.SYSTEM:
        said = "\n\n".join(filter(None, (messages[0].get("content"), text)))
        return [{**messages[0], "content": said}, *messages[1:]]
    return [{"role": Role.SYSTEM.value, "content": text}, *messages]


async def calls_from_text(chunks: AsyncIterator[Chunk], tools: Tools, *, must: bool = False) -> AsyncIterator[Chunk]:
    """The same chunks, or, where all of the text is a call of one of `tools`, that call in their place.

    Text that cannot be one is passed on at once; only an answer that begins like a call is held back to its end. Where
    it `must` be one, none of it is passed on otherwise: raises InvalidRequest if it was cut off, else BackendError.
    """
    held: list[Chunk] = []
    text, plain = "", False
    async for chunk in chunks:
        if plain or chunk.tool_calls:
            plain = True
        else:
            text += chunk.text
            begun = text.lstrip()
            plain = bool(begun) and begun[0] not in _MAY_BEGIN_A_CALL and not must
        held.append(chunk)
        if plain:
            for waiting in held:
                yield waiting
            held.clear()
    call = None if plain else _call(text, tools)
    if call is None and must and not plain:
        yield Chunk(usage=next((one.usage for one in held if one.usage is not None), Usage()))  # it counts all the same
        raise _no_call({one.finish_reason for one in held})
    if call is None:
        for waiting in held:
            yield waiting
        return
    yield Chunk(tool_calls=(call,))
    for waiting in held:
        if waiting.finish_reason is not None:
            yield structs.replace(waiting, text="", finish_reason=FinishReason.TOOL_CALLS)
        elif waiting.usage is not None:
            yield waiting


def _no_call(finished: set[FinishReason | None]) -> ConcertinoError:
    if FinishReason.LENGTH in finished:
        return InvalidRequest(
            "The call of a tool, which 'tool_choice' requires, was not complete when the tokens of the answer were "
            "used up. Allow more, or shorten the conversation.",
            param="max_tokens",
        )
    return BackendError("The answer is no call of a tool, as 'tool_choice' requires. Leave 'stop' out, or try again.")


def _call(text: str, tools: Tools) -> dict[str, Any] | None:
    """The call that a text consists of, as the first piece of a streamed tool call."""
    found = _BLOCK.match(text)
    if found is None:
        return None
    try:
        said = json.loads(found.group(1))
    except (ValueError, RecursionError):
        return None
    names = {tool["function"]["name"] for tool in tools}
    arguments = said.get("arguments", said.get("parameters"))
    name = said.get("name")
    if not isinstance(name, str) or name not in names or not isinstance(arguments, dict):
        return None
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": 0, "id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}
