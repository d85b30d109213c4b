"""A router of single turns -> a router of conversations: turn by turn, staying where a conversation is.

Clients send the whole conversation each time and nobody keeps a session, so what was decided for the earlier turns is
found again from the conversation itself. Only the user's words are read: what a model or a tool wrote moves nothing.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct, structs

from concertino.router.base import Router
from concertino.router.cues import has_words
from concertino.router.evidence import FALLBACK, PLAIN, SHIPPED, evidence, load_weights, probabilities
from concertino.router.linear import EARLIER_TURNS
from concertino.types import Message, Ranking, Role, Tier

WINDOW = 64
"""The user's turns that are read at most; of a longer conversation the last `WINDOW - STEP` to `WINDOW`."""
STEP = 32
"""By so many turns the window moves on at a time, so that its beginning, and what is remembered of it, stays."""
NEAREST = 3
"""A turn is read together with so many before it, and with the one that opened the subject."""
REMEMBERED = 8192
"""Turns whose state is kept, the last used of all conversations."""


class Refining(Protocol):
    """A tier over the router's: it knows domains that the router does not."""

    domains: frozenset[str]

    def refine(
        self,
        conversations: Sequence[Sequence[Message]],
        rankings: Sequence[Ranking],
        eligible: Sequence[Collection[str]] | None = None,
    ) -> list[Ranking]:
        """The rankings with this tier's domains among those that the `eligible` specialists serve; None: all."""
        ...

    def levelled(self, ranking: Ranking, counted: Collection[str], here: str | None) -> dict[str, float]:
        """The scores of a refined ranking as probabilities of the router's domains and of the tier's `counted` ones, in
        a conversation about `here`."""
        ...


class State(Struct, frozen=True):
    """Where a conversation is after a turn of the user's."""

    domain: str | None
    """None where the router abstained and nothing has moved the conversation since."""
    beliefs: dict[str, float]
    """Probability of each domain."""
    opened: int
    """Place among the read turns of the one that opened the subject."""
    reason: str
    tier: Tier = Tier.LINEAR
    """What was asked for the turn: the neighbours, where the turn alone or with those before left the head unsure."""


def together(before: Sequence[str], text: str) -> str:
    """A turn with the one that opened the subject, the first of `before`, and the nearest ones."""
    nearest = before[-NEAREST:] if len(before) <= NEAREST else [before[0], *before[-NEAREST:]]
    return "\n".join([*nearest, text])


