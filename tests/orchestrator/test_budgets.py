"""Budgets under concurrency, failure and cancellation: never overspent, and nothing stays reserved."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from concertino.audit.read import AuditReader
from concertino.config import Settings
from concertino.errors import BackendError, BudgetExhausted, BudgetUnavailable
from concertino.orchestrator import budgets
from concertino.orchestrator.compose import compose
from concertino.orchestrator.costs import Spending
from concertino.orchestrator.service import Service
from concertino.storage.budgets import BILLIONTHS, Budget, BudgetStore, Cost, Holder, HolderKind, Period, Standing
from concertino.storage.database import open_database
from concertino.types import Message, Principal, Request, Role, Sampling
from tests.orchestrator.workflows import THREE, make_service
from tests.teams import echo_team

ACME = Principal("key_a", "acme")
OTHER = Principal("key_b", "acme")
KEY, TENANT = Holder(HolderKind.KEY, "key_a"), Holder(HolderKind.TENANT, "acme")
ROOM = 400
"""More than one short request takes at most."""


@pytest.fixture
def store(tmp_path: Path) -> BudgetStore:
    return BudgetStore(open_database(f"sqlite:///{tmp_path / 'home' / 'state.db'}"))


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    try:
        yield service
    finally:
        await service.close()


def ask(text: str = "one two three", model: str = "legal", tokens: int = 20) -> Request:
    return Request((Message(Role.USER, text),), model, Sampling(max_tokens=tokens))


def standing(store: BudgetStore, holder: Holder = KEY) -> Standing:
    return store.standings([holder])[0]


def priced(**prices: float) -> list[dict[str, Any]]:
    """The echo team, its members at prices per million tokens."""
    cards: list[dict[str, Any]] = echo_team()["specialists"]
    return [card | {"price": {"prompt": prices.get(card["name"], 0.0)} | {"completion": prices.get(card["name"], 0.0)}}
            for card in cards]  # fmt: skip


async def test_fifty_requests_at_once_never_overspend(
    store: BudgetStore, team_settings: Callable[..., Settings]
) -> None:
    # Each spends 120 tokens and reserves some 540, so without reservations they would spend 6,000.
    store.set(Budget(KEY, Period.DAY, tokens=2_000))
    store.set(Budget(TENANT, Period.MONTH, tokens=100_000))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            now = await asyncio.to_thread(standing, store)
            most = max(most, now.spent.tokens + now.reserved.tokens)
            await asyncio.sleep(0)

    async with running(compose(team_settings(backends={"echo": {"type": "echo", "options": {"delay_s": 0.002}}}))) as s:
        watching = asyncio.ensure_future(watch())
        asked = [s.answer(ask("word " * 60, tokens=60), ACME) for _ in range(50)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        watching.cancel()
    answered = [one for one in found if not isinstance(one, BaseException)]
    refused = [one for one in found if isinstance(one, BudgetExhausted)]
    assert answered and refused and len(answered) + len(refused) == 50
    assert all("Requests in flight hold the rest" in one.message and one.retry_after_s == 1 for one in refused)
    after = standing(store)
    assert 0 < most <= 2_000
    assert after.spent.tokens == sum(one.usage.total_tokens for one in answered) == 120 * len(answered)
    assert after.reserved.tokens == 0
    assert standing(store, TENANT).spent == after.spent


async def test_in_the_end_a_budget_can_be_used_up_nearly_to_the_last_token(
    store: BudgetStore, team_settings: Callable[..., Settings]
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=600))
    async with running(compose(team_settings())) as service:
        for _ in range(100):
            try:
                await service.answer(ask(), ACME)
            except BudgetExhausted as error:
                refusal = error
                break
    left = standing(store).tokens_left
    assert left is not None and 0 <= left < ROOM
    assert f"{left:,} of 600 tokens left" in refusal.message and "renews at" in refusal.message
    assert "max_tokens" in refusal.message and 0 < refusal.retry_after_s <= 86_400


async def test_keys_of_a_tenant_share_its_budget_and_others_have_their_own(
    store: BudgetStore, team_settings: Callable[..., Settings]
) -> None:
    store.set(Budget(TENANT, Period.DAY, tokens=ROOM + 3))
    async with running(compose(team_settings())) as service:
        await service.answer(ask(), ACME)
        await service.answer(ask(), OTHER)
        assert standing(store, TENANT).spent.tokens == 12
        store.set(Budget(TENANT, Period.DAY, tokens=20))
        with pytest.raises(BudgetExhausted, match="tenant acme"):
            await service.answer(ask(), OTHER)
        await service.answer(ask(), Principal("key_c", "beta"))
        await service.answer(ask())


async def test_a_stream_that_is_left_is_charged_for_what_was_written_and_frees_the_rest(
    store: BudgetStore, team_settings: Callable[..., Settings]
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=5_000))
    long = ask("word " * 50, tokens=100)
    async with running(compose(team_settings())) as service, service.answering(long, ACME) as run:
        assert standing(store).reserved.tokens > 300
        async for _ in run.chunks():
            break
    after = standing(store)
    assert after.reserved.tokens == 0
    assert 1 <= after.spent.tokens - 84 <= 2, "the prompt by its estimate, and a word or two"


async def test_a_cancelled_request_frees_what_it_reserved(
    store: BudgetStore, team_settings: Callable[..., Settings]
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=5_000))
    slow = {"echo": {"type": "echo", "options": {"delay_s": 30}}}
    async with running(compose(team_settings(backends=slow))) as service:
        await service.start()
        for pause in (0.0, 0.001, 0.01):
            asking = asyncio.ensure_future(service.answer(ask(), ACME))
            await asyncio.sleep(pause)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        asking = asyncio.ensure_future(service.answer(ask(), ACME))
        for _ in range(6000):
            if standing(store).reserved.tokens:
                break
            await asyncio.sleep(0.01)
        assert standing(store).reserved.tokens
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert standing(store).reserved.tokens == 0


async def test_a_failure_is_charged_for_what_was_written_before_it(store: BudgetStore, tmp_path: Path) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=5_000))
    asked: list[Any] = []
    how = {"legal": {"breaks": True}, "finance": {"fails": True}}
    async with running(make_service(tmp_path, asked, how=how)) as service:
        with pytest.raises(BackendError):
            await service.answer(ask("Is it so?", "legal"), ACME)
        assert standing(store).spent.tokens > 4 and standing(store).reserved.tokens == 0
        before = standing(store).spent.tokens
        with pytest.raises(BackendError):
            await service.answer(ask("Is it so?", "finance"), ACME)
        assert standing(store).spent.tokens == before, "nobody worked on it"


async def test_nothing_stays_reserved_where_the_audit_record_cannot_be_made(
    store: BudgetStore, team_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    from concertino.errors import AuditUnavailable

    store.set(Budget(KEY, Period.DAY, tokens=5_000))

    async def failing(*_: object) -> None:
        raise AuditUnavailable("The disk is full.")

    async with running(compose(team_settings())) as service:
        monkeypatch.setattr(service.audit._log, "begin", failing)
        with pytest.raises(AuditUnavailable):
            await service.answer(ask(), ACME)
    assert (standing(store).reserved.tokens, standing(store).spent.tokens) == (0, 0)


async def test_auto_takes_who_fits_in_what_is_left_and_says_so(store: BudgetStore, tmp_path: Path) -> None:
    # A word of the echo team is dear with legal: at most about 250 tokens at 1,000 a million.
    store.set(Budget(KEY, Period.DAY, amount=BILLIONTHS))
    asked: list[Any] = []
    async with running(make_service(tmp_path, asked, specialists=priced(legal=1_000.0, general=1.0))) as service:
        answer = await service.answer(ask("What is a lien?", "auto"), ACME)
        assert answer.specialist == "legal"
        store.set(Budget(KEY, Period.DAY, amount=BILLIONTHS // 10))
        answer = await service.answer(ask("What is a lien?", "auto"), ACME)
        assert answer.specialist == "general"
        assert "legal could take more than the budget has left, so general answers." in answer.decision.reason
        decision = await service.decide(ask("What is a lien?", "auto"), ACME)
        assert decision.specialist == "general"
        store.set(Budget(KEY, Period.DAY, amount=100))
        with pytest.raises(BudgetExhausted, match="general may take up to"):
            await service.answer(ask("What is a lien?", "auto"), ACME)
    log = [entry.end for entry in AuditReader(tmp_path / "audit.db").tail(1)]
    assert "budget_exhausted" in str(log)


async def test_who_is_named_is_refused_where_the_budget_is_too_small(store: BudgetStore, tmp_path: Path) -> None:
    store.set(Budget(KEY, Period.MONTH, amount=BILLIONTHS // 10))
    async with running(make_service(tmp_path, [], specialists=priced(legal=1_000.0))) as service:
        with pytest.raises(
            BudgetExhausted, match=r"for this month has 0\.1 of 0\.1 left, and legal may take up to 0\.2"
        ):
            await service.answer(ask(), ACME)
        assert (await service.answer(ask(model="general"), ACME)).specialist == "general"


async def test_every_part_of_a_compound_request_is_charged_once_at_its_own_price(
    store: BudgetStore, tmp_path: Path
) -> None:
    store.set(Budget(KEY, Period.DAY, amount=100 * BILLIONTHS, tokens=1_000_000))
    prices = {"legal": 100.0, "code": 10.0, "medical": 1.0}
    async with running(make_service(tmp_path, [], specialists=priced(**prices))) as service:
        async with service.answering(Request((Message(Role.USER, THREE),)), ACME) as run:
            assert standing(store).reserved.tokens > 1_000
            async for _ in run.chunks():
                pass
        answer = run.answer()
    after = standing(store)
    assert len(answer.parts) == 3 and after.reserved.tokens == 0
    assert after.spent.tokens == answer.usage.total_tokens == 45  # a Saying counts 15 tokens each time
    assert after.spent.amount == 15 * 1000 * (100 + 10 + 1)


async def test_a_request_whose_parts_do_not_fit_is_answered_whole(store: BudgetStore, tmp_path: Path) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=1_000))
    async with running(make_service(tmp_path, [])) as service:
        answer = await service.answer(Request((Message(Role.USER, THREE),)), ACME)
    assert not answer.parts
    assert "3 parts could take more than the budget has left" in answer.decision.reason
    assert standing(store).spent.tokens == 15


async def test_a_plan_and_a_composition_are_charged_too(store: BudgetStore, tmp_path: Path) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=10_000_000))
    workflow = {"planner": "model", "answer": "composed"}
    how = {"general": {"answers": ["no plan", "again none"]}}
    async with running(make_service(tmp_path, [], workflow=workflow, how=how)) as service:
        answer = await service.answer(Request((Message(Role.USER, THREE),)), ACME)
        assert standing(store).spent.tokens == answer.usage.total_tokens == 6 * 15
        await service.plan(Request((Message(Role.USER, THREE),)), ACME)
    assert standing(store).spent.tokens >= 7 * 15 and standing(store).reserved.tokens == 0


async def test_a_cascade_is_charged_for_both_answers(store: BudgetStore, tmp_path: Path) -> None:
    store.set(Budget(KEY, Period.DAY, amount=100 * BILLIONTHS, tokens=100_000))
    cards = priced(legal=100.0, general=1.0)
    cards[2]["skills"][0] |= {"threshold": 0.9, "on_low_confidence": "escalate"}
    async with running(make_service(tmp_path, [], specialists=cards)) as service:
        answer = await service.answer(Request((Message(Role.USER, "Overruled."),), "legal/overruling"), ACME)
        assert answer.escalated == "general"
        assert standing(store).spent.tokens == answer.usage.total_tokens == 30
        assert standing(store).spent.amount == 15 * 1000 * (100 + 1)
        store.set(Budget(KEY, Period.DAY, amount=100 * BILLIONTHS, tokens=30 + 700))
        answer = await service.answer(Request((Message(Role.USER, "Overruled."),), "legal/overruling"), ACME)
    assert answer.escalated is None and answer.abstained
    assert "no room for general besides" in answer.decision.reason


async def test_embeddings_count_tokens(store: BudgetStore, team_settings: Callable[..., Settings]) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=50))
    async with running(compose(team_settings())) as service:
        await service.embed("echo-embedding", ["one two", "three"], ACME, "chatcmpl-1")
        assert standing(store).spent.tokens == 3 and standing(store).reserved.tokens == 0
        with pytest.raises(BudgetExhausted, match="echo-embedding may take up to"):
            await service.embed("echo-embedding", ["one two" * 10], ACME, "chatcmpl-2")


async def test_a_budget_that_is_set_while_the_team_runs_holds_within_a_second(
    store: BudgetStore, team_settings: Callable[..., Settings]
) -> None:
    async with running(compose(team_settings())) as service:
        await service.answer(ask(), ACME)
        store.set(Budget(KEY, Period.DAY, tokens=0))
        await asyncio.sleep(0.9)
        with pytest.raises(BudgetExhausted):
            await service.answer(ask(), ACME)


async def test_without_a_state_database_none_is_made(tmp_path: Path, team_settings: Callable[..., Settings]) -> None:
    async with running(compose(team_settings())) as service:
        await service.answer(ask(), ACME)
    assert not (tmp_path / "home" / "state.db").exists()


async def test_a_database_that_cannot_be_read_answers_nobody(
    tmp_path: Path, team_settings: Callable[..., Settings]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "state.db").write_bytes(b"garbage that is no database" * 50)
    async with running(compose(team_settings())) as service:
        with pytest.raises(BudgetUnavailable, match="not a database"):
            await service.answer(ask(), ACME)


async def test_a_database_that_hangs_refuses_within_the_patience_and_does_not_keep_the_team_from_closing(
    store: BudgetStore, team_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=100_000))
    monkeypatch.setattr(budgets, "PATIENCE_S", 0.2)
    back = threading.Event()
    service = compose(team_settings())
    try:
        async with running(service):
            await service.answer(ask(), ACME)
            monkeypatch.setattr(BudgetStore, "standings", lambda *_: back.wait(60))
            began = time.monotonic()
            for _ in range(5):
                with pytest.raises(BudgetUnavailable, match="does not answer"):
                    await service.answer(ask(), ACME)
        assert time.monotonic() - began < 5.0, "waited for once, not five times for a minute, nor at the end"
    finally:
        back.set()


async def test_what_was_spent_while_the_database_hung_is_counted_and_what_was_reserved_in_vain_is_given_back(
    store: BudgetStore, team_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=100_000))
    monkeypatch.setattr(budgets, "PATIENCE_S", 0.2)
    back, reserve = threading.Event(), BudgetStore.reserve
    counting, spending = budgets.Budgets(team_settings()), Spending()

    def slow(*given: Any) -> Any:
        back.wait(30)
        return reserve(*given)

    try:
        async with counting.settling(await counting.reserve("ended", ACME, Cost(tokens=100), "legal"), spending):
            spending.add(Cost(tokens=30))
            monkeypatch.setattr(BudgetStore, "reserve", slow)
            with pytest.raises(BudgetUnavailable, match="does not answer"):
                await counting.reserve("in vain", ACME, Cost(tokens=7_000), "legal")
    finally:
        back.set()
    for _ in range(500):
        if standing(store).spent.tokens == 30 and not standing(store).reserved.tokens:
            break
        await asyncio.sleep(0.01)
    counting.close()
    assert standing(store).spent.tokens == 30
    assert standing(store).reserved.tokens == 0
