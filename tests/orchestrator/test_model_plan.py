"""The generalist's plan: taken when it is right, repaired once, and never a way around the verdict."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from concertino.audit.read import AuditReader
from concertino.backends.base import Generation
from concertino.orchestrator.service import Service
from concertino.types import Decision, PartState, PlannedBy
from tests.orchestrator.workflows import THREE, Make, ask, make_service

TEXTS = ("What is a lien?", "write a Python function that adds.", "what helps against a fever?")


def written(*tasks: tuple[int, str, str, list[int]]) -> str:
    return json.dumps(
        {"tasks": [{"id": i, "text": text, "specialist": who, "depends_on": after} for i, text, who, after in tasks]}
    )


GOOD = written((1, TEXTS[0], "legal", []), (2, TEXTS[1], "code", []), (3, TEXTS[2], "medical", []))
CIRCLE = written((1, TEXTS[0], "legal", [3]), (2, TEXTS[1], "code", [1]), (3, TEXTS[2], "medical", [2]))
UNKNOWN = written((1, TEXTS[0], "pope", []), (2, TEXTS[1], "code", []), (3, TEXTS[2], "medical", []))
DROPS = written((1, TEXTS[0], "legal", []), (2, TEXTS[1], "code", []))


@pytest.fixture
def asked() -> list[tuple[str, Generation]]:
    return []


@pytest.fixture
async def make(tmp_path: Path, asked: list[tuple[str, Generation]]) -> AsyncIterator[Make]:
    made: list[Service] = []

    def build(*plans: str, **changes: Any) -> Service:
        how = {"general": {"answers": plans}, **changes.pop("how", {})}
        made.append(make_service(tmp_path, asked, workflow={"planner": "model"}, how=how, **changes))
        return made[-1]

    yield build
    for service in made:
        await service.close()


def shape(decision: Decision) -> list[tuple[int, str, tuple[int, ...]]]:
    assert decision.plan is not None
    return [(task.id, task.specialist, task.depends_on) for task in decision.plan.tasks]


async def test_a_valid_plan_is_carried_out(make: Make, asked: list[tuple[str, Generation]]) -> None:
    answer = await make(GOOD).answer(ask(THREE))
    assert answer.decision.plan is not None
    assert answer.decision.plan.planned_by is PlannedBy.MODEL
    assert [part.specialist for part in answer.parts] == ["legal", "code", "medical"]
    assert answer.usage.completion_tokens == 20, "the plan is paid for too"
    schema = (asked[0][1].response_format or {})["json_schema"]["schema"]
    assert schema["properties"]["tasks"]["maxItems"] == 6
    who = schema["properties"]["tasks"]["items"]["properties"]["specialist"]["enum"]
    assert who == ["general", "code", "legal", "finance", "medical"]


async def test_the_router_and_not_the_plan_says_who_answers(make: Make) -> None:
    wrong = written((1, TEXTS[0], "code", []), (2, TEXTS[1], "medical", []), (3, TEXTS[2], "legal", []))
    decision = await make(wrong).plan(ask(THREE))
    assert shape(decision) == [(1, "legal", ()), (2, "code", ()), (3, "medical", ())]


async def test_tasks_are_put_in_an_order_in_which_they_can_be_done(make: Make) -> None:
    plan = written((3, TEXTS[0], "legal", [1]), (1, TEXTS[1], "code", []), (2, TEXTS[2], "medical", [3, 1]))
    decision = await make(plan).plan(ask(THREE))
    assert shape(decision) == [(1, "code", ()), (2, "legal", (1,)), (3, "medical", (1, 2))]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (CIRCLE, "Sub-tasks 1, 2, 3 wait for each other."),
        (UNKNOWN, "Sub-task 1 names 'pope', who may not see this request."),
        (DROPS, "No sub-task asks for this part of the request: 'what helps against a fever?'"),
        ("{", "The plan is not whole."),
        ('{"tasks": [], "note": "x"}', "The plan is not whole."),
        ("[" * 5000, "The plan is not whole."),
    ],
)
async def test_a_wrong_plan_is_told_so_and_repaired_once(
    make: Make, asked: list[tuple[str, Generation]], bad: str, said: str
) -> None:
    decision = await make(bad, GOOD).plan(ask(THREE))
    assert decision.plan is not None
    assert decision.plan.planned_by is PlannedBy.MODEL
    assert said in asked[1][1].messages[-1].text
    asked.clear()
    decision = await make(bad, bad).plan(ask(THREE))
    assert decision.plan is not None
    assert decision.plan.planned_by is PlannedBy.SEGMENTS
    assert shape(decision) == [(1, "legal", ()), (2, "code", ()), (3, "medical", ())]
    assert len(asked) == 2
    assert "The plan was wrong twice" in decision.reason


@pytest.mark.parametrize(
    "how", [{"fails": True}, {"breaks": True, "answers": ["x"]}, {"schemas": False}], ids=lambda how: next(iter(how))
)
async def test_a_generalist_that_cannot_plan_leaves_the_segments(make: Make, how: dict[str, Any]) -> None:
    decision = await make(how={"general": how}).plan(ask(THREE))
    assert decision.plan is not None
    assert decision.plan.planned_by is PlannedBy.SEGMENTS


async def test_a_generalist_that_may_not_see_the_request_is_not_asked(
    make: Make, asked: list[tuple[str, Generation]]
) -> None:
    service = make(GOOD, policy={"tenants": {"default": ["legal", "code", "medical"]}})
    decision = await service.plan(ask(THREE))
    assert asked == []
    assert shape(decision) == [(1, "legal", ()), (2, "code", ()), (3, "medical", ())]


async def test_a_plan_that_was_asked_for_is_on_record(make: Make, tmp_path: Path) -> None:
    await make(GOOD).plan(ask(THREE), request_id="planned")
    entry = AuditReader(tmp_path / "audit.db").show("planned")
    assert entry.outcome == "completed"
    assert entry.begin["model_hashes"] == {"general": "sha256:general"}


async def test_a_plan_of_segments_asks_nobody_and_leaves_no_record(
    make: Make, asked: list[tuple[str, Generation]], tmp_path: Path
) -> None:
    service = make_service(tmp_path, asked)
    try:
        assert (await service.plan(ask(THREE))).plan is not None
        assert (await service.plan(ask("What is a lien?"))).plan is None
    finally:
        await service.close()
    assert asked == []


async def test_a_plan_that_never_ends_has_a_share_of_the_time_and_the_segments_the_rest(make: Make) -> None:
    service = make_service(
        Path(make().settings.home), [], workflow={"planner": "model", "deadline_s": 3.0},
        how={"general": {"pause_s": 60.0}},
    )  # fmt: skip
    try:
        answer = await service.answer(ask(THREE))
        assert [part.specialist for part in answer.parts] == ["legal", "code", "medical"]
        assert [part.state for part in answer.parts] == [PartState.COMPLETED] * 3
        assert "The plan was not done within 1.2 s, so its segments are the parts." in answer.decision.reason
        planned = await service.plan(ask(THREE))
        assert planned.plan is not None
        assert planned.plan.planned_by is PlannedBy.SEGMENTS
    finally:
        await service.close()


async def test_a_plan_with_health_data_that_the_request_has_not_is_not_carried_out(
    make: Make, asked: list[tuple[str, Generation]]
) -> None:
    told = f"{TEXTS[1]} Jane Doe, MRN 4711-0815, has HIV"
    plan = written((1, TEXTS[0], "legal", []), (2, told, "code", []), (3, TEXTS[2], "medical", []))
    service = make(plan)
    answer = await service.answer(ask(THREE))
    assert answer.decision.plan is not None
    assert answer.decision.plan.planned_by is PlannedBy.SEGMENTS
    assert "The plan says what not all may see" in answer.decision.reason
    assert not any("HIV" in message.text for _, generation in asked for message in generation.messages)


async def test_a_plan_of_one_thing_is_the_whole_request_for_one_specialist(
    make: Make, asked: list[tuple[str, Generation]], tmp_path: Path
) -> None:
    one = written((1, " ".join(TEXTS), "code", []))
    service = make(one, one)
    planned = await service.plan(ask(THREE))
    assert (planned.plan, planned.specialist) == (None, "legal")
    asked.clear()
    answer = await service.answer(ask(THREE), request_id="alone")
    assert (answer.specialist, answer.decision.specialist, answer.parts) == ("legal", "legal", ())
    assert answer.text == f"legal: {THREE} "
    assert answer.decision.reason == "Reads like legal. general found one thing in it."
    assert asked[-1][1].messages[-1].text == THREE
    end = AuditReader(tmp_path / "audit.db").show("alone").end
    assert end is not None
    assert end["answered_by"] == "legal"


async def test_a_plan_of_one_thing_whose_specialist_is_away_is_answered_by_the_default(make: Make) -> None:
    one = written((1, " ".join(TEXTS), "code", []))
    answer = await make(one, how={"legal": {"fails": True}}).answer(ask(THREE))
    assert (answer.specialist, answer.decision.specialist) == ("general", "general")
    assert answer.decision.reason.endswith("legal could not be reached, so general answers.")