class ConversationRouter:
    """Reads the first turn as `router` does, and each later one in the light of those before.

    A later turn switches the domain only when the new domain's probability exceeds that of the old by more than
    `price`, what a hand-over costs. While a tool call is open nothing switches. With `tier` its domains take part as
    the router's do. A router that ranks candidates by their quality says nothing of domains: each turn is then read as
    the router reads it, whatever was before. Safe in several threads.
    """

    def __init__(self, router: Router, price: float = 0.0, tier: Refining | None = None) -> None:
        self.router = router
        self.price = price
        self.tier = tier
        self._ranks_candidates = bool(getattr(router, "ranks_candidates", False))
        self._weights = load_weights(SHIPPED if getattr(router, "reads_conversations", False) else PLAIN)
        self._known: OrderedDict[bytes, State] = OrderedDict()
        self._lock = threading.Lock()

    def rank(
        self, conversations: Sequence[Sequence[Message]], eligible: Sequence[Collection[str]] | None = None
    ) -> list[Ranking]:
        """One Ranking per conversation, in order. `earlier` tells the domains of the user's earlier turns.

        `eligible` are, for each conversation, the specialists whose domains the tier may choose; None: everybody's.
        """
        eligible = None if self.tier is None else eligible
        among = [None if eligible is None else eligible[place] for place in range(len(conversations))]
        before_loops = [before_tool_loop(conversation) for conversation in conversations]
        read = [
            conversation if before is None else before
            for conversation, before in zip(conversations, before_loops, strict=True)
        ]
        rankings: list[Ranking | None] = [None] * len(read)
        turns = [user_turns(conversation) for conversation in read]
        single = [place for place, found in enumerate(turns) if len(found) < 2]
        if single:
            left = None if eligible is None else [eligible[place] for place in single]
            for place, ranking in zip(single, self._read([read[place] for place in single], left), strict=True):
                rankings[place] = ranking
        for place, places in enumerate(turns):
            if rankings[place] is None:
                rankings[place] = self._follow(read[place], places, among[place])
        return [
            ranking if before is None else _locked(ranking)
            for ranking, before in zip(rankings, before_loops, strict=True)
            if ranking is not None
        ]

    def _read(
        self, conversations: Sequence[Sequence[Message]], eligible: Sequence[Collection[str]] | None
    ) -> list[Ranking]:
        rankings = self.router.rank(conversations)
        return rankings if self.tier is None else self.tier.refine(conversations, rankings, eligible)

    def _readings(self, turns: Sequence[Sequence[Message]], among: Collection[str] | None) -> list[Ranking]:
        """The same for turns of one conversation."""
        return self._read(turns, None if among is None else [among] * len(turns))

    def _follow(self, conversation: Sequence[Message], places: Sequence[int], among: Collection[str] | None) -> Ranking:
        """The ranking of a conversation with several turns of the user's, which stand at `places`."""
        start = window_start(len(places))
        texts = [conversation[place].text for place in places[start:]]
        opening = list(conversation[: places[0] + 1]) if start == 0 else [_said(texts[0])]
        keys = _chain(opening, texts, among)
        states: list[State | None] = [self._recall(key) for key in keys]
        done = next((place for place in range(len(texts) - 1, -1, -1) if states[place] is not None), -1)
        if None in states[: done + 1]:
            done = -1  # an earlier one was forgotten
        fresh = list(range(done + 1, len(texts)))
        nearest = EARLIER_TURNS if self._ranks_candidates else 0
        asked = [
            [_said(text) for text in texts[max(0, place - nearest) : place + 1]] if place else opening
            for place in fresh
            if not place or has_words(texts[place])
        ]
        read = iter(self._readings(asked, among))
        followed: list[State] = [state for state in states[: done + 1] if state is not None]
        for place in fresh:
            alone = next(read) if not place or has_words(texts[place]) else None
            followed.append(self._next(texts, place, followed, alone, among))
            self._remember(keys[place], followed[-1])
        last = followed[-1]
        scores = dict(sorted(last.beliefs.items(), key=lambda item: -item[1]))
        confidence = last.beliefs.get(last.domain or FALLBACK, max(scores.values()))
        earlier = tuple([None] * start + [state.domain for state in followed[:-1]])
        described = self.tier is not None and last.domain in self.tier.domains
        tier = Tier.DESCRIPTIONS if described else last.tier
        return Ranking(scores, confidence, last.domain, last.reason, tier, earlier)

    def _next(
        self, texts: Sequence[str], place: int, states: Sequence[State], alone: Ranking | None,
        among: Collection[str] | None = None,
    ) -> State:  # fmt: skip
        """The state after the turn at `place`. `alone` is None for a turn without words."""
        if alone is not None and self._ranks_candidates:
            return State(alone.domain, alone.scores, place, alone.reason)
        if place == 0:
            assert alone is not None
            beliefs = self._levelled(alone, alone.domain, alone.domain)
            return State(alone.domain, beliefs, 0, alone.reason, _asked(alone))
        was = states[-1]
        here = was.domain or FALLBACK
        if alone is None:
            reason = f"kept from the turn before: {here}, no words to go by"
            return structs.replace(was, reason=reason, tier=Tier.LINEAR)
        alone = structs.replace(alone, scores=self._levelled(alone, alone.domain, was.domain))
        again = self.read_again(texts, place, was, alone, among)
        rows = self.rows(texts, place, was, alone, again)
        tier = _asked(alone, again)
        beliefs = dict(zip(alone.scores, probabilities(rows, self._weights).tolist(), strict=True))
        best = max(beliefs, key=lambda domain: beliefs[domain])
        gain = beliefs[best] - beliefs.get(here, 0.0)
        if best == here or gain <= self.price:
            reason = f"kept from the turn before: {here} ({beliefs.get(here, 0.0):.2f})"
            return State(was.domain, beliefs, was.opened, reason, tier)
        reason = f"switched: {best} ({beliefs[best]:.2f}) instead of {here} ({beliefs.get(here, 0.0):.2f})"
        return State(best, beliefs, place, reason, tier)

    @staticmethod
    def rows(texts: Sequence[str], place: int, was: State, alone: Ranking, again: Ranking) -> np.ndarray:
        """What speaks for each domain of `alone.scores`, as `evidence` has it, after `was`. `again`: `read_again`."""
        before = texts[was.opened : place]
        return evidence(texts[place], before, list(alone.scores), was.beliefs, alone.scores, again.scores)

    def read_again(
        self, texts: Sequence[str], place: int, was: State, alone: Ranking, among: Collection[str] | None = None
    ) -> Ranking:
        """The turn at `place` read together with those before it.

        Where the turn alone reads like the domain that the conversation is in, it is not read a second time. Of the
        tier's domains two take part: that of the conversation, and that of the turn alone.
        """
        if alone.domain not in (None, FALLBACK) and alone.domain == was.domain:
            return alone
        return self._together(texts[was.opened : place], texts[place], was.domain, alone.domain, among)

    def _together(
        self, before: Sequence[str], text: str, here: str | None, other: str | None, among: Collection[str] | None
    ) -> Ranking:
        read = [[_said(together(before, text))]]
        if not self._described(here, other):
            return self.router.rank(read)[0]
        ranking = self._readings(read, among)[0]
        return structs.replace(ranking, scores=self._levelled(ranking, other, here))

    def _levelled(self, ranking: Ranking, other: str | None, here: str | None) -> dict[str, float]:
        """Scores that can be weighed against each other, in a conversation about `here` with a turn about `other`."""
        return ranking.scores if self.tier is None else self.tier.levelled(ranking, self._described(here, other), here)

    def _described(self, *domains: str | None) -> frozenset[str]:
        return self.tier.domains & set(domains) if self.tier is not None else frozenset()

    def _recall(self, key: bytes) -> State | None:
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def _remember(self, key: bytes, state: State) -> None:
        with self._lock:
            self._known[key] = state
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)


