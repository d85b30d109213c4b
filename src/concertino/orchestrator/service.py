"""The way of a request: policy, router, audit, specialist, audit. The gateway and `Team` both walk it here."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

from concertino.backends.base import Backend
from concertino.config import EmbeddingCard, Settings
from concertino.errors import ConcertinoError, Overloaded, PolicyRefused, ShuttingDown, UnknownModel
from concertino.orchestrator import costs
from concertino.orchestrator.attempt import Attempt, timed
from concertino.orchestrator.budgets import Budgets
from concertino.orchestrator.costs import Spending
from concertino.orchestrator.decider import LOCAL, Decider
from concertino.orchestrator.grounding import Grounder
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.run import Run
from concertino.orchestrator.second_look import Opinions
from concertino.orchestrator.workflow import Workflow
from concertino.specialists.pool import Pool, close_all
from concertino.storage.budgets import Cost
from concertino.telemetry.metrics import Metrics
from concertino.types import Answer, Decision, Embeddings, Message, Outcome, Principal, Request, Role, Verdict

_BATCH_WIDTH = 8


class Refresher(Protocol):
    """Notices that other versions of skills are to serve, and makes them serve."""

    async def watch(self, service: "Service") -> None:
        """Until it is cancelled."""
        ...

    def close(self) -> None: ...


class Service:
    """A started team without a server: everything that a request meets, in the order in which it meets it."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        decider: Decider,
        audit: Recorder,
        metrics: Metrics,
        release: Callable[[], None] = lambda: None,
        refresher: Refresher | None = None,
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.decider = decider
        self.audit = audit
        self.metrics = metrics
        self._release = release
        self._refresher = refresher
        self._grounder = Grounder(settings, decider.policy)
        self.budgets = Budgets(settings)
        self._watching: asyncio.Future[None] | None = None
        self._replaced: list[Pool] = []
        """Pools that served before and still have requests in flight."""
        self._leaving: list[Backend] = []
        """Backends of those pools that serve nobody else."""
        self._closing: set[asyncio.Future[None]] = set()
        self.created = int(time.time())
        self.idle = asyncio.Event()
        self.idle.set()
        self.draining = False
        self._work: dict[str, asyncio.Future[None]] = {}
        """Requests that a server is answering, by id."""
        self._stopped: dict[str, str] = {}
        """Code of the error that is told where one of them is stopped here; a client that hangs up is told none."""
        self._starting: asyncio.Future[None] | None = None
        metrics.in_flight.set_function(lambda: self.in_flight)

    async def start(self, only: str | None = None) -> None:
        """Start the engines, once; deciding works before that. Raises ModelError, BackendUnavailable.

        `only` names the one backend that will be asked, for a service that answers nothing else.
        """
        if self._starting is None or (self._starting.done() and not self._came_up(self._starting)):
            self._starting = asyncio.ensure_future(self.pool.start(only=only))
        await asyncio.shield(self._starting)
        if self._watching is None and self._refresher is not None:
            self._watching = asyncio.ensure_future(self._refresher.watch(self))

    @staticmethod
    def _came_up(starting: "asyncio.Future[None]") -> bool:
        return not starting.cancelled() and starting.exception() is None

    def swap(self, settings: Settings, pool: Pool) -> None:
        """Answer from now on with another pool of the same specialists, whose backends are started.

        Requests in flight end on the pool they were decided on. Its backends are closed when the last has ended,
        unless the new pool has them too.
        """
        self._replaced.append(self.pool)
        self._leaving += [backend for backend in self.pool.not_in(pool) if backend not in self._leaving]
        self.settings, self.pool, self.decider = settings, pool, self.decider.over(pool)
        self._close_unused()

    def _close_unused(self) -> None:
        self._replaced = [pool for pool in self._replaced if pool.runs]
        used = {id(backend) for pool in self._replaced for backend in pool.backends.values()}
        idle = [backend for backend in self._leaving if id(backend) not in used]
        self._leaving = [backend for backend in self._leaving if id(backend) in used]
        if idle:
            closing = asyncio.ensure_future(close_all(idle))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    @contextmanager
    def _held(self) -> Iterator[tuple[Pool, Decider]]:
        """The pool and the decider of one request, from its decision to its end."""
        pool, decider = self.pool, self.decider
        pool.runs += 1
        try:
            yield pool, decider
        finally:
            pool.runs -= 1
            if pool is not self.pool:
                self._close_unused()

    @property
    def in_flight(self) -> int:
        """How many requests a server is answering."""
        return len(self._work)

    def take_on(self, request_id: str, answer: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Future[None]":
        """Begin to answer a request for a server; until that is over it is in flight, and a shutdown waits for it.

        Checked and counted with no await between, so that of many at once no more pass than may. Raises ShuttingDown,
        Overloaded.
        """
        most = self.settings.gateway.max_in_flight
        if self.draining:
            raise ShuttingDown("The gateway is shutting down. Send the request to another, or try again in a moment.")
        if self.in_flight >= most:
            raise Overloaded(f"{most} requests are being answered. Try again in a second.")
        work = self._work[request_id] = asyncio.ensure_future(answer())
        self.idle.clear()
        work.add_done_callback(lambda _: self._over(request_id))
        return work

    def _over(self, request_id: str) -> None:
        del self._work[request_id]
        self._stopped.pop(request_id, None)
        if not self._work:
            self.idle.set()

    def stop(self, request_id: str, code: str) -> None:
        """Cancel a request that was taken on; its closing record has the code of the error that its client is told."""
        if (work := self._work.get(request_id)) is not None:
            self._stopped[request_id] = code
            work.cancel()

    async def stop_work(self) -> None:
        """Stop the requests that are still being answered, and wait for their ends."""
        work = list(self._work.values())
        for request_id in list(self._work):
            self.stop(request_id, ShuttingDown.code)
        await asyncio.gather(*work, return_exceptions=True)

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(self.pool.close(), close_all(self._leaving), *self._closing)
        self._release()
        if self._refresher is not None:
            self._refresher.close()
        self.decider.policy.close()
        await self.audit.close()
        await asyncio.to_thread(self.budgets.close)

    async def decide(self, request: Request, principal: Principal = LOCAL) -> Decision:
        """Who would answer, and why; nothing is run. Raises UnknownModel, PolicyRefused, InvalidRequest,
        BudgetExhausted."""
        return (await self.decide_many([request], principal))[0]

    async def decide_many(self, requests: Sequence[Request], principal: Principal = LOCAL) -> list[Decision]:
        """One Decision per request; those that the router must read are read in one batch."""
        left, opinions = await self.budgets.left(principal), Opinions()
        deciding = self.decider.decide_many(requests, principal, left, opinions)
        try:
            return await timed(deciding, len(requests), self.metrics)
        finally:
            if left is not None:
                await self.budgets.charge(new_request_id(), principal, opinions.spending)

    def _attempt(self, pool: Pool, decider: Decider, id: str, request: Request, principal: Principal) -> Attempt:
        return Attempt(self.settings, pool, decider, self._grounder, self.budgets, id, request, principal, self.metrics)

    @asynccontextmanager
    async def answering(
        self, request: Request, principal: Principal = LOCAL, request_id: str | None = None
    ) -> AsyncIterator[Run | Workflow]:
        """Decide, record, and open the answer; on leaving, stop what still runs and record how it ended.

        The record of the decision is durable before the first chunk can be read. Raises AuditUnavailable if it
        cannot be, PolicyRefused, UnknownModel, InvalidRequest, BudgetExhausted, BudgetUnavailable, BackendError.
        """
        request_id = request_id or new_request_id()
        with self._held() as (pool, decider):
            started = time.monotonic()
            try:
                if decider.second_look is not None:
                    await self.start()  # it chooses with an engine
                run, reserved = await self._attempt(pool, decider, request_id, request, principal).affordable()
            except Exception as error:
                await self._record_refusal(request, principal, request_id, error, started)
                raise
            async with self.budgets.settling(reserved, run.spending):
                await self._begin(request_id, principal, request, run.decision, run.model_hashes)
                outcome, code = Outcome.FAILED, ConcertinoError.code
                try:
                    await self.start()
                    if isinstance(run, Run):
                        run.target = await self._grounder.ground(run.target, request, run.decision, pool, principal)
                    await run.open()
                    yield run
                    outcome, code = Outcome.COMPLETED if run.complete else Outcome.CANCELLED, ""
                except (asyncio.CancelledError, GeneratorExit):
                    outcome, code = Outcome.CANCELLED, self._stopped.get(request_id, "")
                    raise
                except ConcertinoError as error:
                    code = error.code
                    raise
                finally:
                    try:
                        await run.close()
                    finally:  # cancelled again while it closes, it is on record all the same
                        self._measure(decider, run, outcome, time.monotonic() - started)
                        await self.audit.end(request_id, outcome, code, time.monotonic() - started, run)

    def _measure(self, decider: Decider, run: Run | Workflow, outcome: Outcome, duration_s: float) -> None:
        self.metrics.count_parts(run.answer().parts)
        self.metrics.count(run.decision, outcome, run.usage, duration_s, run.first_token_s)
        if outcome is Outcome.COMPLETED and isinstance(run, Run) and run.decision.skill is None:
            decider.speeds.observe(run.answered_by, run.first_token_s, duration_s, run.usage.completion_tokens)

    async def _begin(
        self,
        request_id: str,
        principal: Principal,
        request: Request,
        decision: Decision | None,
        model_hashes: dict[str, str],
        verdict: Verdict | None = None,
    ) -> None:
        """The first record, as `Recorder.begin` has it."""
        names = frozenset([*self.pool.names(), *(card.model for card in self.settings.embeddings)])
        await self.audit.begin(request_id, principal, request, decision, model_hashes, verdict, names)

    async def plan(self, request: Request, principal: Principal = LOCAL, request_id: str | None = None) -> Decision:
        """The Decision with the plan that would be carried out; `plan` is None where one specialist would answer.

        Nothing is answered. With `workflow.planner: model` the generalist is asked for the plan, which leaves the same
        two audit records as an answer. Raises what `answering` raises.
        """
        with self._held() as (pool, decider):
            request_id, started = request_id or new_request_id(), time.monotonic()
            attempt = self._attempt(pool, decider, request_id, request, principal)
            decision, reserved = await attempt.to_plan()
            planner = attempt.planner
            if decision.plan is None or planner is None:
                return decision
            default = self.settings.router.default
            async with self.budgets.settling(reserved, attempt.spending):
                await self._begin(request_id, principal, request, decision, {default: pool.get(default).model_hash})
                async with self._recorded_end(request_id, started):
                    await self.start()
                    return (await planner(decision)).decision

    @asynccontextmanager
    async def _recorded_end(self, request_id: str, started: float) -> AsyncIterator[None]:
        """Close the audit record of work that has no answer of its own, however the block ends."""
        outcome, code = Outcome.FAILED, ConcertinoError.code
        try:
            yield
            outcome, code = Outcome.COMPLETED, ""
        except asyncio.CancelledError:
            outcome, code = Outcome.CANCELLED, self._stopped.get(request_id, "")
            raise
        except ConcertinoError as error:
            code = error.code
            raise
        finally:
            await self.audit.end(request_id, outcome, code, time.monotonic() - started)

    async def _record_refusal(
        self, request: Request, principal: Principal, request_id: str, error: Exception, started: float
    ) -> None:
        """Also of what failed before there was a decision: a router that is installed may raise anything."""
        if isinstance(error, ConcertinoError):
            outcome, code = Outcome.REFUSED, error.code
        else:
            outcome, code = Outcome.FAILED, ConcertinoError.code
        self.metrics.undecided(outcome, code)
        verdict = error.verdict if isinstance(error, PolicyRefused) else None
        await self._begin(request_id, principal, request, None, {}, verdict)
        await self.audit.end(request_id, outcome, code, time.monotonic() - started)

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

    async def embed(self, model: str, texts: Sequence[str], principal: Principal, request_id: str) -> Embeddings:
        """Unit vectors for texts, under the same policy and audit as an answer."""
        request = Request(tuple(Message(Role.USER, text) for text in texts), model=model)
        started, spending, reserved = time.monotonic(), Spending(), None
        try:
            card = await self._embedder(request, principal)
            if await self.budgets.left(principal) is not None:
                reserved = await self.budgets.reserve(request_id, principal, costs.most_to_embed(texts), model)
        except Exception as error:
            await self._record_refusal(request, principal, request_id, error, started)
            raise
        async with self.budgets.settling(reserved, spending):
            await self._begin(request_id, principal, request, None, {model: card.backend})
            with self._held() as (pool, _):
                async with self._recorded_end(request_id, started):
                    await self.start()
                    made = await pool.backends[card.backend].embed(model, texts)
                    spending.add(Cost(tokens=made.prompt_tokens))
                    return made

    async def _embedder(self, request: Request, principal: Principal) -> EmbeddingCard:
        card = next((card for card in self.settings.embeddings if card.model == request.model), None)
        if card is None:
            known = ", ".join(card.model for card in self.settings.embeddings) or "none"
            raise UnknownModel(f"No embedding model {request.model[:80]!r} here. There is: {known}.", param="model")
        verdict = await self.decider.policy.evaluate(request, principal)
        if verdict.facts.health_data and self.settings.policy.phi_tag not in card.compliance:
            raise PolicyRefused(
                f"The texts hold health data, and {card.model} is not tagged {self.settings.policy.phi_tag}. "
                "Remove the personal data, or have the operator tag it.",
                verdict,
                param="input",
            )
        return card


def new_request_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
