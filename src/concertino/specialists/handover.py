"""A conversation in the form in which the next specialist understands it: who answered what, and no more than it reads.

Only for requests to `auto`, where the caller cannot know who will answer; who names a specialist gets its messages sent
as they are, and an error when they are too long.
"""

import string
from collections.abc import Sequence

import msgspec
from msgspec import structs

from concertino.config import SpecialistCard
from concertino.types import Message, Request, Role

CHARACTERS_PER_TOKEN = 3.0
"""Of letters and blanks. On the low side for English (about 4.5): better a turn too few than a refusal."""
_TURN = 8
"""Tokens that a template puts around a message (five in ChatML), and the mark of who gave an answer."""
_CALL = 16
"""The same around a tool call."""
_AROUND = 48
"""Around a conversation: a prompt that some templates begin with, the note of what is left out."""
_LETTERS = (string.ascii_letters + " ").encode()
_NOT_FIRST = bytes(range(0x80, 0xC0))
"""Bytes of a character in UTF-8 after its first."""
_FIRST_OF_FOUR = bytes(range(0xF0, 0xF8))
REFILL = 0.5
"""Where the earlier turns do not fit, so much of the room is filled again, so that the beginning of the prompt stays
the same for many turns and engines need not read it anew."""

_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)


def marked(messages: Sequence[Message], earlier: Sequence[str], specialist: str) -> tuple[Message, ...]:
    """The messages, with the answers of others than `specialist` naming who gave them.

    `earlier` names the specialist of each earlier turn of the user's, in order; more turns than that are not marked.
    """
    result, turn = [], -1
    for message in messages:
        if message.role is Role.USER and message.text.strip():
            turn += 1
        other = earlier[turn] if 0 <= turn < len(earlier) else specialist
        if message.role is Role.ASSISTANT and message.text.strip() and other != specialist:
            message = structs.replace(message, content=f"({other}:) {message.text}")
        result.append(message)
    return tuple(result)


def exchanges(messages: Sequence[Message]) -> list[list[int]]:
    """Places of the messages, in groups that begin with a turn of the user's: answers and tool calls stay with what
    asked for them. Instructions belong to no group."""
    groups: list[list[int]] = [[]]
    for place, message in enumerate(messages):
        if message.role in _INSTRUCTING:
            continue
        if message.role is Role.USER and groups[-1]:
            groups.append([])
        groups[-1].append(place)
    return groups


def fitting(request: Request, card: SpecialistCard) -> int:
    """`left_out` of a request's messages, beside its tools and the answer that it asks for."""
    asked = request.sampling.max_tokens
    tools = tokens(msgspec.json.encode(request.tools).decode()) if request.tools else 0.0
    return left_out(request.messages, card, asked if isinstance(asked, int) else None, tools)


def left_out(
    messages: Sequence[Message], card: SpecialistCard, max_tokens: int | None = None, beside: float = 0.0
) -> int:
    """How many of the oldest exchanges do not fit the card's context beside its answer and `beside` more tokens. The
    last one always stays.

    It depends on the conversation alone: while it grows, the first exchange that is kept changes in strides.
    """
    # Who asks for more than the context holds gets less; half of it stays for what is read.
    answer = min(card.max_tokens if max_tokens is None else max_tokens, card.context_tokens // 2)
    told = [_tokens(message) for message in messages if message.role in _INSTRUCTING]
    room = card.context_tokens - answer - _AROUND - beside - (sum(told) if told else _TURN + tokens(card.system))
    sizes = [sum(_tokens(messages[place]) for place in group) for group in exchanges(messages)]
    start, total = 0, 0.0
    for last, size in enumerate(sizes):
        total += size
        if total <= room:
            continue
        while start < last and total > room * REFILL:
            total -= sizes[start]
            start += 1
    return start


def shortened(messages: Sequence[Message], leave_out: int) -> tuple[Message, ...]:
    """The messages without the oldest `leave_out` exchanges; a note in the instructions says so."""
    if not leave_out:
        return tuple(messages)
    gone = {place for group in exchanges(messages)[:leave_out] for place in group}
    kept = [message for place, message in enumerate(messages) if place not in gone]
    note = f"({times(leave_out, 'earlier exchange')} of this conversation left out for length.)"
    first = next((place for place, message in enumerate(kept) if message.role in _INSTRUCTING), None)
    if first is None:
        return (Message(Role.SYSTEM, note), *kept)
    kept[first] = structs.replace(kept[first], content=f"{kept[first].text}\n{note}")
    return tuple(kept)


def times(count: int, what: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def least(messages: Sequence[Message]) -> int:
    """Characters of what is never left out: instructions and the last exchange.

    In characters, since policy must not refuse what would fit, and so counts low where `tokens` counts high.
    """
    return _instructions(messages) + sum(_size(messages[place]) for place in exchanges(messages)[-1])


def tokens(text: str) -> float:
    """About how many tokens a text has, rather more than fewer: one for every digit, sign and character outside ASCII
    (an emoji three), and one for three letters or blanks.

    With the tokenizer of Qwen 2.5 that is 1.8 times the tokens of English prose and of Python, 1.3 of dense C and SQL,
    1.7 of Chinese, 1.5 of Japanese, 1.0 of Greek, Polish and tables of numbers; 3.0 of Russian, 2.3 of Arabic; less
    (0.8, 0.6) for hexadecimal and base64. So it says what to leave out, and refuses nothing. One pass in C, since it is
    asked of every message of a conversation.
    """
    rest = text.encode("utf-8", "replace").translate(None, _LETTERS + _NOT_FIRST)
    fours = len(rest) - len(rest.translate(None, _FIRST_OF_FOUR))
    return (len(text) - len(rest)) / CHARACTERS_PER_TOKEN + len(rest) + 2 * fours


def _tokens(message: Message) -> float:
    """Of a message in its template, with its tool calls."""
    calls = [call.function for call in message.tool_calls or ()]
    said = tokens(message.text) + sum(_CALL + tokens(call.name) + tokens(call.arguments) for call in calls)
    return _TURN + said


def _instructions(messages: Sequence[Message]) -> int:
    return sum(_size(message) for message in messages if message.role in _INSTRUCTING)


def _size(message: Message) -> int:
    """Characters of a message, with those of its tool calls."""
    calls = sum(len(call.function.name) + len(call.function.arguments) for call in message.tool_calls or ())
    return len(message.text) + calls
