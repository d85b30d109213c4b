"""A specialist that was added with nothing but a description is routed to by `auto`, under the same policy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from concertino.config import Settings, build
from concertino.errors import ConfigurationError
from concertino.orchestrator.decider import Decider, engineless
from concertino.orchestrator.newcomers import find_newcomers
from concertino.types import Decision, Message, Principal, Ranking, Request, Role, Tier
from tests.teams import echo_team

pytestmark = pytest.mark.models


@pytest.fixture
def team_settings(published: Path) -> Callable[..., Settings]:
    """As everywhere, in a home folder that has the encoder."""
    return lambda **changes: build(echo_team(home=str(published), **changes), "a test")


HR = {
    "name": "hr",
    "description": "Human resources: vacation days and leave, salary and payday, benefits, hiring and onboarding.",
    "backend": "echo",
    "model": "echo",
}
LEAVE = "How many vacation days do I have left this year?"


def with_cards(team_settings: Callable[..., Settings], *cards: dict[str, Any], **changes: Any) -> Decider:
    return engineless(team_settings(specialists=[*echo_team()["specialists"], *cards], **changes))


async def decide(decider: Decider, text: str, tenant: str = "default") -> Decision:
    principal = Principal(tenant=tenant)
    return (await decider.decide_many([Request((Message(Role.USER, text),))], principal))[0]


async def test_a_description_is_enough_to_be_routed_to(team_settings: Callable[..., Settings]) -> None:
    decision = await decide(with_cards(team_settings, HR), LEAVE)
    assert (decision.specialist, decision.tier) == ("hr", Tier.DESCRIPTIONS)
    assert next(iter(decision.scores)) == "hr"
    assert "hr is described as" in decision.reason


async def test_the_others_keep_their_questions(team_settings: Callable[..., Settings]) -> None:
    decider = with_cards(team_settings, HR)
    for name, text in (("code", "How do I rebase a git branch?"), ("medical", "What are symptoms of anaemia?")):
        decision = await decide(decider, text)
        assert (decision.specialist, decision.tier) == (name, Tier.LINEAR)
        assert decision.scores["hr"] < 0.5


async def test_policy_comes_first(team_settings: Callable[..., Settings]) -> None:
    decider = with_cards(team_settings, HR, policy={"tenants": {"guests": ["general", "code"]}})
    decision = await decide(decider, LEAVE, "guests")
    assert decision.specialist != "hr"
    assert "hr" not in decision.scores
    assert (await decide(decider, LEAVE)).specialist == "hr"


async def test_a_domain_of_another_name_leads_to_whoever_serves_it(team_settings: Callable[..., Settings]) -> None:
    decider = with_cards(team_settings, {**HR, "name": "people", "domains": ["hr"]})
    assert (await decide(decider, LEAVE)).specialist == "people"


async def test_a_team_that_the_head_knows_needs_no_second_tier(team_settings: Callable[..., Settings]) -> None:
    assert with_cards(team_settings).newcomers is None
    assert with_cards(team_settings, {**HR, "description": ""}).newcomers is None
    assert with_cards(team_settings, {**HR, "name": "counsel", "domains": ["legal"]}).newcomers is None


async def test_the_default_specialist_is_no_newcomer_whatever_it_is_called(
    team_settings: Callable[..., Settings],
) -> None:
    cards = [card for card in echo_team()["specialists"] if card["name"] != "general"]
    settings = team_settings(
        specialists=[{**HR, "name": "desk", "description": "Everything."}, *cards], router={"default": "desk"}
    )
    assert engineless(settings).newcomers is None


class KnowsNothingElse:
    """A stranger's router with domains of its own."""

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        return [Ranking({"code": 0.9, "general": 0.1}, 0.9, "code", "a test")] * len(conversations)


async def test_whom_a_strangers_router_does_not_know_is_found_by_its_description(
    team_settings: Callable[..., Settings],
) -> None:
    found = find_newcomers(with_cards(team_settings, HR).pool, KnowsNothingElse())
    assert found is not None
    assert [item.domain for item in found.tier.described] == ["legal", "finance", "medical", "hr"]


COUNSEL = {
    **HR,
    "name": "counsel",
    "description": "Law and contracts: clauses, liability, tenancy, court decisions, statutes and what they mean.",
}


