"""Budgets as a request meets them: what is left before the choice, a reservation before the run, the settling after.

Who has no budget pays nothing for this: the holders are known from a read of the state database, at most twice a
second. A database that cannot be read is taken for a spent budget, not for none.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from msgspec import Struct, structs

from concertino.config import Settings
from concertino.errors import BudgetExhausted, BudgetUnavailable, ConcertinoError
from concertino.orchestrator.costs import Spending
from concertino.specialists.pool import Pool
from concertino.storage.budgets import BILLIONTHS, BudgetStore, Cost, Holder, HolderKind, Refused, Reservation, Standing
from concertino.storage.database import StoreOf
from concertino.storage.serial import SerialThread
from concertino.types import Principal

REFRESH_S = 0.5
_MARGIN_S = 60.0
"""A reservation outlives the gateway's time-out for a request by so much."""
_TRIES = 3
PATIENCE_S = 5.0
"""A database that takes longer for a call counts as one that cannot be read. SQLite waits for other writers for 2 s."""

T = TypeVar("T")
log = logging.getLogger("concertino.orchestrator")


class Left(Struct, frozen=True):
    """The budgets that a request counts against, as they stand. It fits where it fits in each."""

    standings: tuple[Standing, ...]

    def fits(self, cost: Cost) -> bool:
        return all(standing.fits(cost) for standing in self.standings)

    def refusal(self, cost: Cost, who: str) -> BudgetExhausted:
        """Why `cost`, the most that `who` would take, does not fit, and when it may again."""
        tight = [standing for standing in self.standings if not standing.fits(cost)]
        standing = max(tight or self.standings, key=lambda one: one.renews)
        budget, holder = standing.budget, standing.budget.holder
        # A key is named by its kind alone: whoever asks has it.
        whose = "this API key" if holder.kind is HolderKind.KEY else f"tenant {holder.subject}"
        amount, tokens = standing.amount_left, standing.tokens_left
        if tokens is not None and cost.tokens > tokens:
            room = f"{tokens:,} of {budget.tokens:,} tokens left, and {who} may take up to {cost.tokens:,}"
        else:
            room = f"{money(amount or 0)} of {money(budget.amount or 0)} left, and {who} may take up to "
            room += money(cost.amount)
        renews = datetime.fromtimestamp(standing.renews, UTC)
        if all(structs.replace(one, reserved=Cost()).fits(cost) for one in tight):
            return BudgetExhausted(
                f"The budget of {whose} for this {budget.period.value} has {room}. Requests in flight hold the rest: "
                "send it again when one has ended."
            )
        return BudgetExhausted(
            f"The budget of {whose} for this {budget.period.value} has {room}. It renews at {renews:%Y-%m-%d %H:%M} "
            "UTC. Set a lower max_tokens, shorten the conversation, or have the operator raise it "
            "(`concertino keys budget`).",
            max(1.0, standing.renews - time.time()),
        )


class Claim(Protocol):
    """A run, as far as budgets are concerned."""

    @property
    def answered_by(self) -> str: ...

    def most(self, pool: Pool) -> Cost:
        """The most that it can take, whoever answers in the end."""
        ...

    def leave_alone(self) -> bool:
        """Give up those who would answer instead or after; false if there are none."""
        ...


