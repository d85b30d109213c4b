"""Budgets of API keys and tenants: how much per day or month, what is spent, and what is reserved.

What a request may use at most is reserved before it runs, in one transaction with the check, so that requests at the
same time cannot spend the same rest; afterwards the reservation gives way to what was used. A reservation that nobody
settles (its process is gone) expires. Amounts are whole billionths of the unit of the cards' prices, so that sums are
exact. Periods are those of UTC.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from concertino.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

BILLIONTHS = 1_000_000_000
_MOST = 4 * 10**18
"""What a column of 64 bits surely holds."""
_TRIES = 5
_PAUSE_S = 0.1

T = TypeVar("T")


class HolderKind(StrEnum):
    KEY = "key"
    TENANT = "tenant"


class Period(StrEnum):
    """How long a budget is for. `DAY` begins at midnight UTC, `MONTH` on the first."""

    DAY = "day"
    MONTH = "month"


class Holder(Struct, frozen=True, order=True):
    """Whose budget: a key by its id, or a tenant by its name."""

    kind: HolderKind
    subject: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.subject}"


class Cost(Struct, frozen=True):
    """What something takes: billionths of the price unit, and tokens read and written."""

    amount: int = 0
    tokens: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.amount + other.amount, self.tokens + other.tokens)


class Budget(Struct, frozen=True):
    """At most so much in each period; None sets no bound."""

    holder: Holder
    period: Period
    amount: int | None = None
    tokens: int | None = None


class Standing(Struct, frozen=True):
    """A budget in the period that began at `starts` (seconds since 1970) and ends at `renews`."""

    budget: Budget
    spent: Cost
    reserved: Cost
    starts: int
    renews: int

    @property
    def amount_left(self) -> int | None:
        return _left(self.budget.amount, self.spent.amount + self.reserved.amount)

    @property
    def tokens_left(self) -> int | None:
        return _left(self.budget.tokens, self.spent.tokens + self.reserved.tokens)

    def fits(self, cost: Cost) -> bool:
        amount, tokens = self.amount_left, self.tokens_left
        return (amount is None or cost.amount <= amount) and (tokens is None or cost.tokens <= tokens)


class Reservation(Struct, frozen=True):
    """What is held for one request, in every budget that it counts against: (holder, period, start of the period)."""

    id: str
    budgets: tuple[tuple[Holder, Period, int], ...] = ()


class Refused(Struct, frozen=True):
    """The budgets that have no room."""

    standings: tuple[Standing, ...]


def bounds(period: Period, now: float) -> tuple[int, int]:
    """Start and end of the period that holds `now`, seconds since 1970."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return int(day.timestamp()), int((day + timedelta(days=1)).timestamp())
    first = day.replace(day=1)
    return int(first.timestamp()), int((first + timedelta(days=32)).replace(day=1).timestamp())


