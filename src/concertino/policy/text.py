"""Every word of a request that could reach a model, as one normalised string, and a way to walk through it.

Detection reads messages of all roles, tool calls, name fields, tool definitions and unknown fields alike: what
matters is what would leave the process, not which field carried it.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec

from concertino.types import Message, Request, Role

# CPython orders combining marks by insertion sort, so one long run of them costs quadratic time with the interpreter
# lock held. Normalising in short pieces bounds that; compatibility mappings do not cross the border of a piece.
_PIECE = 256
_MARKS = 8
_OF_CALLS = frozenset({"call", "contact", "function", "message", "messages", "text", "tool"})
"""Words that stand in the ids of tool calls; before the digits of one they would read like a cue for a telephone."""
_LONGEST_CUE = 200
"""Characters of a key that are repeated before each value."""
_WHOLE_CUES, _LAST_WORDS = 10_000, 24
"""Values that have all of their key before them; those after have so many characters of it, or a list of a million in
4 MB of JSON would be read as 200 MB."""
_GIVEN = frozenset({"const", "default", "enum", "example", "examples"})
"""Keys of a JSON schema whose values are data, of the property that it describes."""
_TAGS = range(0xE0020, 0xE007F)
"""Unicode's tags: an invisible ASCII, which nobody sees and a model reads."""
_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|[nrt])")


class _Table(dict[int, str | None]):
    """What `str.translate` asks, character by character; answers are kept, so no table is built at start."""

    def __missing__(self, point: int) -> str | None:
        self[point] = answer = _replacement(point)
        return answer


def _replacement(point: int) -> str | None:
    """Invisible characters go; tags, hyphens, apostrophes and foreign decimal digits become their ASCII forms."""
    if point in _TAGS:
        return chr(point - 0xE0000)
    character = chr(point)
    category = unicodedata.category(character)
    if category == "Cf" or point == 0x034F or 0xFE00 <= point <= 0xFE0F or 0xE0100 <= point <= 0xE01EF:
        return None
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or point == 0x2212:
        return "-"
    return "'" if point in (0x2018, 0x2019, 0x02BC) else character


_TABLE = _Table()


def normalise(text: str) -> str:
    """NFKC, without invisible characters, with ASCII digits, hyphens and apostrophes."""
    if text.isascii():
        return text
    text = text.translate(_TABLE)
    return "".join(unicodedata.normalize("NFKC", piece) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Short pieces, none of which begins with a few marks that belong to the letter before it."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        while end < min(len(text), start + _PIECE + _MARKS) and unicodedata.combining(text[end]):
            end += 1
        yield text[start:end]
        start = end


def everything(request: Request) -> str:
    """All text of a request, one line or more for each field; keys stand before values, as cues for detectors."""
    lines: list[str] = []
    for message in request.messages:
        lines.extend(_message_lines(message))
    for definition in (request.tools, request.tool_choice, request.response_format):
        lines.extend(_defined(definition))
    lines.extend(request.sampling.stop)
    lines.extend(_flatten(request.extra))
    return unescaped("\n".join(lines))


def unescaped(text: str) -> str:
    """The text with what JSON, or a program, escapes in a string: "\\u0061" is an a, and "\\n" begins a line."""
    return _ESCAPE.sub(_meant, text) if "\\" in text else text


def _meant(escape: re.Match[str]) -> str:
    high, low, one = escape.groups()
    if high is not None:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if one is None:
        return "\n"
    point = int(one, 16)
    return escape.group() if 0xD800 <= point < 0xE000 else chr(point)


def _message_lines(message: Message) -> Iterator[str]:
    if message.name:
        # A tool's `name` is a function; anybody else's is who they are.
        who = message.name.replace("_", " ").replace("-", " ").replace(".", " ")
        yield message.name if message.role is Role.TOOL else f"Name: {who.title()}"
    yield message.text
    if message.role is Role.TOOL and message.text.lstrip()[:1] in ("{", "["):
        yield from _decoded(message.text)
    if isinstance(message.content, tuple) and len(message.content) > 1:
        # A word cut in two by content parts is whole again for a model that reads them side by side.
        yield "".join(part.text or "" for part in message.content)
    for part in message.content if isinstance(message.content, tuple) else ():
        if part.type != "text":
            yield part.type
    if message.tool_call_id:
        yield from _readings(message.tool_call_id)
    for call in message.tool_calls or ():
        yield from _readings(call.id)
        if call.type != "function":
            yield call.type
        yield call.function.name
        yield call.function.arguments
        yield from _decoded(call.function.arguments)


def _readings(call_id: str) -> Iterator[str]:
    """An id as it is, and the words that somebody may have joined in it."""
    yield call_id
    words = [word for word in re.split(r"[\W_]+", call_id) if word and word.lower() not in _OF_CALLS]
    if len(words) > 1:
        yield " ".join(words)


def _decoded(arguments: str) -> Iterator[str]:
    """JSON seen through its escapes ("\\u0031" is a digit), so that an encoder's habits hide nothing."""
    if not arguments:
        return
    try:
        yield from _flatten(msgspec.json.decode(arguments))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # The raw text has been read already.


def _flatten(value: Any) -> Iterator[str]:
    """Strings and numbers of a JSON value, each behind its key."""
    return _behind_keys(_values(value))


def _behind_keys(values: Iterator[tuple[str, Any]]) -> Iterator[str]:
    for place, (key, item) in enumerate(values):
        cue = key if place < _WHOLE_CUES else key[-_LAST_WORDS:]
        yield f"{cue}: {item}" if cue else str(item)


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    """Each with its key, without recursion: depth is the caller's to choose."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        key, item = stack.pop()
        if isinstance(item, dict):
            for inner, content in reversed(item.items()):
                stack.append((_words(str(inner)), content))
                # What will not stand before a value is read by itself.
                if _is_no_value(content) or len(str(inner)) > _LONGEST_CUE:
                    stack.append(("", _words(str(inner), None)))
        elif isinstance(item, list | tuple):
            stack.extend((key, content) for content in reversed(item))
        elif item is not None and not isinstance(item, bool):
            yield key, item


def _defined(value: Any) -> Iterator[str]:
    """The same for definitions of tools and of answers."""
    return _behind_keys(_defined_values(value))


def _defined_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Most keys ("name", "parameters") are OpenAI's words and no cue for what they hold; a value that a schema gives to
    a property stands behind the property's name."""
    stack: list[tuple[str, bool, Any]] = [("", False, value)]
    while stack:
        of, given, item = stack.pop()
        if isinstance(item, dict):
            for inner, content in reversed(item.items()):
                if str(inner) in _GIVEN:
                    stack.append((of, True, content))
                else:
                    stack.append((_words(str(inner)), given, content))
                stack.append(("", False, str(inner)))
        elif isinstance(item, list | tuple):
            stack.extend((of, given, content) for content in reversed(item))
        elif item is not None and not isinstance(item, bool):
            yield of if given else "", item


def _is_no_value(content: Any) -> bool:
    return content is None or isinstance(content, bool | dict | list | tuple)


def _words(key: str, longest: int | None = _LONGEST_CUE) -> str:
    """`patientName` and `patient_name` read as `patient Name` and `patient name`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key[:longest]).replace("_", " ")


def windows(text: str, size: int = 65_536, overlap: int = 512) -> Iterator[tuple[int, int]]:
    """(start, end) spans that cover the text and overlap, so that a pattern of `overlap` characters is never cut.

    A regular expression holds the interpreter lock until it returns; short windows let the event loop breathe.
    """
    start = 0
    while True:
        end = min(start + size, len(text))
        yield start, end
        if end == len(text):
            return
        start = end - overlap