class Budgets:
    """The budgets in the state database, for one process. Its calls run in a thread of their own, one after another."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._expires_s = settings.gateway.request_timeout_s + _MARGIN_S
        self._thread = SerialThread("concertino-budgets")
        self._store = StoreOf(settings.state_url, lambda engine: BudgetStore(engine, clock))
        self._holders: frozenset[Holder] = frozenset()
        self._read_at: float | None = None

    async def left(self, principal: Principal) -> Left | None:
        """What the principal may still spend; None where there is no budget. Raises BudgetUnavailable."""
        now = time.monotonic()
        if self._read_at is None or now - self._read_at >= REFRESH_S:
            self._holders = (
                await self._call(lambda: self._store.open().holders()) if self._store.exists() else frozenset()
            )
            self._read_at = now
        mine = [holder for holder in _holders(principal) if holder in self._holders]
        if not mine:
            return None
        standings = await self._call(lambda: self._store.open().standings(mine))
        return Left(tuple(standings)) if standings else None

    async def reserve_for(self, run: Claim, pool: Pool, id: str, principal: Principal, spent: Cost) -> Reservation:
        """Hold what the choice has `spent`, and the most that a run takes with whoever may have to answer instead, or,
        where there is no room for that, without them. Raises BudgetExhausted, BudgetUnavailable."""
        try:
            return await self.reserve(id, principal, spent + run.most(pool), run.answered_by)
        except BudgetExhausted:
            if not run.leave_alone():
                raise
        return await self.reserve(id, principal, spent + run.most(pool), run.answered_by)

    async def charge(self, id: str, principal: Principal, spending: Spending) -> None:
        """Count what was spent without a reservation: on a choice that led to no answer. Raises BudgetUnavailable."""
        if spending.cost != Cost():
            async with self.settling(await self.reserve(id, principal, Cost(), "the router"), spending):
                pass

    async def reserve(self, id: str, principal: Principal, cost: Cost, who: str) -> Reservation:
        """Hold `cost`, the most that `who` takes. Raises BudgetExhausted, BudgetUnavailable."""
        found = await self._call(
            lambda: self._store.open().reserve(id, _holders(principal), cost, self._expires_s), self._give_back
        )
        if isinstance(found, Refused):
            raise Left(found.standings).refusal(cost, who)
        return found

    @asynccontextmanager
    async def settling(self, reservation: Reservation | None, spending: Spending) -> AsyncIterator[None]:
        """When the block ends, however it does, what was spent takes the place of what was reserved."""
        try:
            yield
        finally:
            if reservation is not None:
                await asyncio.shield(asyncio.ensure_future(self._settle(reservation, spending.cost)))

    async def _settle(self, reservation: Reservation, cost: Cost) -> None:
        for attempt in range(_TRIES):
            try:
                return await self._thread.call(
                    lambda: self._told(lambda: self._store.open().settle(reservation, cost)), PATIENCE_S, must=True
                )
            except TimeoutError:
                log.warning("What request %s spent is counted once the state database answers.", reservation.id)
                return None
            except BudgetUnavailable as error:
                if attempt == _TRIES - 1:
                    # The answer is given, so this is no reason to fail: the reservation stands until it expires.
                    log.error("What request %s spent was not counted: %s", reservation.id, error.message)
        return None

    def _give_back(self, found: Reservation | Refused) -> None:
        """A reservation that nobody waits for any more."""
        if isinstance(found, Reservation):
            self._store.open().settle(found, Cost())

    def close(self) -> None:
        """Wait for what is being written, but not for a database that does not answer."""
        if not self._thread.close(PATIENCE_S):
            log.error("The state database does not answer: what is still to be counted of the last requests is lost.")

    async def _call(self, work: Callable[[], T], given_up: Callable[[T], object] | None = None) -> T:
        try:
            return await self._thread.call(lambda: self._told(work), PATIENCE_S, given_up=given_up)
        except TimeoutError as error:
            raise _unavailable("the state database does not answer") from error

    def _told(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:
            # SQLAlchemy's errors are a family of their own, and it is not imported before a database is there.
            self._store.forget()
            said = error.message if isinstance(error, ConcertinoError) else type(error).__name__
            raise _unavailable(said) from error


def _unavailable(why: str) -> BudgetUnavailable:
    return BudgetUnavailable(
        f"Budgets cannot be read or written, so nothing is answered ({why.rstrip('.')}). Ask again later, and tell the "
        "operator."
    )


def money(billionths: int) -> str:
    """An amount in the unit of the cards' prices."""
    return f"{billionths / BILLIONTHS:.9f}".rstrip("0").rstrip(".") or "0"


def _holders(principal: Principal) -> list[Holder]:
    return [Holder(HolderKind.KEY, principal.key_id), Holder(HolderKind.TENANT, principal.tenant)]
