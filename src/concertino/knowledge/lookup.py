"""The user's last turn -> what to look up, and what was found in a specialist's index."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.knowledge.index import Index, index_path
from concertino.knowledge.search import FOUND, Hit, information, search
from concertino.knowledge.terms import terms, words
from concertino.types import Message, Role

LONGEST_QUESTION = 80
"""Words. A longer turn brings its own material (a note, a letter, a dialogue), and is answered from that."""
SPECIFIC = 3.0
"""Information, in nats, of a word that says by itself what a question is about: one passage in twenty has it."""

_POINTS_BACK = re.compile(
    r"\b(?:it|its|this|they|them|their|he|she|him|his|her)\b|^\W*(?:and|but|what about|how about)\b", re.IGNORECASE
)


class Found(Struct, frozen=True):
    """What a lookup gave. `hits` are empty where nothing was found; `question` is what was looked up."""

    question: str
    hits: tuple[Hit, ...]


def question_of(messages: Sequence[Message]) -> str | None:
    """The last turn, if it is the user's and a question of a reader: neither material to work on nor a greeting."""
    if not messages or messages[-1].role is not Role.USER:
        return None
    text = messages[-1].text.strip()
    return text if terms(text) and len(words(text)) <= LONGEST_QUESTION else None


def with_context(index: Index, messages: Sequence[Message]) -> str:
    """The last turn, together with the user's turn before it where it points back or names nothing by itself."""
    turns = [message.text.strip() for message in messages if message.role is Role.USER and message.text.strip()]
    last = turns[-1]
    if len(turns) < 2:
        return last
    specific = max((information(index, term) for term in terms(last) if index.frequency(term)), default=0.0)
    if not _POINTS_BACK.search(last) and specific >= SPECIFIC:
        return last
    before = [turn for turn in turns[:-1] if terms(turn) and len(words(turn)) <= LONGEST_QUESTION]
    return f"{before[-1]} {last}" if before else last


def look_up(index: Index, question: str, vector: Sequence[float] | None) -> Found:
    """The passages that are likely enough to answer, likeliest first."""
    hits = search(index, question, None if vector is None else np.asarray(vector, dtype=np.float32))
    return Found(question, tuple(hit for hit in hits if hit.likelihood >= FOUND))


class Shelf:
    """The indexes of a home folder, each opened when it is first asked for and again when it was written anew."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open: dict[str, tuple[tuple[int, int, int], Index]] = {}
        self._lock = threading.Lock()

    def index(self, specialist: str) -> Index | None:
        """A specialist's index as it is on disk now, or None. Reads the disk. Raises ConfigurationError."""
        path = index_path(self._home, specialist)
        with self._lock:
            try:
                about = path.stat()
            except FileNotFoundError:
                self._open.pop(specialist, None)
                return None
            stamp = (about.st_ino, about.st_mtime_ns, about.st_size)
            held = self._open.get(specialist)
            if held is None or held[0] != stamp:
                # The old one is not closed: a search in another thread may be reading it. It goes when that is done.
                held = self._open[specialist] = (stamp, Index(path))
            return held[1]
