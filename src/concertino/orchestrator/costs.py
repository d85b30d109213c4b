"""What a request can take at most, before it runs, and what it has taken, generation by generation.

The bound is one that no engine exceeds: a text has at most as many tokens as bytes in UTF-8, because byte-level
vocabularies never need more, and an answer has at most `max_tokens`. It is far above what is expected (English has a
token in about four bytes); it is held only while the request runs.
"""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from concertino.backends.base import Generation
from concertino.config import SkillCard, SpecialistCard, WorkflowSettings
from concertino.errors import ConcertinoError
from concertino.knowledge.index import index_path
from concertino.orchestrator.plan_check import LONGEST_GIVEN, LONGEST_TEXT, MOST_PLAN_TOKENS, PLAN_TRIES
from concertino.specialists.handover import CHARACTERS_PER_TOKEN
from concertino.specialists.pool import Pool, Target
from concertino.specialists.skills import skill_generation
from concertino.storage.budgets import Cost
from concertino.types import Chunk, Decision, Message, Request, Usage

_TEMPLATE = 128
"""Tokens that a chat template puts around a conversation, and a prompt of its own that some begin with."""
_TURN = 24
"""Tokens that a template puts around a message; also the mark of who gave an answer."""
_BYTES = 4
"""Of a character, at most."""
_PLAN_PROMPT = 1_500
"""Bytes of what a planner is told besides the team and the request."""


def used(card: SpecialistCard, usage: Usage) -> Cost:
    """What a generation has taken. Prices are per million tokens, so a token costs a thousand times its price in
    billionths; parts of one are rounded up."""
    billionths = (usage.prompt_tokens * card.price.prompt + usage.completion_tokens * card.price.completion) * 1000
    return Cost(math.ceil(round(billionths, 6)), usage.total_tokens)


def most(
    pool: Pool, target: Target, request: Request, instead: Sequence[Target] = (), after: Target | None = None
) -> Cost:
    """The most that a request takes of its target or of one that answers instead, and of one that answers after it."""
    costs = [_most(pool, one, request) for one in (target, *instead)]
    return _dearest(costs) if after is None else _dearest(costs) + _most(pool, after, request)


