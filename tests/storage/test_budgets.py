"""Budgets at rest: exact sums, periods of UTC, reservations that expire, and no room for two where there is for one.

On SQLite; on PostgreSQL too where CONCERTINO_TEST_POSTGRES names an empty database by URL.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from concertino.errors import InvalidRequest
from concertino.storage.budgets import (
    Budget,
    BudgetStore,
    Cost,
    Holder,
    HolderKind,
    Period,
    Refused,
    Reservation,
    bounds,
)
from concertino.storage.database import open_database

KEY, TENANT = Holder(HolderKind.KEY, "key_a"), Holder(HolderKind.TENANT, "acme")
HOLDERS = [KEY, TENANT]
POSTGRES = os.environ.get("CONCERTINO_TEST_POSTGRES", "")
NOON = datetime(2026, 12, 31, 12, 0, tzinfo=UTC).timestamp()

Make = Callable[..., BudgetStore]


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens the same database again each time."""
    if request.param == "postgresql" and not POSTGRES:
        pytest.skip("CONCERTINO_TEST_POSTGRES is not set")
    url = POSTGRES if request.param == "postgresql" else f"sqlite:///{tmp_path / 'state.db'}"
    engine = open_database(url)
    with engine.begin() as connection:
        for table in ("budgets", "spending", "reservations"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return lambda clock=lambda: NOON: BudgetStore(open_database(url), clock)


def held(found: Reservation | Refused) -> Reservation:
    assert isinstance(found, Reservation), found
    return found


def test_periods_are_those_of_utc() -> None:
    def said(period: Period) -> list[str]:
        return [datetime.fromtimestamp(at, UTC).isoformat()[:16] for at in bounds(period, NOON)]

    assert said(Period.DAY) == ["2026-12-31T00:00", "2027-01-01T00:00"]
    assert said(Period.MONTH) == ["2026-12-01T00:00", "2027-01-01T00:00"]


def test_what_is_reserved_is_gone_until_it_is_settled_with_what_was_used(make: Make) -> None:
    store = make()
    store.set(Budget(KEY, Period.DAY, amount=1_000, tokens=100))
    first = held(store.reserve("r1", HOLDERS, Cost(900, 60), 60))
    refused = store.reserve("r2", HOLDERS, Cost(1, 41), 60)
    assert isinstance(refused, Refused) and refused.standings[0].tokens_left == 40
    assert isinstance(store.reserve("r2", HOLDERS, Cost(101, 1), 60), Refused)
    held(store.reserve("r3", HOLDERS, Cost(100, 40), 60))
    store.settle(first, Cost(10, 5))
    (now,) = make().standings(HOLDERS)
    assert (now.spent, now.reserved) == (Cost(10, 5), Cost(100, 40))
    assert (now.amount_left, now.tokens_left) == (890, 55)


def test_a_reservation_holds_in_all_budgets_or_in_none(make: Make) -> None:
    store = make()
    store.set(Budget(KEY, Period.DAY, tokens=1_000))
    store.set(Budget(KEY, Period.MONTH, tokens=5_000))
    store.set(Budget(TENANT, Period.DAY, tokens=100))
    assert isinstance(store.reserve("r1", HOLDERS, Cost(0, 500), 60), Refused)
    assert all(one.reserved.tokens == 0 for one in store.standings())
    reservation = held(store.reserve("r2", HOLDERS, Cost(0, 100), 60))
    assert len(reservation.budgets) == 3
    store.settle(reservation, Cost(7, 70))
    assert all((one.spent, one.reserved) == (Cost(7, 70), Cost()) for one in store.standings())


def test_the_reservation_of_a_process_that_is_gone_expires_and_may_still_be_settled(make: Make) -> None:
    store = make()
    store.set(Budget(KEY, Period.DAY, tokens=100))
    late = held(store.reserve("r1", HOLDERS, Cost(0, 100), 60))
    assert isinstance(make(lambda: NOON + 59).reserve("r2", HOLDERS, Cost(0, 1), 60), Refused)
    after = make(lambda: NOON + 61)
    assert after.standings()[0].reserved == Cost()
    held(after.reserve("r2", HOLDERS, Cost(0, 90), 60))
    after.settle(late, Cost(0, 30))
    assert after.standings()[0].spent.tokens == 30


def test_a_new_period_begins_with_nothing_spent_and_what_ends_late_counts_where_it_began(make: Make) -> None:
    store, tomorrow = make(), make(lambda: NOON + 86_400)
    store.set(Budget(KEY, Period.DAY, tokens=100))
    reservation = held(store.reserve("r1", HOLDERS, Cost(0, 100), 1e6))
    assert tomorrow.standings()[0].tokens_left == 100
    store.settle(reservation, Cost(0, 80))
    assert tomorrow.standings()[0].spent.tokens == 0 and store.standings()[0].spent.tokens == 80


def test_a_budget_that_is_raised_or_taken_away_keeps_what_was_spent(make: Make) -> None:
    store = make()
    store.set(Budget(KEY, Period.DAY, tokens=10))
    store.settle(held(store.reserve("r1", HOLDERS, Cost(0, 10), 60)), Cost(0, 10))
    store.set(Budget(KEY, Period.DAY, tokens=30))
    assert store.standings()[0].tokens_left == 20
    assert store.remove(KEY) == 1 and store.holders() == frozenset()
    assert held(store.reserve("r2", HOLDERS, Cost(0, 1_000), 60)).budgets == ()


def test_amounts_are_exact_however_often_they_are_added(make: Make) -> None:
    store = make()
    store.set(Budget(KEY, Period.DAY, amount=10**17))
    for number in range(10):
        store.settle(held(store.reserve(f"r{number}", HOLDERS, Cost(10**16, 1), 60)), Cost(10**16, 1))
    assert store.standings()[0].amount_left == 0
    assert isinstance(store.reserve("r", HOLDERS, Cost(1, 0), 60), Refused)


@pytest.mark.parametrize("budget", [Budget(KEY, Period.DAY), Budget(KEY, Period.DAY, tokens=-1)])
def test_a_budget_of_nothing_is_no_budget(make: Make, budget: Budget) -> None:
    with pytest.raises(InvalidRequest):
        make().set(budget)


def test_many_workers_at_once_reserve_no_more_than_there_is(make: Make) -> None:
    make().set(Budget(KEY, Period.DAY, tokens=1_000))
    make().set(Budget(TENANT, Period.MONTH, tokens=700))

    def worker(number: int) -> int:
        store = make()
        found = [store.reserve(f"r{number}-{turn}", HOLDERS, Cost(0, 90), 60) for turn in range(5)]
        return sum(isinstance(one, Reservation) for one in found)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(worker, range(6))) == 7
    assert {one.reserved.tokens for one in make().standings()} == {630}
