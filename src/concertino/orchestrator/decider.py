"""Requests -> Decisions: policy, then router. Needs no engine, no audit log and no server."""

import asyncio
import copy
import inspect
import logging
from collections.abc import Collection, Sequence
from typing import Any

from msgspec import structs

from concertino import plugins
from concertino.config import BackendSettings, Settings
from concertino.errors import BudgetExhausted, ConcertinoError, ConfigurationError, ContextTooLong, InvalidRequest
from concertino.orchestrator import choice, compound, costs, scope, tradeoff
from concertino.orchestrator.budgets import Left
from concertino.orchestrator.newcomers import Newcomers, WholeTeam, find_newcomers
from concertino.orchestrator.second_look import Opinions, SecondLook
from concertino.policy.rules import CHARACTERS_PER_TOKEN, FAR_OVER, Policy, SpecialistFacts
from concertino.router.base import Router
from concertino.router.conversation import ConversationRouter, before_tool_loop
from concertino.specialists import handover
from concertino.specialists.pool import CHOSEN, Pool, Target
from concertino.specialists.prompts import check_supported
from concertino.telemetry.speed import Speeds
from concertino.types import Decision, Principal, Request, Verdict

LOCAL = Principal()

log = logging.getLogger("concertino.orchestrator")

LONG_HISTORY = 16.0
"""How many times the longest context a conversation may be estimated at whose history can be shortened. Policy reads
all of it, so there is a limit."""

_READ_AT_ONCE = 4
"""Texts whose detectors run at once. The rest wait their turn before their deadline begins: a text in a large batch
must not count as health data because its neighbours kept the detectors busy."""


