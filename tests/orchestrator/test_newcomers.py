"""A specialist that was added with nothing but a description is routed to by `auto`, under the same policy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from concertino.config import Settings, build
from concertino.errors import ConfigurationError
from concertino.orchestrator.decider import Decider, engineless
from concertino.orchestrator.newcomers import find_newcomers
from concertino.types import Decision, FunctionCall, Message, Principal, Ranking, Request, Role, Tier, ToolCall
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


def turns(*texts: str) -> list[Message]:
    """The user's turns, each but the last with an answer."""
    messages = [Message(Role.USER, texts[0])]
    for text in texts[1:]:
        messages += [Message(Role.ASSISTANT, "Here you go."), Message(Role.USER, text)]
    return messages


async def decided(decider: Decider, messages: Sequence[Message], tenant: str = "default") -> Decision:
    return (await decider.decide_many([Request(tuple(messages))], Principal(tenant=tenant)))[0]


CARRY_OVER = "what happens to them if I cannot take them all before the end of the year"


async def test_a_follow_up_stays_with_a_described_specialist_and_a_switch_leaves_it(
    team_settings: Callable[..., Settings],
) -> None:
    decider = with_cards(team_settings, HR)
    asked = [LEAVE, CARRY_OVER, "and in that case?", "write an email to my manager about it"]
    for count in (2, 3, 4):
        kept = await decided(decider, turns(*asked[:count]))
        assert (kept.specialist, kept.tier, kept.domain) == ("hr", Tier.DESCRIPTIONS, "hr")
        assert kept.earlier == ("hr",) * (count - 1)
        assert kept.reason.startswith("Kept from the turn before: hr")
    left = await decided(decider, turns(*asked, "How do I rebase a git branch?", "and in that case?"))
    assert left.specialist == "code" and left.tier in (Tier.LINEAR, Tier.NEIGHBOURS)
    assert left.earlier == ("hr", "hr", "hr", "hr", "code")
    back = await decided(decider, turns("How do I rebase a git branch?", f"Other topic: {LEAVE}"))
    assert (back.specialist, back.earlier) == ("hr", ("code",))
    assert back.reason.startswith("Switched: hr")


async def test_each_turn_of_a_described_specialist_is_found_again_in_any_process(
    team_settings: Callable[..., Settings],
) -> None:
    asked = [LEAVE, CARRY_OVER, "How do I rebase a git branch?", "thanks", "when is payday?"]
    along = with_cards(team_settings, HR)
    found = [await decided(along, turns(*asked[: place + 1])) for place in range(len(asked))]
    assert await decided(with_cards(team_settings, HR), turns(*asked)) == found[-1]
    assert list(found[-1].earlier) == [decision.specialist for decision in found[:-1]]


async def test_what_is_known_of_a_conversation_depends_on_who_may_be_chosen(
    team_settings: Callable[..., Settings],
) -> None:
    decider = with_cards(team_settings, HR, policy={"tenants": {"guests": ["general", "code"]}})
    asked = turns(LEAVE, "and in that case?")
    assert (await decided(decider, asked)).specialist == "hr"
    guest = await decided(decider, asked, "guests")
    assert (guest.specialist, guest.earlier) == ("general", ("general",))
    assert "hr" not in guest.scores
    assert (await decided(decider, asked)).specialist == "hr"


CALL = Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", FunctionCall("lookup", "{}")),))


async def test_a_described_specialist_keeps_its_open_tool_loop(team_settings: Callable[..., Settings]) -> None:
    for changes in ({}, {"router": {"conversations": False}}):
        decider = with_cards(team_settings, HR, **changes)
        loop = [*turns(LEAVE), CALL]
        answered = [*loop, Message(Role.TOOL, "12 days", tool_call_id="1")]
        for messages in (loop, answered, [*answered, *turns("By the way, what is anaemia?")][:3]):
            decision = await decided(decider, messages)
            assert (decision.specialist, decision.tier) == ("hr", Tier.DESCRIPTIONS)
            assert changes or decision.reason.startswith("Kept while a tool call is open: hr")


async def test_a_described_specialist_that_may_not_see_a_tool_s_answer_loses_its_loop_and_the_reason_says_so(
    team_settings: Callable[..., Settings],
) -> None:
    decider = with_cards(team_settings, HR)
    asked = turns(LEAVE)
    record = "Patient Maria Lopez, SSN 536-90-4399, was diagnosed with diabetes and takes metformin."
    loop = [*asked, CALL, Message(Role.TOOL, record, tool_call_id="1")]
    assert (await decided(decider, asked)).specialist == "hr"
    decision = await decided(decider, loop)
    assert "hr" in decision.verdict.excluded
    assert decision.specialist != "hr"
