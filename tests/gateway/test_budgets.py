"""A spent budget as a client meets it: a status, a code, a sentence, and no pointless retries."""

import asyncio
import json
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from concertino.storage.budgets import Budget, BudgetStore, Holder, HolderKind, Period, Standing
from concertino.storage.database import open_database
from concertino.storage.keys import hash_secret
from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team

ACME = {"Authorization": "Bearer ck_acme"}
KEY = Holder(HolderKind.KEY, "acme")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("budgets")
    keys = [{"id": "acme", "sha256": hash_secret("ck_acme"), "tenant": "acme"}]
    with gateway(echo_team(home=str(folder / "home"), gateway={"require_key": True}, keys=keys), folder) as up:
        yield up


@pytest.fixture
def store(running: Gateway) -> BudgetStore:
    return BudgetStore(open_database(f"sqlite:///{running.home / 'state.db'}"))


def standing(store: BudgetStore) -> Standing:
    return store.standings([KEY])[0]


def settled(store: BudgetStore) -> Standing:
    """What stands when what is in flight has ended: a stream is settled just after its last byte."""
    for _ in range(100):
        if standing(store).reserved.tokens == 0:
            break
        time.sleep(0.05)
    return standing(store)


def body(words: int = 60, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": "word " * words}]
    return {"model": "legal", "max_tokens": 60, "messages": messages} | more


async def posted(running: Gateway, count: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(timeout=60, headers=ACME) as client:
        url = f"{running.url}/v1/chat/completions"
        asked = [client.post(url, json=body(stream=number % 2 == 0)) for number in range(count)]
        return list(await asyncio.gather(*asked))


def test_fifty_clients_at_once_streamed_and_whole_never_overspend(running: Gateway, store: BudgetStore) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=2_000))
    time.sleep(1)  # so soon a new budget holds
    responses = asyncio.run(posted(running, 50))
    fine = [one for one in responses if one.status_code == 200]
    refused = [one for one in responses if one.status_code == 429]
    assert fine and refused and len(fine) + len(refused) == 50
    after = settled(store)
    assert after.spent.tokens == 120 * len(fine) <= 2_000 and after.reserved.tokens == 0


def test_a_refusal_says_what_is_left_and_when_it_renews_and_asks_for_no_retry(
    running: Gateway, store: BudgetStore
) -> None:
    spent = store.standings([KEY])[0].spent.tokens if store.standings([KEY]) else 0
    store.set(Budget(KEY, Period.MONTH, tokens=spent + 10))
    response = httpx.post(f"{running.url}/v1/chat/completions", json=body(), headers=ACME, timeout=60)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (429, "budget_exhausted", "rate_limit_error")
    assert "tokens left" in error["message"] and "renews at" in error["message"] and "ck_" not in error["message"]
    assert int(response.headers["retry-after"]) > 60 and response.headers["x-should-retry"] == "false"
    counted = httpx.get(f"{running.url}/metrics", headers=ACME, timeout=60).text
    assert 'concertino_errors_total{code="budget_exhausted"}' in counted


def test_the_openai_client_raises_at_once(running: Gateway, store: BudgetStore) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=0))
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="ck_acme", max_retries=5, timeout=60)
    before = httpx.get(f"{running.url}/metrics", headers=ACME, timeout=60).text
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hello"}])
    assert caught.value.code == "budget_exhausted"
    after = httpx.get(f"{running.url}/metrics", headers=ACME, timeout=60).text
    assert _refused(after) == _refused(before) + 1


def _refused(metrics: str) -> float:
    name = 'concertino_errors_total{code="budget_exhausted"} '
    return sum(float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name))


def test_a_client_that_hangs_up_frees_what_it_reserved(running: Gateway, store: BudgetStore) -> None:
    store.remove(KEY)
    store.set(Budget(KEY, Period.DAY, tokens=standing_tokens(store) + 5_000))
    url = f"{running.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body(stream=True), headers=ACME, timeout=60) as response:
        first = next(response.iter_lines())
    assert json.loads(first.removeprefix("data: "))["object"] == "chat.completion.chunk"
    assert settled(store).reserved.tokens == 0


def standing_tokens(store: BudgetStore) -> int:
    """What the key has spent today, with a budget or without."""
    store.set(Budget(KEY, Period.DAY, tokens=0))
    return standing(store).spent.tokens
