"""Why a text goes where it goes: the head's words, the descriptions that fit, and the nearest training examples."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from concertino.config import Settings
from concertino.router.alternatives import open_linear
from concertino.router.descriptions import Evidence, open_tier
from concertino.router.explain import Neighbour, WordWeight, explain
from concertino.router.fitted import HEAD, open_encoder
from concertino.training.routing.data import SEEDS, load_splits
from concertino.types import Message, Ranking, Role

DRAWN = 3000
"""Training rows of the data folder that are looked at beside the seeds."""


class TextExplanation(Struct, frozen=True):
    """What `concertino router explain` shows."""

    ranking: Ranking
    best: str
    """The head's likeliest domain; `words` say what each word adds to its log-odds."""
    words: tuple[WordWeight, ...]
    described: tuple[Evidence, ...]
    nearest: tuple[Neighbour, ...]


def explain_text(
    text: str, settings: Settings, count: int, data_dir: Path | None, note: Callable[[str], None]
) -> TextExplanation:
    """Explain the head of the configuration (or the shipped one, where another router is configured)."""
    options = settings.router.options if settings.router.type == "linear" else {}
    router = open_linear(**options)
    conversation = [Message(Role.USER, text)]
    found = explain(router, conversation)
    known = {*router.domains}
    cards = [
        card for card in settings.specialists if known.isdisjoint(card.serves) and card.name != settings.router.default
    ]
    ranking, described = found.ranking, tuple[Evidence, ...]()
    if cards:
        tier = open_tier(settings, [card.serves[0] for card in cards], router)
        ranking = tier.refine([conversation], [ranking], [settings.served])[0]
        described = tuple(tier.evidence(text)) if text.strip() else ()
    return TextExplanation(ranking, found.best, found.words, described, tuple(neighbours(text, count, data_dir, note)))


def neighbours(text: str, count: int, data_dir: Path | None, note: Callable[[str], None]) -> list[Neighbour]:
    """The training texts whose vectors, by the head's encoder, are nearest."""
    rows = [(line["text"], line["label"]) for line in map(json.loads, SEEDS.read_text("utf-8").splitlines())]
    if data_dir is not None:
        splits = load_splits(data_dir, note)
        rng = random.Random(7)  # noqa: S311
        rows += [(row.text, row.label) for row in rng.sample(splits.train, min(DRAWN, len(splits.train)))]
    note(f"looking for neighbours among {len(rows)} training texts")
    encoder = open_encoder(HEAD)
    likeness = encoder.whole([known for known, _ in rows]) @ encoder.whole([text])[0]
    order = (-likeness).argsort(kind="stable")[:count]
    found = ((*rows[place], float(likeness[place])) for place in order.tolist())
    return [Neighbour(known, label, near) for known, label, near in found]
