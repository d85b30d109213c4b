"""Requests -> Decisions: policy, then router. Needs no engine, no audit log and no server."""

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from concertino import plugins
from concertino.config import BackendSettings, Settings
from concertino.errors import ConcertinoError, ConfigurationError, ContextTooLong, InvalidRequest
from concertino.orchestrator import choice, scope
from concertino.orchestrator.newcomers import Newcomers, find_newcomers
from concertino.policy.rules import CHARACTERS_PER_TOKEN, FAR_OVER, Policy, SpecialistFacts
from concertino.router.base import Router
from concertino.specialists.pool import Pool, Target
from concertino.specialists.prompts import check_supported
from concertino.types import Decision, Principal, Request, Verdict

LOCAL = Principal()

_READ_AT_ONCE = 4
"""Texts whose detectors run at once. The rest wait their turn before their deadline begins: a text in a large batch
must not count as health data because its neighbours kept the detectors busy."""


class Decider:
    """Says who would answer, and why."""

    def __init__(
        self, settings: Settings, pool: Pool, policy: Policy, router: Router, newcomers: Newcomers | None = None
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.policy = policy
        self.router = router
        self.newcomers = newcomers
        """Finds the specialists that the router does not know; None where it knows all."""
        self._turn = asyncio.Semaphore(_READ_AT_ONCE)

    def over(self, pool: Pool) -> "Decider":
        """The same policy and router over another pool of the same specialists."""
        other = copy.copy(self)
        other.pool = pool
        return other

    async def decide_many(self, requests: Sequence[Request], principal: Principal = LOCAL) -> list[Decision]:
        """One Decision per request. Raises the first refusal: UnknownModel, PolicyRefused, InvalidRequest."""
        decisions = []
        for found in await self.decide_each(requests, principal):
            if isinstance(found, ConcertinoError):
                raise found
            decisions.append(found)
        return decisions

    async def decide_each(
        self, requests: Sequence[Request], principal: Principal = LOCAL
    ) -> list[Decision | ConcertinoError]:
        """For each request its Decision, or why there is none. Those that the router must read are read in a batch."""
        found: list[Decision | ConcertinoError | Verdict] = list(
            await asyncio.gather(*(self._without_router(request, principal) for request in requests))
        )
        open_places = [place for place, item in enumerate(found) if isinstance(item, Verdict)]
        if open_places:
            conversations = [requests[place].messages for place in open_places]
            rankings = await asyncio.to_thread(self.router.rank, conversations)
            if self.newcomers is not None:
                left = [verdict.eligible for verdict in found if isinstance(verdict, Verdict)]
                rankings = await asyncio.to_thread(self.newcomers.refine, conversations, rankings, left)
            for place, ranking in zip(open_places, rankings, strict=True):
                verdict = found[place]
                assert isinstance(verdict, Verdict)
                found[place] = choice.ranked(self.pool, ranking, verdict, self.settings.router.default)
        decided = [item for item in found if not isinstance(item, Verdict)]
        return await scope.refer(decided, requests, self.pool, self.router)

    async def _without_router(self, request: Request, principal: Principal) -> Decision | ConcertinoError | Verdict:
        """The Decision where there is nothing to choose; else the verdict, for the router to choose within."""
        try:
            if not request.messages:
                raise InvalidRequest("messages is empty. Send at least one message.", param="messages")
            target = self._target(request)
            async with self._turn:
                verdict = await self.policy.evaluate(request, principal)
            if target is not None:
                self.policy.check(verdict, target.specialist.card.name)
                return choice.pinned(target, verdict)
            if not verdict.eligible:
                raise self.policy.refuse(verdict)
        except ConcertinoError as error:
            return error
        return choice.only_candidate(verdict) if len(verdict.eligible) == 1 else verdict

    def _target(self, request: Request) -> Target | None:
        """What the request names, once it is clear that it could be served at all."""
        target = self.pool.target(request.model)
        named = [target.specialist] if target else list(self.pool)
        if target is not None:
            check_supported(target.specialist, request)
        limit = max(specialist.card.context_tokens for specialist in named)
        tokens = len(request.text) / CHARACTERS_PER_TOKEN
        if tokens > FAR_OVER * limit:
            raise ContextTooLong(
                f"The conversation is about {tokens:.0f} tokens and {request.model!r} reads {limit}. Shorten it.",
                param="messages",
            )
        return target


def make_decider(settings: Settings, pool: Pool) -> Decider:
    """The policy and the router that the settings declare, over a pool. Raises ConfigurationError."""
    make: Any = plugins.load(plugins.ROUTERS, settings.router.type, "router.type")
    try:
        router = make(**settings.router.options)
    except TypeError as error:
        raise ConfigurationError(
            f"router.options: {error}. docs/routing.md lists them.", param="router.options"
        ) from error
    newcomers = find_newcomers(pool, router, settings.router.descriptions)
    return Decider(settings, pool, Policy(settings.policy, specialist_facts(pool)), router, newcomers)


def specialist_facts(pool: Pool) -> list[SpecialistFacts]:
    """What policy must know of each specialist."""
    return [
        SpecialistFacts(
            name=specialist.card.name,
            compliance=frozenset(specialist.card.compliance),
            capabilities=frozenset(capability.value for capability in specialist.capabilities),
            context_tokens=specialist.card.context_tokens,
        )
        for specialist in pool
    ]


def engineless(settings: Settings) -> Decider:
    """A Decider for `auto` requests of plain text, in a process that will answer none of them.

    Every engine is stood in for by echo, because nothing will be run and an engine's libraries take longer to import
    than a decision takes.
    """
    stand_ins = {name: BackendSettings("echo") for name in settings.backends}

    def no_model(name: str) -> Any:
        raise AssertionError(f"{name} was asked for, but nothing is run here")

    pool = Pool(structs.replace(settings, backends=stand_ins), no_model, lambda card: "")
    return make_decider(settings, pool)
