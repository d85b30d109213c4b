"""The language-model tier is asked where the router is unsure, within policy, and never stands in the way."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from msgspec import structs

from concertino.backends.base import Generation
from concertino.config import build
from concertino.errors import BudgetExhausted, ConfigurationError
from concertino.orchestrator.second_look import Opinions, SecondLook
from concertino.orchestrator.service import Service
from concertino.router.language import LETTERS
from concertino.storage.budgets import Budget, BudgetStore, Holder, HolderKind, Period
from concertino.storage.database import open_database
from concertino.types import Chunk, FinishReason, Message, Principal, Role, Tier, TokenLogprob, TopLogprob, Usage
from tests.orchestrator.workflows import Saying, ask, make_service
from tests.teams import echo_team

ROUTE = {
    "name": "route",
    "description": "Who answers.",
    "instruction": "Answer with a letter.",
    "labels": list(LETTERS),
    "max_tokens": 2,
}
LANGUAGE = {"skill": "general/route", "below": 0.5}


def cards() -> list[dict[str, Any]]:
    team: list[dict[str, Any]] = echo_team()["specialists"]
    team[0]["skills"] = [ROUTE]
    return team


class Choosing(Saying):
    """Answers with the letters' log-probabilities that a test wants, `A` first."""

    chances: tuple[float, ...] = (0.1, 0.6, 0.1, 0.1, 0.1)

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        if not generation.sampling.logprobs:
            async for chunk in super().generate(generation):
                yield chunk
            return
        self.asked.append((self.who, generation))
        if self.fails:
            raise ConnectionError("not an error of the project's")
        top = tuple(TopLogprob(letter, math.log(p)) for letter, p in zip(LETTERS, self.chances, strict=False))
        best = max(top, key=lambda one: one.logprob)
        top = (*top, *(TopLogprob(f" {letter}", -20.0) for letter in LETTERS))  # as a vocabulary has them too
        yield Chunk(text=best.token, logprobs=(TokenLogprob(best.token, best.logprob, top),))
        yield Chunk(finish_reason=FinishReason.STOP, usage=Usage(10, 1, 2))


@pytest.fixture
def asked() -> list[tuple[str, Generation]]:
    return []


@pytest.fixture
def service(tmp_path: Path, asked: list[tuple[str, Generation]]) -> Service:
    made = make_service(tmp_path, asked, specialists=cards(), router={"language": LANGUAGE})
    pool = made.pool
    chooser = Choosing("general", asked)
    pool.backends["general"] = chooser
    pool._specialists["general"] = structs.replace(pool.get("general"), backend=chooser)
    made.decider.second_look = SecondLook(pool, made.settings)
    return made


async def test_an_unsure_request_is_decided_by_the_descriptions(
    service: Service, asked: list[tuple[str, Generation]]
) -> None:
    decision = await service.decide(ask("who deals with zorbs?"))
    assert (decision.specialist, decision.tier) == ("legal", Tier.LANGUAGE)
    assert "general/route" in decision.reason
    assert "unsure (0.20)" in decision.reason
    text = asked[0][1].messages[-1].text
    assert text.splitlines()[0] == "A: Questions about code."
    assert text.splitlines()[4] == "E: none of the above. Questions about general."
    assert text.endswith("Request: who deals with zorbs?")
    assert asked[0][1].grammar == 'root ::= "A" | "B" | "C" | "D" | "E"'


async def test_a_sure_request_pays_for_nothing(service: Service, asked: list[tuple[str, Generation]]) -> None:
    decision = await service.decide(ask("how do I sort this in python?"))
    assert (decision.specialist, decision.tier) == ("code", Tier.LINEAR)
    assert asked == []


async def test_none_of_them_is_the_default_specialist(service: Service) -> None:
    chooser = service.pool.backends["general"]
    assert isinstance(chooser, Choosing)
    chooser.chances = (0.02, 0.02, 0.02, 0.02, 0.92)
    decision = await service.decide(ask("who deals with zorbs?"))
    assert (decision.specialist, decision.tier) == ("general", Tier.LANGUAGE)


async def test_who_may_not_see_a_request_is_not_asked_about_it(
    service: Service, asked: list[tuple[str, Generation]]
) -> None:
    text = "zorbs: patient Jane Roe, born 1961-04-02, MRN 445566, has chest pain"
    decision = await service.decide(ask(text))
    assert decision.verdict.facts.health_data
    assert "general" not in decision.verdict.eligible
    assert asked == []


async def test_only_who_is_eligible_stands_in_the_question(
    service: Service, asked: list[tuple[str, Generation]]
) -> None:
    policy = structs.replace(service.settings.policy, tenants={"guests": ("general", "finance", "code")})
    service.decider.policy._settings = policy
    decision = await service.decide(ask("who deals with zorbs?"), Principal(tenant="guests"))
    assert decision.specialist == "finance"
    assert "legal" not in asked[0][1].messages[-1].text


async def test_where_it_fails_the_first_choice_stands(service: Service) -> None:
    chooser = service.pool.backends["general"]
    assert isinstance(chooser, Choosing)
    chooser.chances = ()
    chooser.fails = False

    async def refuse(_: Generation) -> AsyncIterator[Chunk]:
        yield Chunk(text="A", finish_reason=FinishReason.STOP)

    chooser.generate = refuse  # type: ignore[method-assign, assignment]
    decision = await service.decide(ask("who deals with zorbs?"))
    assert (decision.specialist, decision.tier) == ("general", Tier.DEFAULT)
    assert "general/route failed (backend_error)" in decision.reason


