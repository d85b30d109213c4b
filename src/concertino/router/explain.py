"""Why the head decided as it did: what each word adds, and the training texts that are nearest."""

import re
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.router.alternatives import LogisticRouter
from concertino.router.linear import LinearRouter, conversation_texts
from concertino.types import Message, Ranking

MOST_WORDS = 60
"""Of a longer text only its first words are left out one by one: each costs a run of the encoder."""

_WORD = re.compile(r"\S+")


class WordWeight(Struct, frozen=True):
    """What a word adds to the best domain: its log-odds with the word, less those without."""

    word: str
    weight: float


class Neighbour(Struct, frozen=True):
    """A text of a bank, and its cosine with the one that is explained."""

    text: str
    label: str
    likeness: float


class Explanation(Struct, frozen=True):
    """What `concertino router explain` shows of the head. `best` and `second` are its two likeliest domains."""

    ranking: Ranking
    best: str
    second: str
    words: tuple[WordWeight, ...]
    """In the order of the text."""


def _log_odds(chance: np.ndarray) -> np.ndarray:
    clipped = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def explain(router: LinearRouter | LogisticRouter, conversation: Sequence[Message]) -> Explanation:
    """The ranking of a conversation, and by occlusion (Zeiler and Fergus 2014) what each word of the user's last turn
    adds to the domain that is likeliest for that turn."""
    ranking = router.rank([conversation])[0]
    text = conversation_texts(conversation)[0]
    spans = list(_WORD.finditer(text))[:MOST_WORDS]
    without = [text[: span.start()] + text[span.end() :] for span in spans]
    reader = router.reading_like(text) if isinstance(router, LinearRouter) else router
    rows = reader.probabilities([text, *without])
    order = np.argsort(-rows[0], kind="stable")
    odds = _log_odds(rows[:, order[0]])
    classes = router.domains
    return Explanation(
        ranking,
        classes[order[0]],
        classes[order[1]],
        tuple(WordWeight(span.group(), float(odds[0] - value)) for span, value in zip(spans, odds[1:], strict=True)),
    )
