"""The way of a request: policy, router, audit, specialist, audit. The gateway and `Team` both walk it here."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from concertino.audit.log import AuditLog
from concertino.audit.records import begin_record, end_record
from concertino.config import Settings
from concertino.errors import ConcertinoError, InvalidRequest, PolicyRefused, UnknownModel
from concertino.orchestrator.decider import LOCAL, Decider
from concertino.orchestrator.run import Run
from concertino.policy.rules import Policy
from concertino.router.base import Router
from concertino.specialists.pool import Pool, Target
from concertino.telemetry.metrics import Metrics
from concertino.types import Answer, Decision, Message, Outcome, Principal, Request, Role

_BATCH_WIDTH = 8


class Service:
    """A started team without a server: everything that a request meets, in the order in which it meets it."""

    def __init__(
        self, settings: Settings, pool: Pool, policy: Policy, router: Router, audit: AuditLog, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.policy = policy
        self.router = router
        self.audit = audit
        self.metrics = metrics
        self._decider = Decider(settings, pool, policy, router)
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.draining = False
        self._starting: asyncio.Future[None] | None = None
        metrics.in_flight.set_function(lambda: self.in_flight)

    async def start(self) -> None:
        """Start the engines, once; deciding works before that. Raises ModelError, BackendUnavailable."""
        if self._starting is None or (self._starting.done() and not self._came_up(self._starting)):
            self._starting = asyncio.ensure_future(self.pool.start())
        await asyncio.shield(self._starting)

    @staticmethod
    def _came_up(starting: "asyncio.Future[None]") -> bool:
        return not starting.cancelled() and starting.exception() is None

    async def close(self) -> None:
        await self.pool.close()
        await self.audit.close()

    async def decide(self, request: Request, principal: Principal = LOCAL) -> Decision:
        """Who would answer, and why; nothing is run. Raises UnknownModel, PolicyRefused, InvalidRequest."""
        return (await self.decide_many([request], principal))[0]

    async def decide_many(self, requests: Sequence[Request], principal: Principal = LOCAL) -> list[Decision]:
        """One Decision per request; those that the router must read are read in one batch."""
        started = time.perf_counter()
        decisions = await self._decider.decide_many(requests, principal)
        self.metrics.routing.observe((time.perf_counter() - started) / max(1, len(requests)))
        return decisions

    @asynccontextmanager
    async def answering(
        self, request: Request, principal: Principal = LOCAL, request_id: str | None = None
    ) -> AsyncIterator[Run]:
        """Decide, record, and open the answer; on leaving, stop what still runs and record how it ended.

        The record of the decision is durable before the first chunk can be read. Raises AuditUnavailable if it
        cannot be, PolicyRefused, UnknownModel, InvalidRequest, BackendError.
        """
        request_id = request_id or new_request_id()
        started = time.monotonic()
        try:
            decision = await self.decide(request, principal)
        except (PolicyRefused, UnknownModel, InvalidRequest) as error:
            await self._record_refusal(request, principal, request_id, error, started)
            raise
        run = self._run(request_id, request, decision)
        await self.audit.begin(begin_record(request_id, principal, request, decision, run.target.specialist.model_hash))
        self.in_flight += 1
        self.idle.clear()
        outcome, code = Outcome.FAILED, ""
        try:
            await self.start()
            await run.open()
            yield run
            outcome = Outcome.COMPLETED if run.complete else Outcome.CANCELLED
        except (asyncio.CancelledError, GeneratorExit):
            outcome = Outcome.CANCELLED
            raise
        except ConcertinoError as error:
            code = error.code
            raise
        except Exception:
            code = ConcertinoError.code
            raise
        finally:
            await asyncio.shield(self._finish(run, outcome, code, time.monotonic() - started))

    async def answer(self, request: Request, principal: Principal = LOCAL, request_id: str | None = None) -> Answer:
        """The whole answer. Raises what `answering` raises."""
        async with self.answering(request, principal, request_id) as run:
            async for _ in run.chunks():
                pass
        return run.answer()

    async def answer_many(self, requests: Sequence[Request], principal: Principal = LOCAL) -> list[Answer]:
        """One Answer per request, in order, a few at a time: a batch for a skill."""
        turn = asyncio.Semaphore(_BATCH_WIDTH)

        async def one(request: Request) -> Answer:
            async with turn:
                return await self.answer(request, principal)

        tasks = [asyncio.ensure_future(one(request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def embed(self, model: str, texts: Sequence[str], principal: Principal, request_id: str) -> list[list[float]]:
        """Unit vectors for texts, under the same policy and audit as an answer."""
        card = next((card for card in self.settings.embeddings if card.model == model), None)
        if card is None:
            known = ", ".join(card.model for card in self.settings.embeddings) or "none"
            raise UnknownModel(f"No embedding model {model[:80]!r} here. There is: {known}.", param="model")
        request = Request(tuple(Message(Role.USER, text) for text in texts), model=model)
        started = time.monotonic()
        verdict = await self.policy.evaluate(request, principal)
        if verdict.facts.health_data and self.settings.policy.phi_tag not in card.compliance:
            refusal = PolicyRefused(f"The texts hold health data and {model} is not cleared for it. Remove it.")
            await self._record_refusal(request, principal, request_id, refusal, started)
            raise refusal
        await self.audit.begin(begin_record(request_id, principal, request, None, model))
        outcome, code = Outcome.FAILED, ConcertinoError.code
        try:
            await self.start()
            vectors = await self.pool.backends[card.backend].embed(model, texts)
            outcome, code = Outcome.COMPLETED, ""
        except asyncio.CancelledError:
            outcome, code = Outcome.CANCELLED, ""
            raise
        except ConcertinoError as error:
            code = error.code
            raise
        finally:
            ended = end_record(request_id, outcome, code, None, time.monotonic() - started, None)
            await asyncio.shield(self.audit.end(ended))
        return vectors

    def _run(self, request_id: str, request: Request, decision: Decision) -> Run:
        target = self.pool.target(f"{decision.specialist}/{decision.skill}" if decision.skill else decision.specialist)
        assert target is not None
        default = self.settings.router.default
        falls_back = request.model == "auto" and default in decision.verdict.eligible
        fallbacks = [Target(self.pool.get(default))] if falls_back and default != decision.specialist else []
        return Run(request_id, request, decision, target, fallbacks)

    async def _finish(self, run: Run, outcome: Outcome, code: str, duration_s: float) -> None:
        try:
            await run.close()
            self._count(run, outcome, duration_s)
            await self.audit.end(end_record(run.id, outcome, code, run.answer(), duration_s, run.first_token_s))
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()

    def _count(self, run: Run, outcome: Outcome, duration_s: float) -> None:
        name, metrics = run.decision.specialist, self.metrics
        metrics.requests.labels(name, outcome.value, run.decision.tier.value).inc()
        metrics.tokens.labels(name, "prompt").inc(run.usage.prompt_tokens)
        metrics.tokens.labels(name, "completion").inc(run.usage.completion_tokens)
        metrics.duration.labels(name).observe(duration_s)
        if run.first_token_s is not None:
            metrics.first_token.labels(name).observe(run.first_token_s)

    async def _record_refusal(
        self, request: Request, principal: Principal, request_id: str, error: ConcertinoError, started: float
    ) -> None:
        self.metrics.requests.labels("none", Outcome.REFUSED.value, "none").inc()
        await self.audit.begin(begin_record(request_id, principal, request, None, ""))
        await self.audit.end(
            end_record(request_id, Outcome.REFUSED, error.code, None, time.monotonic() - started, None)
        )


def new_request_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
