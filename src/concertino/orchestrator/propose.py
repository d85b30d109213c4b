"""Which requests are most worth a person's label, and those that have one, as examples to learn from.

Worth a label are those said to be wrong, then those the router was least sure of: uncertainty sampling by margin
(Scheffer et al. 2001, "Active Hidden Markov Models"): the smaller the distance between the two best scores, the more a
label tells. Reads the audit log and the feedback; nothing is written.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from concertino.audit.read import Entry
from concertino.config import Settings
from concertino.orchestrator.compound import SEVERAL
from concertino.policy.base import Detector, Kind
from concertino.policy.text import normalise
from concertino.router.conversation import before_tool_loop, together, user_turns
from concertino.router.cues import cues, has_words
from concertino.storage.feedback import Feedback
from concertino.types import Message, Tier

CHOSEN_BY = frozenset(
    tier.value for tier in (Tier.LINEAR, Tier.NEIGHBOURS, Tier.DESCRIPTIONS, Tier.LANGUAGE, Tier.DEFAULT)
)
"""Tiers that chose one of several; who was pinned or alone was not the router's choice, and `several` chose nobody."""
PERSONAL = "hold personal or health data (--personal writes them all the same)"
OUT_OF_SCOPE = "oos"
"""The label of what is nobody's, as `concertino router fit --examples` has it."""


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
    """The domain of the specialist that a caller named."""
    text: str | None = None
    """The user's turn, a later one with those before it, as the router reads them."""


class Labelled(Struct, frozen=True):
    """A line of the export, as `concertino router fit --examples` reads it."""

    text: str
    label: str


class Export(Struct, frozen=True):
    """Requests that callers have judged, as examples. `left_out`: why others are none, and how many."""

    rows: tuple[Labelled, ...]
    confirmed: int
    corrected: int
    left_out: dict[str, int]


class Labels:
    """A specialist's name -> the label of what it should have. `known` are the router's domains, None for a router that
    does not tell."""

    def __init__(self, settings: Settings, known: Collection[str] | None = None) -> None:
        self._served = {card.name: card.serves for card in settings.specialists}
        self._default, self._known = settings.router.default, known

    def of(self, specialist: str, domain: str | None = None) -> str | None:
        """One of the domains that the specialist serves: `domain`, where it is one of them, else the first that the
        router knows. What is the default's because nobody serves it is `OUT_OF_SCOPE`. None for who is not in the team.
        """
        served = self._served.get(specialist)
        if not served or domain in served:
            return domain if served else None
        found = [name for name in served if self._known is None or name in self._known]
        if not found and specialist == self._default:
            return OUT_OF_SCOPE
        return (found or served)[0]


def propose(entries: Iterable[Entry], feedback: Mapping[str, Feedback], count: int, labels: Labels) -> list[Proposal]:
    """The `count` most useful requests, best first. Requests said to be right and repeated texts are left out."""
    found = [proposal for entry in entries if (proposal := _proposal(entry, feedback.get(entry.id), labels))]
    order = {Why.CORRECTED: 0, Why.WRONG: 1, Why.UNSURE: 2}
    kept: dict[str, Proposal] = {}
    for item in sorted(found, key=lambda item: (order[item.why], item.margin)):
        kept.setdefault(_key(item.text) if item.text else item.id, item)
    return list(kept.values())[:count]


def export(
    entries: Iterable[Entry],
    feedback: Mapping[str, Feedback],
    labels: Labels,
    detectors: Collection[Detector] = (),
) -> Export:
    """What callers confirmed and corrected, each text and label once, oldest first.

    Left out is what policy held to be health data, and each text in which one of `detectors` finds an identifier, or
    which it fails on. Without detectors nothing is left out for that.
    """
    rows: dict[tuple[str, str], Labelled] = {}
    counts, left_out, seen = Counter[str](), Counter[str](), set[str]()
    for entry in entries:
        said = feedback.get(entry.id)
        if said is None:
            continue
        seen.add(entry.id)
        found = _labelled(entry, said, labels)
        if isinstance(found, str):
            left_out[found] += 1
        elif (key := (_key(found.text), found.label)) in rows:
            left_out["repeat another one"] += 1
        elif detectors and (_was_health_data(entry) or _identifies(found.text, detectors)):
            left_out[PERSONAL] += 1
        else:
            rows[key] = found
            counts["corrected" if said.specialist is not None and not said.right else "confirmed"] += 1
    if older := len(feedback.keys() - seen):
        left_out["are older than the requests that were looked at (--among)"] = older
    return Export(tuple(rows.values()), counts["confirmed"], counts["corrected"], dict(left_out))