def most_of_parts(pool: Pool, request: Request, decision: Decision, settings: WorkflowSettings, default: str) -> Cost:
    """The most that a compound request takes: its parts, each asked of its specialist or of the default; the plan,
    where the generalist makes it; the composition, where there is one."""
    assert decision.plan is not None
    asked, said = request.sampling.max_tokens, _bytes(request.messages)
    tokens = min(asked, settings.max_tokens) if isinstance(asked, int) else settings.max_tokens
    composed, planned = settings.answer == "composed", settings.planner == "model"
    eligible = decision.verdict.eligible
    costs: list[Cost] = []
    parts: list[tuple[Sequence[str], int, int]]
    """Who may be asked, how many answers of other parts it may be given, and bytes of its own besides the request."""
    if planned:
        costs.append(most_to_plan(pool, request, decision, default))
        parts = [(eligible, before, LONGEST_TEXT * _BYTES) for before in range(settings.max_parts)]
    else:
        parts = [((task.specialist, default), len(task.depends_on), 0) for task in decision.plan.tasks]
    # With a plan still to be made, fewer parts may share the same tokens: each is reckoned at what two would have.
    share = max(1, tokens // ((2 if planned else len(parts)) * (2 if composed else 1)))
    for names, given, more in parts:
        cards = [pool.get(name).card for name in {*names, default} if name in eligible]
        prompt = said + more + given * (LONGEST_GIVEN * _BYTES + said)
        turns = len(request.messages) + 2 * given
        costs.append(_dearest([_bound(card, prompt + _around(pool, card), share, turns) for card in cards]))
    if composed and default in eligible:
        card = pool.get(default).card
        costs.append(_bound(card, 2 * said + _PLAN_PROMPT + tokens * _BYTES, tokens, 2))
    return _sum(costs)


def most_to_plan(pool: Pool, request: Request, decision: Decision, default: str) -> Cost:
    """The most that it takes to have the generalist divide a request."""
    eligible = decision.verdict.eligible
    team = sum(len(pool.get(name).card.description.encode()) + _TURN for name in eligible)
    prompt = _PLAN_PROMPT + team + _bytes(request.messages) + (PLAN_TRIES - 1) * LONGEST_TEXT * _BYTES
    return _sum([_bound(pool.get(default).card, prompt, MOST_PLAN_TOKENS, 4)] * PLAN_TRIES)


def most_of(card: SpecialistCard, generation: Generation) -> Cost:
    """The most that a generation takes."""
    tokens = generation.sampling.max_tokens
    return _bound(card, _bytes(generation.messages), tokens if isinstance(tokens, int) else card.max_tokens, 2)


def most_to_embed(texts: Sequence[str]) -> Cost:
    """The most tokens that texts have for an embedding model, which has no price."""
    return Cost(tokens=sum(len(text.encode("utf-8", "replace")) + 2 for text in texts))


def _most(pool: Pool, target: Target, request: Request) -> Cost:
    card = target.specialist.card
    if target.skill is not None:
        return _most_of_skill(target, target.skill, request)
    asked = request.sampling.max_tokens
    prompt = _bytes(request.messages) + _around(pool, card)
    prompt += sum(len(msgspec.json.encode(part)) for part in (request.tools, request.response_format) if part)
    return _bound(card, prompt, asked if isinstance(asked, int) else card.max_tokens, len(request.messages) + 1)


def _most_of_skill(target: Target, skill: SkillCard, request: Request) -> Cost:
    specialist = target.specialist
    longest = max((message.text for message in request.messages), key=len)
    generation = skill_generation(specialist.card, skill, longest, specialist.capabilities)
    schema = len(msgspec.json.encode(generation.response_format)) if generation.response_format else 0
    return _bound(specialist.card, _bytes(generation.messages) + schema, skill.max_tokens, 2)


def _around(pool: Pool, card: SpecialistCard) -> int:
    """Bytes that are put beside a conversation: the card's own instruction, and passages of its index."""
    home: Path = pool.settings.home_path
    passages = card.context_tokens if card.knowledge != "off" and index_path(home, card.name).exists() else 0
    return len(card.system.encode()) + passages


def _bound(card: SpecialistCard, prompt_bytes: int, answer_tokens: int, turns: int) -> Cost:
    return used(card, Usage(prompt_bytes + _TEMPLATE + turns * _TURN, answer_tokens))


def _bytes(messages: Sequence[Message]) -> int:
    def of(value: str) -> int:
        return len(value.encode("utf-8", "replace"))

    calls = (call.function for message in messages for call in message.tool_calls or ())
    return sum(of(message.text) for message in messages) + sum(of(call.name + call.arguments) for call in calls)


def _dearest(costs: Sequence[Cost]) -> Cost:
    return Cost(max(cost.amount for cost in costs), max(cost.tokens for cost in costs))


def _sum(costs: Sequence[Cost]) -> Cost:
    return sum(costs, Cost())


class Meter:
    """One generation. What the engine counts is what it took; until then, a chunk is a token.

    A generation that was asked for and broken off has read its prompt, by the usual estimate; one that the engine
    refused before its first chunk has taken nothing.
    """

    def __init__(self, card: SpecialistCard, generation: Generation) -> None:
        self._card = card
        self._prompt = math.ceil(sum(len(message.text) for message in generation.messages) / CHARACTERS_PER_TOKEN)
        self._written = 0
        self._counted: Usage | None = None
        self._begun = False

    async def over(self, stream: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        """The same chunks. Closing this closes the stream."""
        self._begun = True
        try:
            async for chunk in stream:
                if chunk.usage is not None:
                    self._counted = chunk.usage
                elif chunk.text or chunk.tool_calls:
                    self._written += 1
                yield chunk
        except ConcertinoError:
            self._begun = self._written > 0
            raise
        finally:
            close: Any = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    @property
    def usage(self) -> Usage:
        if self._counted is None and not self._begun:
            return Usage()
        return self._counted or Usage(self._prompt, self._written)

    @property
    def cost(self) -> Cost:
        return used(self._card, self.usage)


class Spending:
    """The generations of one request, whoever answers which part of it: each is counted once, at its own price."""

    def __init__(self) -> None:
        self._meters: list[Meter] = []
        self._more = Cost()

    def metered(
        self, card: SpecialistCard, generation: Generation, stream: AsyncIterator[Chunk]
    ) -> AsyncIterator[Chunk]:
        """The stream of a generation, counted as it is read."""
        meter = Meter(card, generation)
        self._meters.append(meter)
        return meter.over(stream)

    @property
    def newest(self) -> "Meter":
        """That of the generation that began last."""
        return self._meters[-1]

    def add(self, cost: Cost) -> None:
        """What something took that is no stream."""
        self._more += cost

    @property
    def cost(self) -> Cost:
        """So far."""
        return _sum([self._more, *self._costs()])

    def _costs(self) -> Iterator[Cost]:
        return (meter.cost for meter in self._meters)