async def test_a_described_specialist_stands_in_for_a_domain_that_nobody_else_serves(
    team_settings: Callable[..., Settings],
) -> None:
    cards = [card for card in echo_team()["specialists"] if card["name"] != "legal"]
    decider = engineless(team_settings(specialists=[*cards, COUNSEL]))
    for text in ("Can my landlord evict me without notice?", "Explain the indemnity clause of this agreement."):
        decision = await decide(decider, text)
        assert (decision.specialist, decision.tier) == ("counsel", Tier.DESCRIPTIONS)
        assert "Reads like legal" in decision.reason and "counsel is described as" in decision.reason
        assert decision.confidence == decision.scores["counsel"] > 0.5
    for name, text in (("code", "How do I rebase a git branch?"), ("medical", "What are symptoms of anaemia?")):
        assert (await decide(decider, text)).specialist == name


async def test_who_serves_a_domain_keeps_it_from_a_stand_in(team_settings: Callable[..., Settings]) -> None:
    asked = "Can I be fired while on sick leave?"  # law, but like nothing that counsel is described as
    decision = await decide(with_cards(team_settings, COUNSEL), asked)
    assert (decision.specialist, decision.tier) == ("legal", Tier.LINEAR)
    cards = [card for card in echo_team()["specialists"] if card["name"] != "legal"]
    alone = await decide(engineless(team_settings(specialists=[*cards, COUNSEL])), asked)
    assert (alone.specialist, alone.tier) == ("counsel", Tier.DESCRIPTIONS)


async def test_a_text_that_the_router_is_sure_is_anothers_stays_with_them(
    team_settings: Callable[..., Settings],
) -> None:
    travel = {**HR, "name": "travel", "description": "Travel: flights, hotels, visas, luggage, sights, trips abroad."}
    decider = with_cards(team_settings, travel)
    decision = await decide(decider, "does my visa card work abroad")
    assert decision.specialist == "finance"
    assert decision.scores["travel"] < 0.01
    assert "though it fits what travel is described as" in decision.reason
    assert (await decide(decider, "do I need a visa for Vietnam")).specialist == "travel"
    compound = await decide(decider, "How do I rebase a git branch on main? And also, does my visa card work abroad?")
    assert compound.plan is not None
    assert [task.specialist for task in compound.plan.tasks] == ["code", "finance"]


async def test_a_stand_in_that_policy_excluded_is_not_chosen(team_settings: Callable[..., Settings]) -> None:
    cards = [card for card in echo_team()["specialists"] if card["name"] != "legal"]
    settings = team_settings(specialists=[*cards, COUNSEL], policy={"tenants": {"guests": ["general", "code"]}})
    decision = await decide(engineless(settings), "Can my landlord evict me without notice?", "guests")
    assert decision.specialist != "counsel"
    assert "counsel" not in decision.scores


async def test_a_described_specialist_takes_its_part_of_a_compound_request(
    team_settings: Callable[..., Settings],
) -> None:
    cards = [card for card in echo_team()["specialists"] if card["name"] != "legal"]
    decider = engineless(team_settings(specialists=[*cards, COUNSEL, HR]))
    for text, who in (
        ("Can my landlord evict me without notice? And also, how do I rebase a git branch on main?", "counsel"),
        ("How many vacation days do I have left this year? And also, how do I rebase a git branch on main?", "hr"),
    ):
        decision = await decide(decider, text)
        assert decision.plan is not None
        assert [task.specialist for task in decision.plan.tasks] == [who, "code"]


async def test_who_is_named_says_that_a_question_is_a_described_specialist_s(
    team_settings: Callable[..., Settings],
) -> None:
    cards = [card | {"scope": "note"} for card in echo_team()["specialists"] if card["name"] != "legal"]
    decider = engineless(team_settings(specialists=[*cards, COUNSEL]))
    asked = Request((Message(Role.USER, "Can my landlord evict me without notice?"),), "code")
    (decision,) = await decider.decide_many([asked])
    assert decision.referral is not None and decision.referral.specialist == "counsel"


async def test_contradictory_examples_are_refused_when_the_team_is_made(team_settings: Callable[..., Settings]) -> None:
    travel = {**HR, "name": "travel", "description": "Travel.", "examples": ["Book a meeting room in Rome"]}
    with pytest.raises(ConfigurationError, match="stands on the cards of hr and travel"):
        with_cards(team_settings, {**HR, "examples": ["book a meeting room in rome"]}, travel)


async def test_weights_that_are_not_there_are_named(team_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigurationError, match="description weights in /nowhere lack"):
        with_cards(team_settings, HR, router={"descriptions": "/nowhere"})


async def test_without_the_encoder_the_team_works_and_says_what_to_pull(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cards = [*echo_team()["specialists"], HR]
    decider = engineless(build(echo_team(home=str(tmp_path), specialists=cards), "a test"))
    assert "concertino pull all-MiniLM-L6-v2" in caplog.text and "hr" in caplog.text
    assert (await decide(decider, LEAVE)).specialist != "hr"