def _was_health_data(entry: Entry) -> bool:
    decision: dict[str, Any] = entry.begin.get("decision") or {}
    facts = (decision.get("verdict") or {}).get("facts") or {}
    return bool(facts.get("health_data"))


def _identifies(text: str, detectors: Collection[Detector]) -> bool:
    read = normalise(text)
    for detector in detectors:
        if detector.kind is not Kind.IDENTIFIER:
            continue
        try:
            if detector.detect(read):
                return True
        except Exception:
            return True  # whatever it raises, it did not clear the text
    return False


def _labelled(entry: Entry, said: Feedback, labels: Labels) -> Labelled | str:
    """The example that a judged request is, or why it is none."""
    decision: dict[str, Any] = entry.begin.get("decision") or {}
    specialist = said.specialist or (decision.get("specialist") if said.right else None)
    if specialist is None:
        return "were called wrong, and nobody was named"
    if specialist == SEVERAL:
        return "were divided among several specialists"
    label = labels.of(specialist, decision.get("domain"))
    if label is None:
        return "are of a specialist that is not in the team"
    text = _text(entry.begin.get("content"), decision.get("earlier") or (), specialist)
    if text is None:
        return "have no text in the audit log (audit.keep_text)"
    return Labelled(text, label) if has_words(text) else "have no words"


def _proposal(entry: Entry, said: Feedback | None, labels: Labels) -> Proposal | None:
    """None for what was said to be right, and for what nobody judged and the router did not choose."""
    decision: dict[str, Any] = entry.begin.get("decision") or {}
    if not decision or (said is None and decision.get("tier") not in CHOSEN_BY) or (said is not None and said.right):
        return None
    scores = sorted(decision.get("scores", {}).items(), key=lambda item: -item[1])
    if len(scores) < 2 and said is None:
        return None
    why = Why.UNSURE if said is None else Why.CORRECTED if said.specialist else Why.WRONG
    others = [name for name, _ in scores if name != decision["specialist"]]
    margin = abs(scores[0][1] - scores[1][1]) if len(scores) > 1 else 1.0
    named = said.specialist if said is not None else None
    return Proposal(
        entry.id, why, decision["specialist"], others[0] if others else None, margin, decision["tier"],
        labels.of(named, decision.get("domain")) if named else None,
        _text(entry.begin.get("content"), decision.get("earlier") or (), named),
    )  # fmt: skip


def _text(content: object, earlier: Sequence[str], specialist: str | None) -> str | None:
    """The user's last turn of stored content, as `recording.content_of` makes it; None where it is a digest.

    "Now shorter" is nobody's by itself, so that a later turn stands with those before it on the same subject, as the
    router reads it. Only one that begins another subject, by who is to have it and by its wording, stands alone.
    """
    if not isinstance(content, str):
        return None
    try:
        messages = msgspec.convert(msgspec.json.decode(content, type=list[Any])[0], list[Message])
    except (msgspec.MsgspecError, IndexError):
        return None
    loop = before_tool_loop(messages)
    read = messages if loop is None else loop
    turns = [read[place].text for place in user_turns(read)]
    if len(turns) < 2:
        return turns[0] if turns else None
    opened = 0
    if len(earlier) == len(turns) - 1:
        opened = next((place for place in range(len(earlier) - 1, 0, -1) if earlier[place - 1] != earlier[-1]), 0)
        if specialist not in (None, earlier[-1]) and cues(turns[-1], turns[opened:-1])["whole"]:
            return turns[-1]
    return together(turns[opened:-1], turns[-1])


def _key(text: str) -> str:
    return " ".join(text.lower().split())
