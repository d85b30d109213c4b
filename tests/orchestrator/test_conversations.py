"""A conversation through the whole decision: policy, router, what is left out, and why."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from concertino.audit.log import AuditLog
from concertino.audit.read import AuditReader
from concertino.config import Settings
from concertino.errors import ContextTooLong
from concertino.orchestrator.decider import make_decider
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.service import Service
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics
from concertino.types import Decision, FunctionCall, Message, Principal, Request, Role, Tier, ToolCall

CODE = "Write a Python function that parses a CSV file into dataclasses."
SWITCH = "By the way, what are symptoms of a heart attack?"


@pytest.fixture
async def service(team_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Service]:
    settings = team_settings(policy={"tenants": {"no-code": ["general", "legal", "medical"]}})
    pool = Pool(settings, Path, lambda card: f"sha256:{card.name}")
    log = AuditLog(tmp_path / "audit.db", key_path=tmp_path / "audit.key")
    service = Service(settings, pool, make_decider(settings, pool), Recorder(log), Metrics())
    yield service
    await service.close()


def user(text: str) -> Message:
    return Message(Role.USER, text)


def talk(*turns: str) -> tuple[Message, ...]:
    messages = [user(turns[0])]
    for turn in turns[1:]:
        messages += [Message(Role.ASSISTANT, "All right."), user(turn)]
    return tuple(messages)


async def decided(service: Service, messages: tuple[Message, ...], tenant: str = "default") -> Decision:
    return await service.decide(Request(messages), Principal(tenant=tenant))


async def test_a_follow_up_stays_and_a_switch_switches_and_the_reason_says_which(service: Service) -> None:
    kept = await decided(service, talk(CODE, "now shorter"))
    assert (kept.specialist, kept.tier, kept.domain, kept.earlier) == ("code", Tier.LINEAR, "code", ("code",))
    assert kept.reason.startswith("Kept from the turn before: code")
    switched = await decided(service, talk(CODE, "now shorter", SWITCH))
    assert (switched.specialist, switched.earlier) == ("medical", ("code", "code"))
    assert switched.reason.startswith("Switched: medical")


LOOP = (
    user(CODE),
    Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", FunctionCall("search", "{}")),)),
    Message(Role.TOOL, "Symptoms of pneumonia are fever, cough and chest pain.", tool_call_id="1"),
)


async def test_policy_beats_the_lock_of_an_open_tool_loop(service: Service) -> None:
    locked = await decided(service, LOOP)
    assert locked.specialist == "code"
    barred = await decided(service, LOOP, "no-code")
    assert barred.specialist == "general"
    assert "tool call is open: code" in barred.reason
    assert "code is not eligible." in barred.reason


async def test_a_long_conversation_is_decided_and_its_reason_says_what_is_left_out(service: Service) -> None:
    turns = [CODE] + [
        f"and what about function number {number}? " + "Look at it closely. " * 5 for number in range(299)
    ]
    decision = await decided(service, talk(*turns))
    assert decision.specialist == "code"
    assert len(decision.earlier) == 299
    assert "exchanges left out to fit its context" in decision.reason
    with pytest.raises(ContextTooLong):
        await service.decide(Request(talk(*turns), "code"))
    with pytest.raises(ContextTooLong):
        await decided(service, talk(*turns * 10))


async def test_a_single_text_that_is_too_long_is_refused_as_before(service: Service) -> None:
    with pytest.raises(ContextTooLong):
        await decided(service, (user("word " * 20_000),))


async def test_the_next_specialist_sees_who_answered_and_the_audit_log_what_was_sent(
    service: Service, tmp_path: Path
) -> None:
    answer = await service.answer(Request(talk(CODE, SWITCH)))
    assert answer.specialist == "medical"
    entry = AuditReader(tmp_path / "audit.db").show(answer.id)
    assert entry.begin["decision"]["earlier"] == ["code"]


async def test_answers_are_timed_for_the_choice(service: Service) -> None:
    await service.answer(Request((user(CODE),)))
    speed = service.decider.speeds.get("code")
    assert speed is not None
    assert speed.answers == 1


async def test_conversations_can_be_left_to_the_router(team_settings: Callable[..., Settings]) -> None:
    settings = team_settings(router={"conversations": False})
    decider = make_decider(settings, Pool(settings, Path, lambda card: ""))
    (decision,) = await decider.decide_many([Request(talk(CODE, "now shorter"))])
    assert decision.specialist == "code"
    assert decision.earlier == ()
