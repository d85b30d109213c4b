"""The way of a request: what is recorded, what falls back, what never happens."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from concertino.audit.log import AuditLog
from concertino.audit.read import AuditReader
from concertino.backends.base import BackendContext, Generation
from concertino.backends.echo import EchoBackend
from concertino.config import Settings
from concertino.errors import (
    AuditUnavailable,
    BackendError,
    BackendUnavailable,
    ConcertinoError,
    Overloaded,
    PolicyRefused,
    UnknownModel,
)
from concertino.orchestrator import recording
from concertino.orchestrator.decider import LOCAL, Decider, specialist_facts
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.service import Service
from concertino.policy.rules import Policy
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics
from concertino.types import Chunk, Message, Outcome, Principal, Ranking, Request, Role, Sampling
from tests.orchestrator.workflows import THREE, make_service
from tests.teams import echo_team

HEALTH = "Patient Jane Doe, born 12 March 1961, MRN 4711-0815, was diagnosed with diabetes."


class Fixed:
    """A router that always says the same."""

    def __init__(self, domain: str) -> None:
        self.domain = domain

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        return [Ranking({self.domain: 0.9}, 0.9, self.domain, "Fixed.")] * len(conversations)


class Breaking(EchoBackend):
    """Echo that cannot be reached, or breaks off after `after` chunks."""

    def __init__(self, after: int | None = None) -> None:
        super().__init__(BackendContext("broken", {}, (), Path))
        self.after = after
        self.asked = 0

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        self.asked += 1
        if self.after is None:
            raise BackendUnavailable("nobody there")
        for _ in range(self.after):
            yield Chunk(text="x")
        raise BackendError("broke off")


class Silent(Breaking):
    """Reads the prompt for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = asyncio.Event()

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        self.reading.set()
        await asyncio.sleep(60)
        yield Chunk(text="x")


def put_in_place(pool: Pool, name: str, backend: Breaking) -> None:
    pool.backends[name] = backend
    pool._specialists[name] = structs.replace(pool.get(name), backend=backend)


Make = Callable[..., Service]


@pytest.fixture
async def make(team_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Service] = []

    def build(domain: str = "code", broken: dict[str, Breaking] | None = None, audit: str = "") -> Service:
        raw = echo_team()
        for card in raw["specialists"]:
            if card["name"] in (broken or {}):
                card["backend"] = card["name"]
                raw["backends"][card["name"]] = {"type": "echo"}
        settings = team_settings(backends=raw["backends"], specialists=raw["specialists"])
        pool = Pool(settings, Path, lambda card: f"sha256:{card.name}")
        for name, backend in (broken or {}).items():
            put_in_place(pool, name, backend)
        decider = Decider(settings, pool, Policy(settings.policy, specialist_facts(pool)), Fixed(domain))
        log = AuditLog(Path(audit) if audit else tmp_path / "audit.db", key_path=tmp_path / "audit.key")
        made.append(Service(settings, pool, decider, Recorder(log), Metrics()))
        return made[-1]

    yield build
    for service in made:
        await service.close()


