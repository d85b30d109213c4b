"""Quality against price and time: who answers of those that could."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from concertino.config import Settings
from concertino.errors import ConfigurationError, InvalidRequest, UnsupportedParameter
from concertino.gateway.openai_request import parse_chat, with_limits
from concertino.orchestrator import choice, tradeoff
from concertino.orchestrator.decider import engineless
from concertino.specialists.pool import Pool
from concertino.telemetry.speed import Speeds
from concertino.types import Decision, Limits, Message, Ranking, Request, Role, Sampling, Verdict

LAW = Ranking({"legal": 0.9, "finance": 0.06, "general": 0.04}, 0.9, "legal", "It reads like law.")
TEXT = "Can my landlord keep the deposit after the lease has ended?"


def law_firm() -> list[dict[str, Any]]:
    """A dear and good lawyer, a cheap one nearly as good, and a free generalist."""

    def card(name: str, price: float, quality: float | None, **more: Any) -> dict[str, Any]:
        about = {"name": name, "description": name, "backend": "echo", "model": "echo", "compliance": ["on_prem"]}
        return about | {"price": {"prompt": price, "completion": price}, "quality": quality} | more

    return [
        card("general", 0.1, None),
        card("legal", 10.0, 0.90, domains=["legal"]),
        card("paralegal", 2.0, 0.83, domains=["legal"]),
        card("finance", 0.01, None),
    ]


@pytest.fixture
def firm(team_settings: Callable[..., Settings]) -> Pool:
    return Pool(team_settings(specialists=law_firm()), Path, lambda card: "")


def settled(pool: Pool, model: str = "auto", speeds: Speeds | None = None, **limits: Any) -> Decision:
    request = Request((Message(Role.USER, TEXT),), model, Sampling(max_tokens=100), limits=Limits(**limits))
    verdict = Verdict(tuple(specialist.card.name for specialist in pool))
    decision = choice.ranked(pool, LAW, verdict, "general")
    return tradeoff.settle(pool, request, decision, pool.settings.router, speeds or Speeds())


def test_auto_takes_the_cheaper_of_two_that_are_nearly_as_good(firm: Pool) -> None:
    decision = settled(firm)
    assert decision.specialist == "paralegal"
    assert "92% of the quality of legal at 20% of the price" in decision.reason


def test_who_has_answered_is_no_dearer_or_cheaper_for_it(firm: Pool) -> None:
    for name in ("legal", "paralegal", "general"):
        speeds = Speeds()
        speeds.observe(name, 0.1, 1.0, 1)  # far from the max_tokens that the others' cards have
        assert settled(firm, speeds=speeds).specialist == "paralegal"
    both = Speeds()
    both.observe("legal", 0.1, 1.0, 1)
    both.observe("paralegal", 0.1, 9.0, 900)
    assert settled(firm, speeds=both).specialist == "paralegal"


def test_a_price_limit_counts_by_the_answers_so_far_where_there_are_any(firm: Pool) -> None:
    speeds = Speeds()
    speeds.observe("paralegal", 0.1, 1.0, 10)
    # about 30 tokens: 0.0003 for legal
    assert settled(firm, "auto:best", speeds, max_cost=0.0005).specialist == "legal"


def test_earlier_turns_are_those_of_whom_the_trade_off_gave_them_to(firm: Pool) -> None:
    messages = (Message(Role.USER, TEXT), Message(Role.ASSISTANT, "No."), Message(Role.USER, "Who painted that?"))
    names = tuple(specialist.card.name for specialist in firm)
    found = Ranking({"general": 0.9, "legal": 0.1}, 0.9, "general", "Switched.", earlier=("legal",))
    for model, who in (("auto", "paralegal"), ("auto:best", "legal"), ("auto:cheap", "general")):
        decision = choice.ranked(firm, found, Verdict(names), "general")
        settled = tradeoff.settle(firm, Request(messages, model), decision, firm.settings.router, Speeds())
        assert settled.earlier == (who,)


def test_best_takes_the_best_whatever_it_costs(firm: Pool) -> None:
    assert settled(firm, "auto:best").specialist == "legal"


def test_cheap_goes_down_to_the_generalist_but_not_to_a_stranger_who_is_cheaper_still(firm: Pool) -> None:
    assert settled(firm, "auto:cheap").specialist == "general"


def test_the_trade_off_is_a_setting(firm: Pool) -> None:
    firm.settings = structs.replace(firm.settings, router=structs.replace(firm.settings.router, quality_share=1.0))
    assert settled(firm).specialist == "legal"


def test_a_team_without_prices_and_figures_is_decided_by_the_router_alone(
    team_settings: Callable[..., Settings],
) -> None:
    pool = Pool(team_settings(), Path, lambda card: "")
    for model in ("auto", "auto:cheap", "auto:best"):
        assert settled(pool, model) == choice.ranked(pool, LAW, settled(pool).verdict, "general")


def test_a_price_limit_is_kept_and_the_reason_says_so(firm: Pool) -> None:
    # about 120 tokens: 0.0012 for legal, 0.00024 for paralegal, 0.000012 for general
    decision = settled(firm, "auto:best", max_cost=0.0005)
    assert decision.specialist == "paralegal"
    assert "legal would cost about 0.0012, so paralegal answers" in decision.reason


def test_a_price_that_nobody_keeps_is_an_error_that_names_the_cheapest(firm: Pool) -> None:
    with pytest.raises(InvalidRequest, match="the cheapest, general, takes about") as caught:
        settled(firm, max_cost=0.000001)
    assert caught.value.param == "concertino.max_cost"


def timed(**seconds: float) -> Speeds:
    """Each specialist's first token after so long, and ten tokens a second from there."""
    speeds = Speeds()
    for name, first in seconds.items():
        speeds.observe(name, first, first + 10.0, 100)
    return speeds