class Decider:
    """Says who would answer, and why."""

    def __init__(
        self, settings: Settings, pool: Pool, policy: Policy, router: Router, newcomers: Newcomers | None = None,
        second_look: SecondLook | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.pool = pool
        self.policy = policy
        self.router = router
        self.speeds = Speeds()
        self.newcomers = newcomers
        """Finds the specialists that the router does not know; None where it knows all."""
        self.second_look = second_look
        """The language-model tier; None where the team has none."""
        self.whole_team: ConversationRouter | WholeTeam = (
            router if isinstance(router, ConversationRouter) else WholeTeam(router, newcomers)
        )
        """The router and the newcomers as one. Without `eligible` for parts of a request, and for what is another's."""
        self._openings = tradeoff.Openings()
        self._turn = asyncio.Semaphore(_READ_AT_ONCE)

    def over(self, pool: Pool) -> "Decider":
        """The same policy and router over another pool of the same specialists."""
        other = copy.copy(self)
        other.pool = pool
        return other

    async def decide_many(
        self,
        requests: Sequence[Request],
        principal: Principal = LOCAL,
        left: Left | None = None,
        opinions: Opinions | None = None,
    ) -> list[Decision]:
        """One Decision per request, each within `left`; what the language-model tier takes is counted in `opinions`.
        Raises the first refusal: UnknownModel, PolicyRefused, InvalidRequest, BudgetExhausted."""
        decisions = []
        for found in await self.decide_each(requests, principal, left, opinions):
            if isinstance(found, ConcertinoError):
                raise found
            decisions.append(found)
        return decisions

    async def decide_each(
        self,
        requests: Sequence[Request],
        principal: Principal = LOCAL,
        left: Left | None = None,
        opinions: Opinions | None = None,
    ) -> list[Decision | ConcertinoError]:
        """For each request its Decision, or why there is none. Those that the router must read are read in a batch."""
        found: list[Decision | ConcertinoError | Verdict] = list(
            await asyncio.gather(*(self._without_router(request, principal) for request in requests))
        )
        open_places = [place for place, item in enumerate(found) if isinstance(item, Verdict)]
        if open_places:
            conversations = [requests[place].messages for place in open_places]
            verdicts = [verdict for verdict in found if isinstance(verdict, Verdict)]
            eligible = await asyncio.gather(
                *(
                    self._eligible(requests[place], principal, verdict)
                    for place, verdict in zip(open_places, verdicts, strict=True)
                )
            )
            rankings = await asyncio.to_thread(self.whole_team.rank, conversations, eligible)
            if self.second_look is not None:
                rankings = await self.second_look.refine(self.pool, conversations, rankings, verdicts, opinions, left)
            for place, ranking in zip(open_places, rankings, strict=True):
                verdict = found[place]
                assert isinstance(verdict, Verdict)
                found[place] = choice.ranked(self.pool, ranking, verdict, self.settings.router.default)
        decided = [
            item if isinstance(item, ConcertinoError) else self._settled(request, item, left)
            for item, request in zip(found, requests, strict=True)
            if not isinstance(item, Verdict)
        ]
        decided = await scope.refer(decided, requests, self.pool, self.whole_team)
        workflow, default = self.settings.workflow, self.settings.router.default
        divided = await compound.divide(decided, requests, self.pool, self.whole_team, workflow, default)
        return [
            self._within(left, request, whole, item)
            for request, whole, item in zip(requests, decided, divided, strict=True)
        ]

    async def _eligible(self, request: Request, principal: Principal, verdict: Verdict) -> Collection[str]:
        """Among whom the router chooses: those that policy left; in an open tool loop those that it left when that
        began, so that whoever began it is known even if policy has excluded it since."""
        opening = before_tool_loop(request.messages)
        if self.newcomers is None or not opening or not verdict.excluded:
            return verdict.eligible
        first = structs.replace(request, messages=tuple(opening))
        async with self._turn:
            return (await self.policy.evaluate(first, principal, _fewest_characters(first))).eligible

    def _within(
        self, left: Left | None, request: Request, whole: Decision | ConcertinoError, found: Decision | ConcertinoError
    ) -> Decision | ConcertinoError:
        """`found`, or where it is divided and its parts could take more than is left, `whole`."""
        if left is None or isinstance(whole, ConcertinoError) or isinstance(found, ConcertinoError) or not found.plan:
            return found
        settings = self.settings
        if left.fits(costs.most_of_parts(self.pool, request, found, settings.workflow, settings.router.default)):
            return found
        said = f"Its {len(found.plan.tasks)} parts could take more than the budget has left, so it is not divided."
        return structs.replace(whole, reason=f"{whole.reason} {said}")

    def _settled(self, request: Request, decision: Decision, left: Left | None) -> Decision | ConcertinoError:
        """The decision with quality, price and time weighed, and what is left out of a long conversation."""
        if request.model not in CHOSEN:
            return decision
        try:
            settings, openings = self.settings.router, self._openings
            settled = tradeoff.settle(self.pool, request, decision, settings, self.speeds, left, openings)
        except (InvalidRequest, BudgetExhausted) as error:
            return error
        return self._with_length(request, settled)

    def _with_length(self, request: Request, decision: Decision) -> Decision:
        """The same decision; its reason says where earlier turns are left out to fit the specialist's context."""
        gone = handover.fitting(request, self.pool.get(decision.specialist).card)
        if not gone:
            return decision
        said = f"{decision.reason} The oldest {handover.times(gone, 'exchange')} left out to fit its context."
        return structs.replace(decision, reason=said)

    async def _without_router(self, request: Request, principal: Principal) -> Decision | ConcertinoError | Verdict:
        """The Decision where there is nothing to choose; else the verdict, for the router to choose within."""
        try:
            if not request.messages:
                raise InvalidRequest("messages is empty. Send at least one message.", param="messages")
            target = self._target(request)
            async with self._turn:
                verdict = await self.policy.evaluate(request, principal, _fewest_characters(request))
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
            tradeoff.refuse_limits(request)
        limit = max(specialist.card.context_tokens for specialist in named)
        tokens = len(request.text) / CHARACTERS_PER_TOKEN
        most = LONG_HISTORY if target is None and _fewest_characters(request) else FAR_OVER
        if tokens > most * limit:
            raise ContextTooLong(
                f"The conversation is about {tokens:.0f} tokens and {request.model!r} reads {limit}. Shorten it.",
                param="messages",
            )
        return target


def _fewest_characters(request: Request) -> int | None:
    """Characters of a conversation that must fit, where its history may be shortened; None where it is one exchange."""
    if request.model not in CHOSEN or len(handover.exchanges(request.messages)) < 2:
        return None
    return handover.least(request.messages)


def make_decider(settings: Settings, pool: Pool) -> Decider:
    """The policy and the router that the settings declare, over a pool. Raises ConfigurationError."""
    make: Any = plugins.load(plugins.ROUTERS, settings.router.type, "router.type")
    try:
        given = {"home": settings.home_path} if "home" in inspect.signature(make).parameters else {}
        router = make(**settings.router.options, **given)
    except TypeError as error:
        raise ConfigurationError(
            f"router.options: {error}. docs/routing.md lists them.", param="router.options"
        ) from error
    newcomers = find_newcomers(pool, router)
    described = newcomers.domains if newcomers else ()
    second_look = SecondLook(pool, settings, described) if settings.router.language.skill else None
    if settings.router.conversations:
        router = ConversationRouter(router, settings.router.hand_over_price, newcomers)
    policy = Policy(settings.policy, specialist_facts(pool))
    if settings.policy.detectors and policy.unseen:
        log.warning(
            "No detector of policy.detectors looks for %s, so nothing counts as health data.",
            " or ".join(policy.unseen),
        )
    return Decider(settings, pool, policy, router, newcomers, second_look)


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
