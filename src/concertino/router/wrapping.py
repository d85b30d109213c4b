"""The question inside a prompt template: behind a label, between tags, in a chat's last turn, in a field of JSON.

Programs that call the endpoint often send one turn that holds instructions, context, an output format and, somewhere,
what a person asked. The wrapping has words of its own ("return JSON"), which say nothing of the subject.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from concertino.router.cues import has_words

_MOST = 8_000
"""Of a longer text its two ends are searched, so that no text is slow."""
_ASKING = (
    r"(?:(?:the )?(?:user'?s?|customer'?s?|client'?s?|human|new|final|my|original)[ _-])?"
    r"(?:question|query|request|prompt|message|inquiry|enquiry|ask|utterance|search|input|instruction|task|text|q)"
)
_PERSON = r"(?:user|human|customer|client)"
_LABEL = re.compile(
    rf"^[ \t]*(?:#+[ \t]*)?(?:\*\*)?(?:{_ASKING}|{_PERSON})(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*", re.I | re.M
)
_HEADING = re.compile(rf"^[ \t]*#+[ \t]*(?:{_ASKING}|{_PERSON})[ \t]*$", re.I | re.M)
_NAME = r"(?:[A-Z][\w'-]*|[a-z])(?:[ _-][\w'-]+){0,3}"
_NEXT = re.compile(rf"^[ \t]*(?:#+[ \t]*\S|(?:\*\*)?{_NAME}(?:\*\*)?[ \t]*:(?:\*\*)?(?:[ \t]*$|[ \t]))", re.M)
_TAG = re.compile(
    rf"<((?:{_ASKING}|{_PERSON}|{_PERSON}[_-]?{_ASKING}))(?:\s[^<>]*)?>(.*?)</\1\s*>".replace("[ _-]", "[_-]"),
    re.I | re.S,
)
_CHAT = re.compile(r"<\|(?:im_start|start_header_id)\|>[ \t]*user(?:<\|end_header_id\|>)?(.*?)(?:<\||$)", re.I | re.S)
_INST = re.compile(r"\[INST\](.*?)\[/INST\]", re.S)
_FIELD = re.compile(rf"(?:{_PERSON}[_-]?)?(?:{_ASKING}|content)".replace("[ _-]", "[_-]?"), re.I)
_JSON = msgspec.json.Decoder(dict[str, Any])
_SIGN = re.compile(r"[\n<{\[:]")
"""A text without any of these wraps nothing."""
_PARAGRAPH = re.compile(r"\n[ \t]*\n|\n(?=>)")
_MOST_OF_IT = 0.8


def question_in(text: str) -> str | None:
    """What a person asked, where the text wraps it in a form that is known; None where it does not, or all of it is."""
    if not _SIGN.search(text):
        return None
    found = _in_json(text) if text.lstrip().startswith("{") else None
    text = _ends(text)
    found = found or _last(_CHAT, text) or _last(_INST, text) or _in_tags(text) or _behind_label(text)
    found = found.strip() if found else ""
    return found if has_words(found) and len(found) < 0.95 * len(text.strip()) else None


def lone_question(text: str) -> str | None:
    """The one paragraph of several that has a question mark; None where there is none, or it is most of the text."""
    text = _ends(text)
    parts = [part.strip().lstrip("> ") for part in _PARAGRAPH.split(text) if part.strip()]
    asking = [part for part in parts if "?" in part]
    return asking[0] if len(asking) == 1 < len(parts) and len(asking[0]) < _MOST_OF_IT * len(text) else None


def _ends(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]}\n{text[-_MOST // 2 :]}"


def _in_json(text: str) -> str | None:
    plain = text.strip()
    if not plain.startswith("{") or not plain.endswith("}"):
        return None
    try:
        fields = _JSON.decode(plain)
    except (msgspec.DecodeError, RecursionError):
        return None
    named = list(_texts(fields, 0))
    return max(named, key=len) if named else None


def _texts(fields: Mapping[str, Any], depth: int) -> Any:
    """The texts of fields that are named like a question, those of objects in it included."""
    for name, value in fields.items():
        if isinstance(value, str) and _FIELD.fullmatch(name):
            yield value
        elif isinstance(value, dict) and depth < 3:
            yield from _texts(value, depth + 1)


def _last(form: re.Pattern[str], text: str) -> str | None:
    found = [match[1] for match in form.finditer(text) if match[1].strip()]
    return found[-1] if found else None


def _in_tags(text: str) -> str | None:
    found = [match[2] for match in _TAG.finditer(text) if match[2].strip()]
    return found[-1] if found else None


def _behind_label(text: str) -> str | None:
    """What stands behind the last label of a question that has something behind it, up to the next label or heading."""
    starts = sorted({match.end() for form in (_LABEL, _HEADING) for match in form.finditer(text)}, reverse=True)
    for start in starts:
        end = _NEXT.search(text, start + 1)
        found = text[start : end.start() if end else len(text)]
        if found.strip():
            return found
    return None