def test_a_slow_specialist_gives_way_to_one_that_is_in_time(firm: Pool) -> None:
    speeds = timed(legal=3.0, paralegal=0.2, general=0.1)
    decision = settled(firm, "auto:best", speeds, max_latency_ms=1000, first_token=True)
    assert decision.specialist == "paralegal"
    assert "legal takes about 3000 ms, so paralegal answers" in decision.reason


def test_of_a_whole_answer_the_last_token_counts(firm: Pool) -> None:
    decision = settled(firm, "auto:best", timed(legal=0.3, paralegal=0.2, general=0.1), max_latency_ms=5000)
    assert "Nobody keeps 5000 ms; general is the fastest, about 10100 ms" in decision.reason
    assert decision.specialist == "general"


def test_a_specialist_that_was_never_timed_is_given_a_chance(firm: Pool) -> None:
    assert settled(firm, "auto:best", timed(paralegal=9.0), max_latency_ms=1).specialist == "legal"


def test_what_no_engine_can_do_is_refused_before_anybody_is_asked(firm: Pool) -> None:
    request = Request((Message(Role.USER, TEXT),), extra={"mirostat": 2})
    decision = choice.ranked(firm, LAW, Verdict(("general", "legal")), "general")
    with pytest.raises(UnsupportedParameter, match="mirostat"):
        tradeoff.settle(firm, request, decision, firm.settings.router, Speeds())


async def test_limits_are_for_auto(team_settings: Callable[..., Settings]) -> None:
    decider = engineless(team_settings())
    request = Request((Message(Role.USER, TEXT),), "legal", limits=Limits(max_cost=1.0))
    with pytest.raises(InvalidRequest, match="ask model 'auto'"):
        await decider.decide_many([request])


def test_running_means_follow_and_ignore_what_says_nothing() -> None:
    speeds = Speeds()
    speeds.observe("code", None, 5.0, 0)
    assert speeds.get("code") is None
    speeds.observe("code", 1.0, 3.0, 20)
    speeds.observe("code", 2.0, 2.1, 1)
    known = speeds.get("code")
    assert known is not None
    assert known.first_token_s == pytest.approx(1.2)
    assert (known.tokens_per_s, known.answers) == (10.0, 2)
    assert known.seconds(None) == known.first_token_s
    assert known.seconds(10) == pytest.approx(2.2)


def test_limits_come_by_field_or_by_header_and_the_field_counts_more() -> None:
    raw: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    assert parse_chat(raw).request.limits == Limits()
    headers = {b"x-concertino-max-latency-ms": "800", b"x-concertino-max-cost": "0.01"}
    assert parse_chat(with_limits(raw, headers)).request.limits == Limits(800, 0.01, first_token=True)
    own = raw | {"concertino": {"max_latency_ms": 200}}
    assert parse_chat(with_limits(own, headers)).request.limits == Limits(200, 0.01, first_token=True)
    with pytest.raises(InvalidRequest, match="must be a number"):
        with_limits(raw, {b"x-concertino-max-cost": "much"})
    with pytest.raises(InvalidRequest, match="max_latency_ms"):
        parse_chat(raw | {"concertino": {"max_latency_ms": -1}})


def test_a_share_outside_of_0_to_1_is_refused(team_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigurationError, match=r"router\.cheap_share"):
        team_settings(router={"cheap_share": 2})
