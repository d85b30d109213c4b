"""Deciding without engines: many texts at once get what each would get alone."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from concertino import plugins
from concertino.config import Settings, build
from concertino.errors import ConfigurationError
from concertino.orchestrator.budgets import Left
from concertino.orchestrator.decider import LOCAL, Decider, engineless, make_decider
from concertino.policy.base import Finding, Kind
from concertino.policy.rules import Policy, SpecialistFacts
from concertino.specialists.pool import Pool
from concertino.storage.budgets import Budget, Cost, Holder, HolderKind, Period, Standing
from concertino.types import Decision, FunctionCall, Limits, Message, Principal, Ranking, Request, Role, ToolCall
from tests.teams import echo_team


class SlowDetector:
    """Takes a tenth of its deadline for each text."""

    name = "slow"
    kind = Kind.IDENTIFIER

    def detect(self, text: str) -> Sequence[Finding]:
        time.sleep(0.05)
        return ()


class AlwaysCode:
    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        return [Ranking({"code": 0.9}, 0.9, "code", "a test")] * len(conversations)


def test_a_plugin_that_makes_no_router_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    load = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda group, *of: "no router" if group == plugins.ROUTERS else load(group, *of)
    )
    with pytest.raises(ConfigurationError, match=r"router\.options: .*no router"):
        engineless(build(echo_team(), "a test"))


async def test_a_text_is_not_held_against_its_neighbours() -> None:
    settings = build({**echo_team(), "policy": {"detectors": [], "detector_timeout_s": 0.5}}, "a test")
    pool = engineless(settings).pool
    facts = [SpecialistFacts(specialist.card.name) for specialist in pool]
    policy = Policy(settings.policy, facts, detectors=[SlowDetector()])
    decider = Decider(settings, pool, policy, AlwaysCode())
    requests = [Request((Message(Role.USER, f"text {number}"),)) for number in range(64)]
    decisions = await decider.decide_many(requests)
    assert [decision.verdict.facts.failed_detectors for decision in decisions] == [()] * 64


LAW = Message(Role.USER, "Can my landlord keep my deposit?")
TOOLS = ({"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}},)


def loop(answer: str | None = None) -> tuple[Message, ...]:
    """The question, a tool call of whoever got it, and the tool's answer."""
    call = Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", FunctionCall("lookup", "{}")),))
    return (LAW, call) if answer is None else (LAW, call, Message(Role.TOOL, answer, tool_call_id="1"))


@pytest.fixture
def lawyers(team_settings: Callable[..., Settings]) -> Decider:
    """Two lawyers: one cheap for long prompts, one for long answers. Guests may not ask the second."""

    def card(name: str, prompt: float, completion: float, **more: Any) -> dict[str, Any]:
        about = {"name": name, "description": name, "backend": "far", "model": "any"}
        return about | {"price": {"prompt": prompt, "completion": completion}} | more

    cards = [
        card("general", 20.0, 20.0),
        card("reader", 1.0, 10.0, domains=["legal"]),
        card("writer", 5.0, 2.0, domains=["legal"]),
    ]
    far = {"type": "http", "options": {"base_url": "http://127.0.0.1:9/v1"}}  # can call tools; nothing is sent
    settings = team_settings(
        specialists=cards, backends={"far": far}, embeddings=[], policy={"tenants": {"guests": ["general", "reader"]}}
    )
    return make_decider(settings, Pool(settings, Path, lambda card: ""))


async def decide(
    decider: Decider, messages: tuple[Message, ...], principal: Principal = LOCAL, left: Left | None = None, **more: Any
) -> Decision:
    return (await decider.decide_many([Request(messages, tools=TOOLS, **more)], principal, left))[0]


@pytest.mark.parametrize("model", ["auto", "auto:best", "auto:cheap"])
async def test_no_length_of_a_tools_answer_moves_an_open_loop(lawyers: Decider, model: str) -> None:
    first = await decide(lawyers, (LAW,), model=model)
    assert first.specialist == "writer"
    for answer in (None, "Statute 12.", "statute text " * 300):
        went_on = await decide(lawyers, loop(answer), model=model)
        assert went_on.specialist == "writer"
        assert went_on.reason.startswith("Kept while a tool call is open: legal")


async def test_no_answer_to_somebody_else_moves_an_open_loop(
    lawyers: Decider, team_settings: Callable[..., Settings]
) -> None:
    first = await decide(lawyers, (LAW,))
    for _ in range(20):
        lawyers.speeds.observe(
            "reader", 0.1, 0.2, 1
        )  # answers of one token: the reader's price for tokens matters less
    assert (await decide(lawyers, loop("Statute 12."))).specialist == first.specialist
    another = Decider(lawyers.settings, lawyers.pool, lawyers.policy, lawyers.router)
    assert await decide(another, loop("Statute 12.")) == await decide(lawyers, loop("Statute 12."))
    assert (await decide(another, (LAW,))).specialist == (await decide(lawyers, (LAW,))).specialist


async def test_no_time_limit_moves_an_open_loop(lawyers: Decider) -> None:
    lawyers.speeds.observe("writer", 9.0, 19.0, 100)
    lawyers.speeds.observe("reader", 0.1, 1.1, 100)
    assert (await decide(lawyers, loop("Statute 12."), limits=Limits(max_latency_ms=50))).specialist == "writer"
    chosen = await decide(lawyers, (LAW,), limits=Limits(max_latency_ms=1500))
    assert chosen.specialist == "reader"
    went_on = await decide(lawyers, loop("Statute 12."), limits=Limits(max_latency_ms=1500))
    assert went_on.specialist == "reader"


async def test_policy_and_budgets_take_an_open_loop_from_whoever_has_it(lawyers: Decider) -> None:
    barred = await decide(lawyers, loop("Statute 12."), Principal(tenant="guests"))
    assert barred.specialist == "reader"
    budget = Budget(Holder(HolderKind.TENANT, "acme"), Period.DAY, amount=60_000_000)
    left = Left((Standing(budget, Cost(), Cost(), 0, 2**40),))
    long = loop("statute text " * 1000)
    assert (await decide(lawyers, long)).specialist == "writer"
    spent = await decide(lawyers, long, left=left)
    assert spent.specialist == "reader"
    assert "writer could take more than the budget has left, so reader answers." in spent.reason
    limited = await decide(lawyers, long, limits=Limits(max_cost=0.02))
    assert limited.specialist == "reader"
    assert "writer would cost about 0.023" in limited.reason