def user_turns(conversation: Sequence[Message]) -> list[int]:
    """Places of the user's turns that are not blank."""
    return [place for place, message in enumerate(conversation) if message.role is Role.USER and message.text.strip()]


def before_tool_loop(conversation: Sequence[Message]) -> Sequence[Message] | None:
    """The conversation up to where its open tool loop began, or None where none is open.

    A loop is open while the last message is a tool's answer, or the last answer's tool calls have not all been
    answered. It began with the first of the tool calls that follow each other with nothing but tools' answers between.
    """
    places = range(len(conversation) - 1, -1, -1)
    last = next((place for place in places if conversation[place].role is Role.ASSISTANT), -1)
    answered = {message.tool_call_id for message in conversation[last + 1 :] if message.role is Role.TOOL}
    calls = conversation[last].tool_calls or () if last >= 0 else ()
    ends_with_answer = bool(conversation) and conversation[-1].role is Role.TOOL
    if not ends_with_answer and all(call.id in answered for call in calls):
        return None
    last = last if calls else len(conversation) - 1
    start = last
    while start > 0 and _in_loop(conversation[start - 1]):
        start -= 1
    return conversation[:start]


def _asked(*readings: Ranking) -> Tier:
    return Tier.NEIGHBOURS if any(one.tier is Tier.NEIGHBOURS for one in readings) else Tier.LINEAR


def _in_loop(message: Message) -> bool:
    return message.role is Role.TOOL or (message.role is Role.ASSISTANT and bool(message.tool_calls))


def window_start(turns: int) -> int:
    """The first of so many turns that is read: 0, or a multiple of `STEP` that leaves at most `WINDOW`."""
    return 0 if turns <= WINDOW else -(-(turns - WINDOW) // STEP) * STEP


def _locked(ranking: Ranking) -> Ranking:
    here = ranking.domain or FALLBACK
    return structs.replace(ranking, reason=f"kept while a tool call is open: {here} ({ranking.confidence:.2f})")


def _said(text: str) -> Message:
    return Message(Role.USER, text)


def _chain(opening: Sequence[Message], texts: Sequence[str], among: Collection[str] | None) -> list[bytes]:
    """A digest for each turn, of it, all that was read before it and who may be chosen. No text is kept."""
    who = ["everybody"] if among is None else ["some", *sorted(among)]
    digest = hashlib.blake2b("\0".join(who).encode(), digest_size=16)
    for message in opening:
        digest.update(f"{message.role.value}\0{len(message.text)}\0".encode())
        digest.update(message.text.encode("utf-8", "replace"))
    keys = [digest.digest()]
    for text in texts[1:]:
        digest.update(f"\0{len(text)}\0".encode())
        digest.update(text.encode("utf-8", "replace"))
        keys.append(digest.digest())
    return keys