def asked(text: str, model: str = "auto") -> Request:
    return Request((Message(Role.USER, text),), model=model)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """While inside, another process is writing to the log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def records(tmp_path: Path) -> AuditReader:
    return AuditReader(tmp_path / "audit.db")


async def test_the_decision_is_on_disk_before_the_first_token_can_be_read(make: Make, tmp_path: Path) -> None:
    service = make()
    async with service.answering(asked("one two")) as run:
        entry = records(tmp_path).show(run.id)
        assert entry.begin["decision"]["specialist"] == "code"
        assert entry.begin["model_hashes"] == {"code": "sha256:code"}
        assert entry.end is None
        async for _ in run.chunks():
            pass
    entry = records(tmp_path).show(run.id)
    assert entry.outcome == "completed"
    assert entry.end is not None
    assert entry.end["usage"]["completion_tokens"] == 2


async def test_an_audit_log_that_cannot_be_written_stops_the_answer(make: Make) -> None:
    backend = Breaking(after=1)
    service = make(broken={"code": backend}, audit="/dev/full/audit.db")
    with pytest.raises(AuditUnavailable):
        await service.answer(asked("hello"))
    assert backend.asked == 0
    assert not service.audit.healthy


async def test_a_reader_who_leaves_early_is_recorded_as_cancelled_with_what_was_generated(
    make: Make, tmp_path: Path
) -> None:
    service = make()
    async with service.answering(asked("a b c d e f")) as run:
        chunks = run.chunks()
        await anext(chunks)
        await anext(chunks)
    entry = records(tmp_path).show(run.id)
    assert entry.outcome == "cancelled"
    assert entry.end is not None
    assert entry.end["usage"]["completion_tokens"] == 2
    assert entry.end["usage"]["prompt_tokens"] > 0, "the prompt was read"


async def test_a_cancelled_task_is_recorded_too(make: Make, tmp_path: Path) -> None:
    service = make()

    async def read_slowly() -> None:
        async with service.answering(asked("a b c"), request_id="req-1") as run:
            async for _ in run.chunks():
                await asyncio.sleep(10)

    task = asyncio.ensure_future(read_slowly())
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert records(tmp_path).show("req-1").outcome == "cancelled"


async def test_who_leaves_while_the_prompt_is_read_is_recorded_with_the_prompt(make: Make, tmp_path: Path) -> None:
    backend = Silent()
    service = make(broken={"code": backend})
    task = asyncio.ensure_future(service.answer(asked("a b c"), request_id="req-1"))
    await backend.reading.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    entry = records(tmp_path).show("req-1")
    assert entry.outcome == "cancelled" and entry.end is not None
    assert entry.end["usage"]["prompt_tokens"] > 0 and entry.end["usage"]["completion_tokens"] == 0


async def test_an_unreachable_specialist_is_replaced_by_the_generalist(make: Make, tmp_path: Path) -> None:
    service = make(broken={"code": Breaking()})
    answer = await service.answer(asked("hello"))
    assert (answer.specialist, answer.text) == ("general", "hello")
    assert "code could not be reached, so general answers" in answer.decision.reason
    entry = records(tmp_path).show(answer.id)
    assert entry.end is not None
    assert entry.end["answered_by"] == "general"


async def test_a_specialist_that_was_named_is_not_replaced(make: Make) -> None:
    service = make(broken={"code": Breaking()})
    with pytest.raises(BackendUnavailable):
        await service.answer(asked("hello", "code"))


async def test_nothing_falls_back_once_a_token_was_sent(make: Make, tmp_path: Path) -> None:
    service = make(broken={"code": Breaking(after=1)})
    text = ""
    with pytest.raises(BackendError):
        async with service.answering(asked("hello")) as run:
            async for chunk in run.chunks():
                text += chunk.text
    assert text == "x"
    entry = records(tmp_path).show(run.id)
    assert entry.outcome == "failed"
    assert entry.end is not None
    assert entry.end["error_code"] == "backend_error"


async def test_health_data_does_not_fall_back_to_a_specialist_without_the_tag(make: Make) -> None:
    service = make(domain="code", broken={"medical": Breaking()})
    with pytest.raises(BackendUnavailable):
        await service.answer(asked(HEALTH))


async def test_a_refusal_is_recorded(make: Make, tmp_path: Path) -> None:
    service = make()
    with pytest.raises(PolicyRefused):
        await service.answer(asked(HEALTH, "code"), request_id="req-2")
    entry = records(tmp_path).show("req-2")
    assert entry.outcome == "refused"
    assert entry.end is not None
    assert entry.end["error_code"] == "policy_refused"


@pytest.mark.parametrize("model", ["auto", "encoder"])
async def test_what_fails_while_it_is_decided_is_recorded_too(
    model: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()

    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.decider.router, "rank", breaks)
    monkeypatch.setattr(service, "_embedder", breaks)
    with pytest.raises(ZeroDivisionError):
        if model == "auto":
            await service.answer(asked("hello"), request_id="req-3")
        else:
            await service.embed(model, ["hello"], Principal(), "req-3")
    entry = records(tmp_path).show("req-3")
    assert entry.outcome == "failed"
    assert entry.end is not None and entry.end["error_code"] == "internal_error"
    assert b'outcome="failed",specialist="none"' in service.metrics.render()


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "Jane Doe"}}}},
        {"tool_choice": "required"},
        {"sampling": Sampling(stop=("Jane Doe",))},
        {"extra": {"about": "Jane Doe"}},
    ],
    ids=lambda more: list(more)[-1],
)
async def test_every_field_with_words_is_in_the_digest_of_a_request(
    make: Make, tmp_path: Path, more: dict[str, Any]
) -> None:
    digests = set()
    for request in (asked("one"), structs.replace(asked("one"), **more), asked("one")):
        with suppress(ConcertinoError):  # echo refuses some of it, which is on record too
            await make().answer(request)
        digests.add(records(tmp_path).tail(1)[0].begin["content_digest"])
    assert len(digests) == 2


async def test_a_batch_keeps_its_order_and_stops_at_the_first_error(make: Make) -> None:
    service = make()
    answers = await service.answer_many([asked(f"text {n}") for n in range(20)])
    assert [answer.text for answer in answers] == [f"text {n}" for n in range(20)]
    with pytest.raises(PolicyRefused):
        await service.answer_many([asked("fine"), asked(HEALTH, "code")])


async def test_a_refusal_has_its_verdict_and_the_model_that_was_asked_for(make: Make, tmp_path: Path) -> None:
    service = make()
    with pytest.raises(PolicyRefused):
        await service.answer(asked(HEALTH, "legal/overruling"), request_id="a-skill")
    with pytest.raises(PolicyRefused):
        await service.embed("echo-embedding", [HEALTH], LOCAL, "texts")
    for name, model in (("a-skill", "legal/overruling"), ("texts", "echo-embedding")):
        begin = records(tmp_path).show(name).begin
        assert (begin["model"], begin["decision"]) == (model, None)
        assert begin["verdict"]["eligible"] == ["medical"]
        assert begin["verdict"]["facts"]["health_data"]
    with pytest.raises(UnknownModel):
        await service.answer(asked("hello", "Jane Doe's lawyer"), request_id="free-text")
    assert records(tmp_path).show("free-text").begin["model"].startswith("hmac-sha256:")


Way = Callable[[Service], Coroutine[Any, Any, Any]]
WAYS: dict[str, Way] = {
    "an answer": lambda service: service.answer(asked("hello"), request_id="late"),
    "a refusal": lambda service: service.answer(asked(HEALTH, "code"), request_id="late"),
    "embeddings": lambda service: service.embed("echo-embedding", ["hello"], LOCAL, "late"),
    "a plan": lambda service: service.plan(asked(THREE), request_id="late"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_cancelled_while_its_first_record_is_written_is_closed(tmp_path: Path, way: str) -> None:
    service = make_service(tmp_path, [], workflow={"planner": "model"})
    await service.answer(asked("makes the file"))
    with locked(tmp_path / "audit.db"):
        task = asyncio.ensure_future(WAYS[way](service))
        await asyncio.sleep(0.5)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await service.close()
    assert records(tmp_path).show("late").outcome == "cancelled"
    assert records(tmp_path).verify().unfinished == 0


async def test_a_request_cancelled_at_any_moment_is_closed(make: Make, tmp_path: Path) -> None:
    service = make()
    for number in range(60):
        task = asyncio.ensure_future(service.answer(asked("a b c"), request_id=f"r{number}"))
        await asyncio.sleep(number * 0.0003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await service.audit.close()
    assert records(tmp_path).verify().records > 0
    assert records(tmp_path).verify().unfinished == 0


async def test_a_request_cancelled_again_while_it_is_closed_is_on_record(make: Make, tmp_path: Path) -> None:
    class Clinging(Breaking):
        """Takes its time to stop."""

        async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
            try:
                yield Chunk(text="x")
            finally:
                await asyncio.sleep(0.5)

    service = make(broken={"code": Clinging()})

    async def read_slowly() -> None:
        async with service.answering(asked("hello"), request_id="r") as run:
            async for _ in run.chunks():
                await asyncio.sleep(10)

    task = asyncio.ensure_future(read_slowly())
    for _ in range(2):
        await asyncio.sleep(0.2)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await service.audit.close()
    assert records(tmp_path).show("r").outcome == "cancelled"


async def test_a_closing_record_waits_for_a_log_that_is_locked(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = make()
    async with service.answering(asked("one two"), request_id="r") as run:
        async for _ in run.chunks():
            pass
        stack = ExitStack()
        stack.enter_context(locked(tmp_path / "audit.db"))
    assert records(tmp_path).show("r").outcome == "unfinished"
    assert not service.audit.healthy
    stack.close()
    await service.audit.close()
    assert records(tmp_path).show("r").outcome == "completed"
    assert service.audit.healthy
    assert not caplog.records


async def test_a_closing_record_that_cannot_be_written_in_the_end_is_told_once(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_TRIED_FOR_S", 1.0)
    service = make()
    await service.answer(asked("makes the file"))
    with locked(tmp_path / "audit.db"):
        await service.audit.end("r", Outcome.COMPLETED, "", 1.0)
        await asyncio.sleep(4)
    assert [record.getMessage() for record in caplog.records] == [
        f"The closing record of request r was not written: The audit log {tmp_path / 'audit.db'} cannot be written: "
        "database is locked. Free or mend its disk; it is tried again with the next request."
    ]


async def test_a_disk_that_answers_too_late_leaves_no_open_record(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_PATIENCE_S", 0.3)
    service = make()
    await service.answer(asked("makes the file"))
    with locked(tmp_path / "audit.db"), pytest.raises(AuditUnavailable, match="did not answer within"):
        await service.answer(asked("hello"), request_id="r")
    await service.audit.close()
    entry = records(tmp_path).show("r")
    assert entry.end is not None
    assert (entry.outcome, entry.end["error_code"]) == ("refused", "audit_unavailable")


async def test_what_is_taken_on_counts_at_once_and_no_more_than_may(make: Make, tmp_path: Path) -> None:
    service = make()
    most = service.settings.gateway.max_in_flight
    work = [service.take_on(f"r{number}", lambda: asyncio.sleep(0.1)) for number in range(most)]
    assert (service.in_flight, service.idle.is_set()) == (most, False)
    with pytest.raises(Overloaded):
        service.take_on("one-more", lambda: asyncio.sleep(0))
    await asyncio.gather(*work)
    await service.idle.wait()
    assert service.in_flight == 0


@pytest.mark.parametrize("code", ["backend_timeout", None])
async def test_a_request_that_is_stopped_here_says_why_and_one_that_hung_up_does_not(
    make: Make, tmp_path: Path, code: str | None
) -> None:
    service = make(broken={"code": Breaking(after=1000)})
    reading = asyncio.Event()

    async def read_slowly() -> None:
        async with service.answering(asked("a b c"), request_id="r") as run:
            async for _ in run.chunks():
                reading.set()
                await asyncio.sleep(10)

    work = service.take_on("r", read_slowly)
    await reading.wait()
    if code is None:
        work.cancel()
    else:
        service.stop("r", code)
    with pytest.raises(asyncio.CancelledError):
        await work
    entry = records(tmp_path).show("r")
    assert entry.end is not None
    assert (entry.outcome, entry.end["error_code"]) == ("cancelled", code)