class BudgetStore:
    """The tables `budgets`, `spending` and `reservations` of an engine from `open_database`. Synchronous."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        import sqlalchemy as sa

        holder, cost = ("kind", "subject", "period"), ("amount", "tokens")

        def table(name: str, *columns: str) -> Any:
            return sa.table(name, *(sa.column(column) for column in columns))

        self._sa = sa
        self._engine = engine
        self._clock = clock
        self._budgets = table("budgets", *holder, *cost)
        self._spending = table("spending", *holder, "starts", *cost)
        self._reservations = table("reservations", "id", *holder, "starts", *cost, "expires")

    def set(self, budget: Budget) -> None:
        """Store a budget in the place of the holder's one for that period. Raises InvalidRequest."""
        for what, value in (("amount", budget.amount), ("tokens", budget.tokens)):
            if value is not None and not 0 <= value <= _MOST:
                raise InvalidRequest(f"A budget of {value} {what} is out of range. Give one from 0 to a billion.")
        if budget.amount is None and budget.tokens is None:
            raise InvalidRequest("A budget needs an amount or a number of tokens. Give one of them.")
        with self._engine.begin() as connection:
            connection.execute(self._budgets.delete().where(*_of(self._budgets, budget.holder, budget.period)))
            connection.execute(self._budgets.insert().values(**_row(budget)))

    def remove(self, holder: Holder) -> int:
        """Take all budgets of a holder away; how many there were."""
        with self._engine.begin() as connection:
            done = connection.execute(self._budgets.delete().where(*_of(self._budgets, holder)))
            return int(done.rowcount)

    def holders(self) -> frozenset[Holder]:
        """Everybody with a budget."""
        columns = self._budgets.c
        with self._engine.connect() as connection:
            rows = connection.execute(self._sa.select(columns.kind, columns.subject).distinct())
            return frozenset(Holder(HolderKind(kind), subject) for kind, subject in rows)

    def standings(self, holders: Sequence[Holder] | None = None) -> list[Standing]:
        """The budgets of these holders, or all, each in its present period."""
        with self._engine.connect() as connection:
            return self._standings(connection, self.holders() if holders is None else holders, self._clock())

    def reserve(self, id: str, holders: Sequence[Holder], cost: Cost, seconds: float) -> Reservation | Refused:
        """Hold `cost` in every budget of the holders for `seconds`, or in none, where one has no room. Durable."""
        return self._patiently(lambda connection: self._reserve(connection, id, holders, cost, seconds))

    def _reserve(
        self, connection: Connection, id: str, holders: Sequence[Holder], cost: Cost, seconds: float
    ) -> Reservation | Refused:
        now = self._clock()
        for holder in sorted(holders):
            # Changes nothing and locks: the rows in PostgreSQL, the file in SQLite, until this transaction ends.
            mine = _of(self._budgets, holder)
            connection.execute(self._budgets.update().where(*mine).values(subject=holder.subject))
            expired = self._reservations.c.expires <= now
            connection.execute(self._reservations.delete().where(*_of(self._reservations, holder), expired))
        standings = self._standings(connection, holders, now)
        if refusing := tuple(standing for standing in standings if not standing.fits(cost)):
            return Refused(refusing)
        for standing in standings:
            self._hold(connection, id, standing, cost, now + seconds)
        held = tuple((one.budget.holder, one.budget.period, one.starts) for one in standings)
        return Reservation(id, held)

    def settle(self, reservation: Reservation, used: Cost) -> None:
        """Give a reservation back and count what was used, in the period in which it was made; it may have expired."""
        self._patiently(lambda connection: self._settle(connection, reservation, used))

    def _settle(self, connection: Connection, reservation: Reservation, used: Cost) -> None:
        for holder, period, starts in sorted(reservation.budgets):
            columns = self._spending.c
            connection.execute(
                self._spending.update()
                .where(*_of(self._spending, holder, period), columns.starts == starts)
                .values(amount=columns.amount + used.amount, tokens=columns.tokens + used.tokens)
            )
        connection.execute(self._reservations.delete().where(self._reservations.c.id == reservation.id))

    def _patiently(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction; again where other processes kept the database for too long, or it chose this one to
        end a deadlock."""
        for _ in range(_TRIES - 1):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except self._sa.exc.OperationalError:
                time.sleep(random.random() * _PAUSE_S)  # noqa: S311 - so that two do not meet again
        with self._engine.begin() as connection:
            return work(connection)

    def _hold(self, connection: Connection, id: str, standing: Standing, cost: Cost, expires: float) -> None:
        where = {**_key(standing.budget), "starts": standing.starts}
        spending = self._spending
        known = self._sa.and_(*_of(spending, standing.budget.holder, standing.budget.period))
        found = connection.execute(spending.select().where(known, spending.c.starts == standing.starts)).first()
        if found is None:
            connection.execute(spending.insert().values(**where, amount=0, tokens=0))
        row = {**where, "id": id, "amount": cost.amount, "tokens": cost.tokens, "expires": expires}
        connection.execute(self._reservations.insert().values(**row))

    def _standings(self, connection: Connection, holders: Any, now: float) -> list[Standing]:
        found = []
        for holder in sorted(holders):
            chosen = self._budgets.select().where(*_of(self._budgets, holder)).order_by(self._budgets.c.period)
            for row in connection.execute(chosen).mappings().all():
                budget = Budget(holder, Period(row["period"]), row["amount"], row["tokens"])
                starts, renews = bounds(budget.period, now)
                spent = self._sum(connection, self._spending, budget, starts)
                alive = self._reservations.c.expires > now
                reserved = self._sum(connection, self._reservations, budget, starts, alive)
                found.append(Standing(budget, spent, reserved, starts, renews))
        return found

    def _sum(self, connection: Connection, table: Any, budget: Budget, starts: int, *more: Any) -> Cost:
        columns, total = table.c, self._sa.func.sum
        here = (*_of(table, budget.holder, budget.period), columns.starts == starts, *more)
        amount, tokens = connection.execute(
            self._sa.select(total(columns.amount), total(columns.tokens)).where(*here)
        ).one()
        return Cost(int(amount or 0), int(tokens or 0))


def _of(table: Any, holder: Holder, period: Period | None = None) -> list[Any]:
    """Conditions for the rows of a holder."""
    found = [table.c.kind == holder.kind.value, table.c.subject == holder.subject]
    return found if period is None else [*found, table.c.period == period.value]


def _key(budget: Budget) -> dict[str, str]:
    holder = budget.holder
    return {"kind": holder.kind.value, "subject": holder.subject, "period": budget.period.value}


def _row(budget: Budget) -> dict[str, Any]:
    return {**_key(budget), "amount": budget.amount, "tokens": budget.tokens}


def _left(most: int | None, used: int) -> int | None:
    return None if most is None else max(0, most - used)