async def test_a_slow_one_is_not_waited_for(service: Service, asked: list[tuple[str, Generation]]) -> None:
    second = service.decider.second_look
    assert second is not None
    second.settings = structs.replace(second.settings, timeout_s=0.01)
    chooser = service.pool.backends["general"]

    async def never(_: Generation) -> AsyncIterator[Chunk]:
        import asyncio

        await asyncio.sleep(30)
        yield Chunk(text="A")

    chooser.generate = never  # type: ignore[method-assign, assignment]
    decision = await service.decide(ask("who deals with zorbs?"))
    assert decision.specialist == "general"
    assert "took too long" in decision.reason


async def test_words_are_needed(service: Service, asked: list[tuple[str, Generation]]) -> None:
    await service.decide(ask("?!"))
    assert asked == []


async def test_a_follow_up_is_read_with_the_turns_before_it(
    service: Service, asked: list[tuple[str, Generation]]
) -> None:
    before = (Message(Role.USER, "tell me of zorbs"), Message(Role.ASSISTANT, "They are round."))
    await service.decide(ask("and the blue ones?", *before))
    assert asked[0][1].messages[-1].text.endswith("Request: tell me of zorbs and the blue ones?")


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ({"skill": "general/rout"}, "Did you mean 'general/route'"),
        ({"skill": "general"}, "is no skill; give SPECIALIST/SKILL"),
        ({"skill": "legal/overruling"}, "does not answer with the letters A to L"),
    ],
)
def test_a_wrong_skill_is_refused(tmp_path: Path, language: dict[str, str], said: str) -> None:
    team = cards()
    settings = build(echo_team(home=str(tmp_path), specialists=team, router={"language": language}), "a test")
    from concertino.orchestrator.decider import engineless

    with pytest.raises(ConfigurationError, match=said):
        engineless(settings)


@pytest.mark.parametrize(("name", "value"), [("below", 1.5), ("weight", -0.1), ("timeout_s", 0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"router.language.{name}"):
        build(echo_team(router={"language": {"skill": "general/route", name: value}}), "a test")


UNSURE = "who deals with zorbs?"
ACME = Principal("key_a", "acme")
KEY = Holder(HolderKind.KEY, "key_a")


@pytest.fixture
def store(tmp_path: Path) -> BudgetStore:
    """The state database of `service`."""
    return BudgetStore(open_database(f"sqlite:///{tmp_path / 'home' / 'state.db'}"))


async def test_what_it_takes_counts_with_the_answer(service: Service, store: BudgetStore) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=100_000))
    answer = await service.answer(ask(UNSURE), ACME)
    assert answer.decision.tier is Tier.LANGUAGE
    after = store.standings([KEY])[0]
    assert after.spent.tokens == answer.usage.total_tokens + 11  # ten tokens were read, one was written
    assert after.reserved.tokens == 0
    await service.close()


async def test_what_it_takes_counts_where_nothing_is_answered(service: Service, store: BudgetStore) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=100_000))
    await service.decide(ask(UNSURE), ACME)
    assert store.standings([KEY])[0].spent.tokens == 11
    await service.close()


async def test_without_room_in_the_budget_it_is_not_asked(
    service: Service, store: BudgetStore, asked: list[tuple[str, Generation]]
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=300))
    with pytest.raises(BudgetExhausted):
        await service.answer(ask(UNSURE), ACME)
    assert asked == []
    assert store.standings([KEY])[0].spent.tokens == 0
    await service.close()


async def test_a_choice_that_is_made_again_asks_nothing_again(
    service: Service, asked: list[tuple[str, Generation]]
) -> None:
    opinions = Opinions()
    first, second = [await service.decider.decide_many([ask(UNSURE)], ACME, None, opinions) for _ in range(2)]
    assert first == second and first[0].tier is Tier.LANGUAGE
    assert len(asked) == 1
    assert opinions.spending.cost.tokens == 11
    await service.close()


async def test_a_refusal_after_it_was_asked_is_charged(
    service: Service, store: BudgetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=100_000))
    monkeypatch.setattr(service.budgets, "reserve_for", AsyncMock(side_effect=BudgetExhausted("A test.")))
    with pytest.raises(BudgetExhausted):
        await service.answer(ask(UNSURE), ACME)
    assert store.standings([KEY])[0].spent.tokens == 11
    await service.close()


class Hanging(Choosing):
    """Says its letter and goes on for ever."""

    said: asyncio.Event

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        yield Chunk(text="A")
        self.said.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("call", ["answer", "plan", "decide"])
async def test_who_hangs_up_while_it_is_asked_is_charged(
    service: Service, store: BudgetStore, asked: list[tuple[str, Generation]], call: str
) -> None:
    store.set(Budget(KEY, Period.DAY, tokens=100_000))
    chooser = Hanging("general", asked)
    chooser.said = asyncio.Event()
    service.pool.backends["general"] = chooser
    service.pool._specialists["general"] = structs.replace(service.pool.get("general"), backend=chooser)
    work = asyncio.ensure_future(getattr(service, call)(ask(UNSURE), ACME))
    await chooser.said.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    standing = store.standings([KEY])[0]
    assert standing.spent.tokens > 1  # what it read, and a letter
    assert standing.reserved.tokens == 0
    await service.close()
