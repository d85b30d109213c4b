"""`concertino keys`: budgets at creation and later, and what is spent of them."""

import json
from pathlib import Path

import pytest

from concertino.storage.budgets import Budget, BudgetStore, Cost, Holder, HolderKind, Period, Reservation
from concertino.storage.database import open_database
from concertino.storage.keys import KeyStore
from tests.cli.conftest import Command


@pytest.fixture
def store(concertino: Command) -> BudgetStore:
    return BudgetStore(open_database(f"sqlite:///{concertino.home / 'state.db'}"))


def test_a_key_is_made_with_a_budget_which_is_changed_later(concertino: Command, store: BudgetStore) -> None:
    made = concertino("keys", "create", "--tokens-per-day", "200", "--amount-per-month", "1.5", "--json")
    key = json.loads(made.stdout)["id"]
    holder = Holder(HolderKind.KEY, key)
    assert "No specialist has a price" in made.stderr
    assert [one.budget for one in store.standings()] == [
        Budget(holder, Period.DAY, tokens=200),
        Budget(holder, Period.MONTH, amount=1_500_000_000),
    ]
    changed = concertino("keys", "budget", key, "--tokens-per-month", "5000", "--json")
    day, month = map(json.loads, changed.stdout.splitlines())
    assert day["key"] == key and day["tokens"]["left"] == 200
    assert month["amount"]["budget"] == 1.5 and month["tokens"]["left"] == 5000
    assert concertino("keys", "budget", key, "--remove").stdout == ""
    assert store.standings() == []


def test_a_tenants_budget_and_all_usage_are_shown(concertino: Command, store: BudgetStore) -> None:
    done = concertino("keys", "budget", "--tenant", "research", "--tokens-per-day", "1000")
    assert done.returncode == 0 and "tenant research" in done.stdout and "1,000" in done.stdout
    holder = Holder(HolderKind.TENANT, "research")
    first, second = (store.reserve(name, [holder], Cost(0, 100), 60) for name in ("r1", "r2"))
    assert isinstance(first, Reservation) and isinstance(second, Reservation)
    store.settle(first, Cost(0, 30))
    (line,) = concertino("keys", "usage", "--json").stdout.splitlines()
    assert json.loads(line)["tokens"] == {"budget": 1000, "spent": 30, "reserved": 100, "left": 870}
    assert "870" in concertino("keys", "usage").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("keys", "budget"), 2, "give either"),
        (("keys", "budget", "key_x", "--tenant", "y"), 2, "give either"),
        (("keys", "budget", "key_x", "--tokens-per-day", "1"), 1, "keys list"),
        (("keys", "budget", "--tenant", "y", "--tokens-per-day", "-1"), 2, "tokens-per-day"),
        (("keys", "create", "--print-config", "--tokens-per-day", "1"), 2, "keys budget"),
    ],
)
def test_what_cannot_be_set_is_refused(concertino: Command, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = concertino(*arguments)
    assert done.returncode == status and said in done.stderr


def test_a_key_of_the_configuration_may_have_a_budget(concertino: Command, store: BudgetStore, tmp_path: Path) -> None:
    concertino.write_config(more=f"keys: [{{id: ops, sha256: '{'0' * 64}'}}]\n")
    assert concertino("keys", "budget", "ops", "--tokens-per-day", "7").returncode == 0
    assert [one.subject for one in store.holders()] == ["ops"]
    assert KeyStore(open_database(f"sqlite:///{concertino.home / 'state.db'}")).list() == []
