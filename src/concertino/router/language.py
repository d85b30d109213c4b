"""The language-model tier's question: a team as lettered descriptions, a request, and one letter as the answer.

The team stands before the request, so that an engine's prefix cache holds it from one request to the next.
"""

import re
from collections.abc import Sequence

from concertino.router.linear import SHORT_WORDS, conversation_texts
from concertino.types import Message

LETTERS = "ABCDEFGHIJKL"
"""What the answer is chosen from; a team's last letter is whoever takes what is nobody's."""
HEAD_CHARACTERS, TAIL_CHARACTERS = 180, 100
"""Of a longer request its two ends are read: the tier must be fast, and a question stands at one of them."""
DESCRIPTION_CHARACTERS = 240

_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+")


def team_lines(descriptions: Sequence[str], rest: str) -> str:
    """The team: a line for each description, and one for `rest`, what is nobody's.

    Raises ValueError for more descriptions than there are letters.
    """
    if len(descriptions) >= len(LETTERS):
        raise ValueError(f"{len(descriptions)} descriptions; the tier reads {len(LETTERS) - 1} at most")
    lines = [*descriptions, f"none of the above. {rest}"]
    return "\n".join(f"{letter}: {_cut(line)}" for letter, line in zip(LETTERS, lines, strict=False))


def question(team: str, request: str) -> str:
    """What the model is asked: the team, then the request on one line."""
    return f"{team}\n\nRequest: {shortened(request)}"


def shortened(request: str) -> str:
    """A request on one line, its middle left out where it is long."""
    line = _SPACE.sub(" ", request).strip()
    if len(line) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return line
    return f"{line[:HEAD_CHARACTERS].rstrip()} ... {line[-TAIL_CHARACTERS:].lstrip()}"


def _cut(description: str) -> str:
    line = _SPACE.sub(" ", description).strip()
    if len(line) <= DESCRIPTION_CHARACTERS:
        return line
    return line[:DESCRIPTION_CHARACTERS].rsplit(" ", 1)[0].rstrip(",;:") + " ..."


def reading(conversation: Sequence[Message]) -> str:
    """What the tier reads of a conversation: a short last turn with the turns before it, as the head does."""
    last, earlier = conversation_texts(conversation)
    text = earlier if earlier and len(_WORD.findall(last)) <= SHORT_WORDS else last
    return text if _WORD.search(text) else ""
