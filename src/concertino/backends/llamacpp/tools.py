"""Tool calls that a model writes as text.

llama.cpp turns a model's own tool syntax into tool calls. Small coder models often write the call as a JSON object in
a code block instead; where an answer consists of that, and names a tool of the request, it is the call that was meant.
"""

import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

from msgspec import structs

from concertino.types import Chunk, FinishReason

_BLOCK = re.compile(r"^\s*(?:```(?:json)?\s*|<tool_call>\s*)?(\{.*\})\s*(?:```|</tool_call>)?\s*$", re.DOTALL)
_MAY_BEGIN_A_CALL = "{`<"


async def calls_from_text(chunks: AsyncIterator[Chunk], tools: tuple[dict[str, Any], ...]) -> AsyncIterator[Chunk]:
    """The same chunks, or, where all of the text is a call of one of `tools`, that call in their place.

    Text that cannot be one is passed on at once; only an answer that begins like a call is held back to its end.
    """
    held: list[Chunk] = []
    text, plain = "", False
    async for chunk in chunks:
        if plain or chunk.tool_calls:
            plain = True
        else:
            text += chunk.text
            begun = text.lstrip()
            plain = bool(begun) and begun[0] not in _MAY_BEGIN_A_CALL
        held.append(chunk)
        if plain:
            for waiting in held:
                yield waiting
            held.clear()
    call = None if plain else _call(text, tools)
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


def _call(text: str, tools: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """The call that a text consists of, as the first piece of a streamed tool call."""
    found = _BLOCK.match(text)
    if found is None:
        return None
    try:
        said = json.loads(found.group(1))
    except ValueError:
        return None
    names = {tool["function"]["name"] for tool in tools}
    arguments = said.get("arguments", said.get("parameters"))
    if said.get("name") not in names or not isinstance(arguments, dict):
        return None
    function = {"name": said["name"], "arguments": json.dumps(arguments)}
    return {"index": 0, "id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}
