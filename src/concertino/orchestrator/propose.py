"""Which requests are most worth a person's label: those said to be wrong, then those the router was least sure of.

Uncertainty sampling by margin (Scheffer et al. 2001, "Active Hidden Markov Models"): the smaller the distance between
the two best scores, the more a label tells. Reads the audit log and the feedback; nothing is written.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from concertino.audit.read import Entry
from concertino.storage.feedback import Feedback
from concertino.types import Role, Tier

CHOSEN_BY = frozenset({Tier.LINEAR.value, Tier.DESCRIPTIONS.value, Tier.DEFAULT.value})
"""Tiers that chose; who was pinned or alone was not the router's choice."""


class Why(StrEnum):
    CORRECTED = "corrected"
    """A caller named the right specialist: a label already, to be confirmed."""
    WRONG = "wrong"
    """A caller said that it went wrong."""
    UNSURE = "unsure"
    """The two best scores are close."""


class Proposal(Struct, frozen=True):
    """One request to label. `text` is None unless the audit log keeps content; the id then finds it elsewhere."""

    id: str
    why: Why
    specialist: str
    second: str | None
    margin: float
    tier: str
    label: str | None = None
    text: str | None = None


def propose(entries: Iterable[Entry], feedback: Mapping[str, Feedback], count: int) -> list[Proposal]:
    """The `count` most useful requests, best first. Requests said to be right and repeated texts are left out."""
    found = [proposal for entry in entries if (proposal := _proposal(entry, feedback.get(entry.id)))]
    order = {Why.CORRECTED: 0, Why.WRONG: 1, Why.UNSURE: 2}
    kept: dict[str, Proposal] = {}
    for item in sorted(found, key=lambda item: (order[item.why], item.margin)):
        kept.setdefault(" ".join(item.text.lower().split()) if item.text else item.id, item)
    return list(kept.values())[:count]


def _proposal(entry: Entry, said: Feedback | None) -> Proposal | None:
    decision: dict[str, Any] = entry.begin.get("decision") or {}
    if decision.get("tier") not in CHOSEN_BY or (said is not None and said.right):
        return None
    scores = sorted(decision.get("scores", {}).items(), key=lambda item: -item[1])
    if len(scores) < 2:
        return None
    why = Why.UNSURE if said is None else Why.CORRECTED if said.specialist else Why.WRONG
    others = [name for name, _ in scores if name != decision["specialist"]]
    margin = abs(scores[0][1] - scores[1][1])
    label = said.specialist if said is not None else None
    return Proposal(
        entry.id, why, decision["specialist"], others[0] if others else None, margin, decision["tier"], label,
        _text(entry.begin.get("content")),
    )  # fmt: skip


def _text(content: object) -> str | None:
    """The user's last turn of stored content, which is `[messages, tools]` as JSON, or None where it is a digest."""
    if not isinstance(content, str):
        return None
    try:
        messages = msgspec.json.decode(content)[0]
    except (msgspec.DecodeError, IndexError, TypeError, KeyError):
        return None
    turns = [turn.get("content") for turn in messages if isinstance(turn, dict) and turn.get("role") == Role.USER]
    return next((turn for turn in reversed(turns) if isinstance(turn, str) and turn.strip()), None)
