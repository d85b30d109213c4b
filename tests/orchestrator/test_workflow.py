"""Several specialists at work on one request: order, failure, limits, what is on record."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from concertino.audit.read import AuditReader
from concertino.backends.base import Generation
from concertino.errors import AuditUnavailable, BackendError, BackendTimeout, BackendUnavailable
from concertino.orchestrator.service import Service
from concertino.orchestrator.workflow import Workflow
from concertino.types import Chunk, FinishReason, PartState, Role, Sampling, Usage
from tests.orchestrator.workflows import THREE, Make, Saying, ask, make_service

FOUR = THREE + " Then summarise it in one sentence."


@pytest.fixture
def asked() -> list[tuple[str, Generation]]:
    return []


@pytest.fixture
async def make(tmp_path: Path, asked: list[tuple[str, Generation]]) -> AsyncIterator[Make]:
    made: list[Service] = []

    def build(**changes: Any) -> Service:
        made.append(make_service(tmp_path, asked, **changes))
        return made[-1]

    yield build
    for service in made:
        await service.close()


def backend(service: Service, name: str) -> Saying:
    found = service.pool.backends[name]
    assert isinstance(found, Saying)
    return found


def ended(tmp_path: Path, id: str) -> list[tuple[str, str, str | None]]:
    """How the parts of a request ended, as its closing record has it."""
    end = AuditReader(tmp_path / "audit.db").show(id).end
    assert end is not None
    return [(part["specialist"], part["state"], part["error"]) for part in end["parts"]]


async def until_all_run(service: Service, names: Iterable[str]) -> None:
    for _ in range(6000):
        if all(backend(service, name).running for name in names):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not all parts began")


async def test_the_answer_has_the_parts_in_order_and_says_who_gave_each(make: Make) -> None:
    answer = await make().answer(ask(THREE))
    assert answer.text == (
        "### 1. What is a lien? (legal)\n\nlegal: What is a lien? \n\n"
        "### 2. Write a Python function that adds. (code)\n\ncode: write a Python function that adds. \n\n"
        "### 3. What helps against a fever? (medical)\n\nmedical: what helps against a fever? \n\n"
        "---\nAnswered: 1 by legal, 2 by code, 3 by medical."
    )
    assert [(part.specialist, part.state) for part in answer.parts] == [
        ("legal", PartState.COMPLETED),
        ("code", PartState.COMPLETED),
        ("medical", PartState.COMPLETED),
    ]
    assert answer.usage == Usage(30, 15, 6)
    assert (answer.specialist, answer.finish_reason) == ("several", FinishReason.STOP)


async def test_parts_run_at_once_as_many_as_the_settings_say_and_come_in_order(make: Make) -> None:
    for width in (1, 3):
        slow = {"how": {name: {"pause_s": 0.01} for name in ("legal", "code", "medical")}}
        service = make(workflow={"concurrency": width}, **slow)
        began: list[int] = []
        most = 0
        async with service.answering(ask(THREE)) as run:
            async for chunk in run.chunks():
                if chunk.part and chunk.part.state is PartState.RUNNING:
                    began.append(chunk.part.id)
                most = max(most, sum(backend(service, name).running for name in ("legal", "code", "medical")))
        assert began == [1, 2, 3]
        assert most == width
        assert run.answer().text.index("(legal)") < run.answer().text.index("(code)") < run.answer().text.index("(med")


async def test_each_part_is_asked_only_its_own_words(make: Make, asked: list[tuple[str, Generation]]) -> None:
    await make().answer(ask(THREE, sampling=Sampling(temperature=0.0)))
    said = {who: [message.text for message in generation.messages] for who, generation in asked}
    assert said["code"] == ["write a Python function that adds."]
    assert all(generation.sampling.temperature == 0.0 for _, generation in asked)


async def test_a_part_that_builds_on_another_is_given_its_answer(
    make: Make, asked: list[tuple[str, Generation]]
) -> None:
    await make(how={"medical": {"answers": ["Rest and water."]}}).answer(ask(FOUR))
    (generation,) = [one for who, one in asked if who == "medical" and len(one.messages) > 1]
    assert [(message.role, message.text.strip()) for message in generation.messages] == [
        (Role.USER, "what helps against a fever?"),
        (Role.ASSISTANT, "Rest and water."),
        (Role.USER, "summarise it in one sentence."),
    ]


async def test_headings_leave_out_what_several_parts_are_given(make: Make) -> None:
    answer = await make().answer(ask("Please answer in German.\n1. What is a lien?\n2. Write a Python loop."))
    assert "### 1. What is a lien? (legal)\n\nlegal: Please answer in German." in answer.text
    assert "### 2. Write a Python loop. (code)\n\ncode: Please answer in German." in answer.text


async def test_a_failure_is_told_in_the_answer_and_the_rest_is_given(make: Make) -> None:
    answer = await make(how={"code": {"breaks": True, "answers": ["```python\nx ="]}}).answer(ask(THREE))
    assert "*Broken off: code broke off*" in answer.text
    assert "Answered: 1 by legal, 3 by medical.\nNot answered: 2 (code): code broke off" in answer.text
    assert answer.text.count("```") == 2, "an open code block would swallow the rest"
    assert [(part.state, part.error) for part in answer.parts] == [
        (PartState.COMPLETED, None),
        (PartState.FAILED, "backend_error"),
        (PartState.COMPLETED, None),
    ]


async def test_what_builds_on_a_failure_is_skipped_and_says_so(make: Make) -> None:
    answer = await make(how={"medical": {"fails": True}, "general": {"fails": True}}).answer(ask(FOUR))
    assert [part.state for part in answer.parts][2:] == [PartState.FAILED, PartState.SKIPPED]
    assert "4 (medical): It builds on part 3, which has no answer." in answer.text


async def test_an_unreachable_specialist_is_replaced_by_the_generalist_within_the_verdict(make: Make) -> None:
    answer = await make(how={"code": {"fails": True}}).answer(ask(THREE))
    assert [part.specialist for part in answer.parts] == ["legal", "general", "medical"]
    assert answer.text.endswith(
        "Answered: 1 by legal, 2 by general, 3 by medical.\nPart 2: code could not be reached, so general answers."
    )
    assert answer.decision.reason.endswith("3 medical. Part 2: code could not be reached, so general answers.")
    assert answer.decision.plan is not None
    assert [task.specialist for task in answer.decision.plan.tasks] == ["legal", "general", "medical"]
    barred = make(how={"code": {"fails": True}}, policy={"tenants": {"default": ["legal", "code", "medical"]}})
    answer = await barred.answer(ask(THREE))
    assert answer.parts[1].state is PartState.FAILED


async def test_when_every_part_fails_the_request_fails(make: Make, tmp_path: Path) -> None:
    service = make(how={name: {"fails": True} for name in ("legal", "code", "medical", "general")})
    with pytest.raises(BackendUnavailable):
        await service.answer(ask(THREE), request_id="all-failed")
    entry = AuditReader(tmp_path / "audit.db").show("all-failed")
    assert entry.outcome == "failed"
    assert entry.end is not None
    assert [part["state"] for part in entry.end["parts"]] == ["failed"] * 3


async def test_when_every_part_breaks_off_the_stream_ends_in_an_error(make: Make) -> None:
    service = make(how={name: {"breaks": True} for name in ("legal", "code", "medical")})
    with pytest.raises(BackendError):
        await service.answer(ask(THREE))


async def test_what_is_not_done_by_the_deadline_is_late_and_what_was_written_is_kept(make: Make) -> None:
    service = make(workflow={"deadline_s": 2.5, "concurrency": 3}, how={"code": {"pause_s": 0.6}})
    answer = await service.answer(ask(THREE))
    assert [part.state for part in answer.parts] == [PartState.COMPLETED, PartState.LATE, PartState.COMPLETED]
    assert "*Broken off: It was not done within the 2.5 s that the whole request has.*" in answer.text
    slow = {name: {"pause_s": 9.0} for name in ("legal", "code", "medical")}
    with pytest.raises(BackendTimeout):
        await make(workflow={"deadline_s": 0.1}, how=slow).answer(ask(THREE))
    assert all(backend(service, name).running == 0 for name in slow)


async def test_tokens_are_shared_among_the_parts(make: Make, asked: list[tuple[str, Generation]]) -> None:
    await make(workflow={"max_tokens": 300}).answer(ask(THREE))
    assert {generation.sampling.max_tokens for _, generation in asked} == {100}
    asked.clear()
    await make().answer(ask(THREE, sampling=Sampling(max_tokens=180)))
    assert {generation.sampling.max_tokens for _, generation in asked} == {60}


async def test_a_reader_who_leaves_stops_every_part(make: Make, tmp_path: Path) -> None:
    slow = {name: {"pause_s": 0.02, "answers": ["a " * 500]} for name in ("legal", "code", "medical")}
    service = make(workflow={"concurrency": 3}, how=slow)
    async with service.answering(ask(THREE)) as run:
        async for chunk in run.chunks():
            if chunk.text:
                break
    assert [backend(service, name).running for name in slow] == [0, 0, 0]
    entry = AuditReader(tmp_path / "audit.db").show(run.id)
    assert entry.outcome == "cancelled"
    assert ended(tmp_path, run.id) == [(name, "cancelled", None) for name in slow]
    assert entry.end is not None
    assert any(part["usage"]["completion_tokens"] > 0 for part in entry.end["parts"]), "what was written counts"


async def test_what_was_done_before_a_reader_left_stays_so_on_record(make: Make, tmp_path: Path) -> None:
    service = make(workflow={"concurrency": 1}, how={"code": {"pause_s": 0.02, "answers": ["a " * 500]}})
    async with service.answering(ask(THREE)) as run:
        async for chunk in run.chunks():
            if chunk.text.startswith("a "):
                break
    states = [("legal", "completed", None), ("code", "cancelled", None), ("medical", "cancelled", None)]
    assert ended(tmp_path, run.id) == states
    counted = service.metrics.render().decode()
    assert 'concertino_parts_total{specialist="code",state="cancelled"} 1.0' in counted


async def test_a_cancelled_task_stops_every_part(make: Make, tmp_path: Path) -> None:
    slow = {name: {"pause_s": 5.0} for name in ("legal", "code", "medical")}
    service = make(workflow={"concurrency": 3}, how=slow)
    task = asyncio.ensure_future(service.answer(ask(THREE), request_id="gone"))
    await until_all_run(service, slow)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [backend(service, name).running for name in slow] == [0, 0, 0]
    assert AuditReader(tmp_path / "audit.db").show("gone").outcome == "cancelled"
    assert ended(tmp_path, "gone") == [(name, "cancelled", None) for name in slow]


async def test_parts_are_on_record_as_cancelled_though_the_request_is_cancelled_again_while_it_closes(
    make: Make, tmp_path: Path
) -> None:
    slow = {name: {"pause_s": 5.0, "lingers_s": 0.2} for name in ("legal", "code", "medical")}
    service = make(workflow={"concurrency": 3}, how=slow)
    task = asyncio.ensure_future(service.answer(ask(THREE), request_id="gone"))
    await until_all_run(service, slow)
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ended(tmp_path, "gone") == [(name, "cancelled", None) for name in slow]


async def test_one_record_opens_and_one_closes_and_neither_holds_the_words(make: Make, tmp_path: Path) -> None:
    service = make()
    async with service.answering(ask(THREE)) as run:
        begin = AuditReader(tmp_path / "audit.db").show(run.id).begin
        assert begin["decision"]["verdict"]["eligible"] == ["general", "code", "legal", "finance", "medical"]
        assert [task["specialist"] for task in begin["decision"]["plan"]["tasks"]] == ["legal", "code", "medical"]
        assert begin["model_hashes"] == {name: f"sha256:{name}" for name in ("legal", "code", "medical")}
        async for _ in run.chunks():
            pass
    end = AuditReader(tmp_path / "audit.db").show(run.id).end
    assert end is not None
    assert [(part["specialist"], part["state"]) for part in end["parts"]] == [
        ("legal", "completed"),
        ("code", "completed"),
        ("medical", "completed"),
    ]
    assert end["usage"]["completion_tokens"] == 15
    assert not any(b"fever" in path.read_bytes() for path in tmp_path.glob("audit.db*"))  # noqa: ASYNC240


async def test_nobody_is_asked_when_the_record_cannot_be_made(make: Make, asked: list[tuple[str, Generation]]) -> None:
    for planner in ("segments", "model"):
        with pytest.raises(AuditUnavailable):
            await make(audit="/dev/full/audit.db", workflow={"planner": planner}).answer(ask(THREE))
    assert asked == []


async def test_a_composed_answer_is_the_generalist_s_with_the_note_of_who_said_what(
    make: Make, asked: list[tuple[str, Generation]]
) -> None:
    service = make(workflow={"answer": "composed"}, how={"general": {"answers": ["All in one."]}})
    answer = await service.answer(ask(THREE))
    assert answer.text == "All in one. \n\n---\nAnswered: 1 by legal, 2 by code, 3 by medical."
    assert "Answer: code: write a Python function that adds." in asked[-1][1].messages[-1].text
    assert answer.usage == Usage(40, 20, 8)


async def test_what_a_composition_wrote_before_a_reader_left_is_in_the_usage(make: Make, tmp_path: Path) -> None:
    slow = {"general": {"pause_s": 0.01, "answers": ["all " * 500]}}
    service = make(workflow={"answer": "composed"}, how=slow)
    async with service.answering(ask(THREE)) as run:
        async for chunk in run.chunks():
            if chunk.text.startswith("all "):
                break
    end = AuditReader(tmp_path / "audit.db").show(run.id).end
    assert end is not None
    assert end["usage"]["completion_tokens"] > sum(part["usage"]["completion_tokens"] for part in end["parts"])


async def test_a_composition_that_says_nothing_is_not_the_answer(make: Make) -> None:
    service = make(workflow={"answer": "composed"}, how={"general": {"answers": [""]}})
    answer = await service.answer(ask(THREE))
    assert "### 1. What is a lien?" in answer.text and "### 2. Write a Python" in answer.text


async def test_code_that_a_composition_lost_follows_it(make: Make) -> None:
    code = "```python\ndef add(a, b):\n    return a + b\n```"
    for said, again in (("All in one.", True), ("Use `def add(a, b):  return a + b` and rest.", False)):
        how = {"general": {"answers": [said]}, "code": {"answers": [f"Here:\n{code}"]}}
        answer = await make(workflow={"answer": "composed"}, how=how).answer(ask(THREE))
        assert answer.text.startswith(said)
        assert ("### 2." in answer.text and code in answer.text) is again
        assert "### 1." not in answer.text, "what has no code is taken for said"


async def test_what_cannot_be_composed_is_given_in_parts(make: Make) -> None:
    for how in ({"fails": True}, {"breaks": True}):
        answer = await make(workflow={"answer": "composed"}, how={"general": how}).answer(ask(THREE))
        assert "### 2. Write a Python function that adds. (code)" in answer.text
    barred = {"tenants": {"default": ["legal", "code", "medical"]}}
    answer = await make(workflow={"answer": "composed"}, policy=barred).answer(ask(THREE))
    assert "### 1. What is a lien? (legal)" in answer.text


async def test_what_is_left_out_is_told(make: Make) -> None:
    answer = await make(workflow={"max_parts": 2}).answer(ask(THREE))
    assert "One more thing that was asked is not answered: 2 parts are the most." in answer.text


async def test_a_fault_of_ours_in_a_part_is_no_answer(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()

    async def wrong(*_: Any) -> Any:
        raise ZeroDivisionError

    async with service.answering(ask("What is a lien?")):
        pass
    monkeypatch.setattr(service._grounder, "ground", wrong)
    with pytest.raises(ZeroDivisionError):
        await service.answer(ask(THREE), request_id="broken")
    assert ended(tmp_path, "broken")[0] == ("legal", "failed", "internal_error")
    assert all(state in ("failed", "cancelled") for _, state, _ in ended(tmp_path, "broken"))


async def test_streamed_text_is_the_answer(make: Make) -> None:
    async with make().answering(ask(THREE)) as run:
        assert isinstance(run, Workflow)
        chunks: list[Chunk] = [chunk async for chunk in run.chunks()]
    assert "".join(chunk.text for chunk in chunks) == run.answer().text
    assert chunks[-1].finish_reason is FinishReason.STOP
    assert not any(chunk.text for chunk in chunks if chunk.part)
