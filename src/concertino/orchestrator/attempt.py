"""One request on its way to a run: the choice, made within budgets, and the run that it leads to."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from concertino.config import Settings
from concertino.errors import BudgetExhausted
from concertino.orchestrator import costs
from concertino.orchestrator.budgets import Budgets, Left
from concertino.orchestrator.costs import Spending
from concertino.orchestrator.decider import Decider
from concertino.orchestrator.grounding import Grounder
from concertino.orchestrator.model_plan import plan_by_model
from concertino.orchestrator.part_runs import PartRuns
from concertino.orchestrator.run import Run
from concertino.orchestrator.second_look import Opinions
from concertino.orchestrator.workflow import Planner, Workflow
from concertino.specialists.pool import CHOSEN, Pool, Target
from concertino.storage.budgets import Reservation
from concertino.telemetry.metrics import Metrics
from concertino.types import Decision, Principal, Request

_SHARE_OF_TIMEOUT = 0.9
"""Of the gateway's time-out, for the parts of a compound request: what they have must still be told."""


async def timed(decisions: Coroutine[Any, Any, list[Decision]], count: int, metrics: Metrics) -> list[Decision]:
    """Decisions, with the time that each took in the metrics."""
    started = time.perf_counter()
    found = await decisions
    metrics.routing.observe((time.perf_counter() - started) / max(1, count))
    return found


class Attempt:
    """A request with the pool and the decider that it began with. What its choice takes counts as its own."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        decider: Decider,
        grounder: Grounder,
        budgets: Budgets,
        id: str,
        request: Request,
        principal: Principal,
        metrics: Metrics,
    ) -> None:
        self._settings, self._pool, self._decider, self._grounder = settings, pool, decider, grounder
        self._budgets, self._metrics = budgets, metrics
        self._id, self._request, self._principal = id, request, principal
        self._opinions = Opinions()

    @property
    def spending(self) -> Spending:
        """What the choice has taken so far; what is run afterwards is counted in it too."""
        return self._opinions.spending

    async def affordable(self) -> tuple[Run | Workflow, Reservation | None]:
        """The run, with the most that it can take reserved where somebody has a budget for it.

        Where another request was quicker, the choice is made again within what is left then. Raises what deciding
        raises, BudgetExhausted, BudgetUnavailable.
        """
        left = None
        try:
            for last in (False, False, True):
                left = await self._budgets.left(self._principal)
                run = self._run(await self._decide(left))
                if left is None:
                    return run, None
                try:
                    spent = self.spending.cost
                    reserved = await self._budgets.reserve_for(run, self._pool, self._id, self._principal, spent)
                    return run, reserved
                except BudgetExhausted:
                    if last or self._request.model not in CHOSEN:
                        raise
        except (Exception, asyncio.CancelledError):  # who hangs up meanwhile has asked all the same
            await self._charge(left)
            raise
        raise AssertionError("the last try raises or returns")

    async def to_plan(self) -> tuple[Decision, Reservation | None]:
        """The choice, with the most that its plan takes reserved where the generalist is to make one."""
        left = await self._budgets.left(self._principal)
        try:
            decision = await self._decide(left)
        except (Exception, asyncio.CancelledError):
            await self._charge(left)
            raise
        if decision.plan is None or self.planner is None:
            await self._charge(left)
            return decision, None
        if left is None:
            return decision, None
        default = self._settings.router.default
        most = self.spending.cost + costs.most_to_plan(self._pool, self._request, decision, default)
        try:
            return decision, await self._budgets.reserve(self._id, self._principal, most, default)
        except (BudgetExhausted, asyncio.CancelledError):
            await self._charge(left)
            raise

    @property
    def planner(self) -> Planner | None:
        """Has the generalist make the plan; None where the segments are the plan."""
        workflow, default, policy = self._settings.workflow, self._settings.router.default, self._decider.policy
        if workflow.planner != "model":
            return None
        router, principal = self._decider.whole_team, self._principal
        return lambda decision: plan_by_model(
            decision, self._request, self._pool, router, workflow, default, policy, principal, self.spending
        )

    async def _decide(self, left: Left | None) -> Decision:
        deciding = self._decider.decide_many([self._request], self._principal, left, self._opinions)
        (decision,) = await timed(deciding, 1, self._metrics)
        return decision

    async def _charge(self, left: Left | None) -> None:
        if left is not None:
            await self._budgets.charge(self._id, self._principal, self.spending)

    def _run(self, decision: Decision) -> Run | Workflow:
        if decision.plan is not None:
            return self._workflow(decision)
        pool, default = self._pool, self._settings.router.default
        target = pool.target(f"{decision.specialist}/{decision.skill}" if decision.skill else decision.specialist)
        assert target is not None
        other = default in decision.verdict.eligible and default != decision.specialist
        fallbacks = [Target(pool.get(default))] if other and self._request.model in CHOSEN else []
        escalation = pool.escalation(target, default) if other else None
        return Run(self._id, self._request, decision, target, fallbacks, escalation, self.spending)

    def _workflow(self, decision: Decision) -> Workflow:
        settings, policy = self._settings, self._decider.policy
        runs = PartRuns(
            self._id, self._request, self._principal, decision.verdict, self._pool, policy, self._grounder, settings,
            self.spending,
        )  # fmt: skip
        deadline_s = min(settings.workflow.deadline_s, _SHARE_OF_TIMEOUT * settings.gateway.request_timeout_s)
        return Workflow(self._id, self._request, decision, runs, settings.workflow, deadline_s, self.planner)
