"""A running team follows the registry: new requests get the new version, those in flight end on the old one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from concertino.backends.echo import EchoBackend
from concertino.config import Settings
from concertino.errors import BackendUnavailable
from concertino.orchestrator import refresh
from concertino.orchestrator.compose import compose
from concertino.orchestrator.service import Service
from concertino.registry import Registry
from concertino.specialists.pool import Pool
from concertino.types import Message, Request, Role
from tests.registry.versions import SKILL, files, version

INTERVAL_S = 0.05


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
async def service(
    team_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> AsyncIterator[Service]:
    monkeypatch.setattr(refresh, "INTERVAL_S", INTERVAL_S)
    service = compose(team_settings())
    await service.start()
    yield service
    await service.close()


def promote(registry: Registry, answer: str, **card: Any) -> str:
    return registry.promote(version(answer, **card), files(answer)).version


def asked(text: str = "?", model: str = SKILL) -> Request:
    return Request((Message(Role.USER, text),), model)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def served(service: Service, answer: str) -> None:
    """Ask until the skill answers so."""
    for _ in range(500):
        if (await service.answer(asked())).text == answer:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the skill never answered {answer!r}")


async def test_promoted_rolled_back_and_retired_versions_are_picked_up(service: Service, registry: Registry) -> None:
    assert (await service.answer(asked())).text == "yes"
    for answer in ("a", "b"):
        promote(registry, answer)
        await served(service, answer)
    registry.rollback(SKILL)
    await served(service, "a")
    registry.retire(SKILL)
    await served(service, "yes")


async def test_a_request_in_flight_ends_on_the_version_it_began_with(service: Service, registry: Registry) -> None:
    promote(registry, "a b c d e f")
    await served(service, "a b c d e f")
    old = service.pool
    old_backend = old.backends["echo"]
    assert isinstance(old_backend, EchoBackend)
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    old_backend.close = close  # type: ignore[method-assign]
    async with service.answering(asked()) as run:
        chunks = run.chunks()
        words = [(await anext(chunks)).text]
        promote(registry, "new")
        await served(service, "new")
        assert service.pool is not old and not closed
        words += [chunk.text async for chunk in chunks]
    assert "".join(words) == "a b c d e f"
    await until(lambda: bool(closed))


async def test_a_backend_for_which_nothing_changed_is_kept(service: Service, registry: Registry) -> None:
    before = service.pool.backends["echo"]
    promote(registry, "a", adapter=None)
    await served(service, "a")
    assert service.pool.backends["echo"] is before
    promote(registry, "b")
    await served(service, "b")
    assert service.pool.backends["echo"] is not before


async def test_a_damaged_version_is_refused_and_the_old_one_keeps_serving(
    service: Service, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, "a")
    await served(service, "a")
    pool = service.pool
    with_damage = registry.promote(version("b"), files("b"))
    (registry.folder(SKILL, with_damage.version) / "MODEL_CARD.md").unlink()
    await until(lambda: "cannot serve" in caplog.text)
    assert service.pool is pool
    assert (await service.answer(asked())).text == "a"
    promote(registry, "c")
    await served(service, "c")


async def test_a_current_file_that_is_no_json_is_refused(
    service: Service, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, "a")
    await served(service, "a")
    registry.current_path.write_text("{")
    await until(lambda: "cannot serve" in caplog.text)
    assert (await service.answer(asked())).text == "a"


async def test_an_engine_that_does_not_start_leaves_the_old_one_serving(
    service: Service, registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(self: EchoBackend) -> None:
        raise BackendUnavailable("out of memory")

    monkeypatch.setattr(EchoBackend, "start", start)
    pool = service.pool
    promote(registry, "a")
    await until(lambda: "out of memory" in caplog.text)
    assert service.pool is pool
    assert (await service.answer(asked())).text == "yes"


async def test_a_failure_that_nobody_foresaw_does_not_end_the_watch(
    service: Service, registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as failing:
        failing.setattr(refresh, "lay_over", full)
        promote(registry, "a")
        await until(lambda: "no space left" in caplog.text)
    promote(registry, "b")
    await served(service, "b")


async def test_versions_that_serve_are_leased_and_let_go(service: Service, registry: Registry) -> None:
    first = promote(registry, "a")
    await served(service, "a")
    registry.retire(SKILL)
    assert registry.delete(SKILL) == ([], [first[:12]])
    await served(service, "yes")
    await until(lambda: registry.delete(SKILL) == ([first[:12]], []))


async def test_a_backend_shared_with_an_older_pool_outlives_the_pool_between(service: Service) -> None:
    """A keeps a request in flight, B keeps A's backend, C has it no longer: it is closed when A's request ends."""

    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    first = service.pool
    shared = first.backends["echo"]
    shared.close = close  # type: ignore[method-assign]
    second = Pool(service.settings, Path, lambda card: "", before=first)
    third = Pool(service.settings, Path, lambda card: "")
    assert second.backends["echo"] is shared and third.backends["echo"] is not shared
    async with service.answering(asked("one two", "general")) as run:
        service.swap(service.settings, second)
        service.swap(service.settings, third)
        await asyncio.sleep(0.05)
        assert not closed
        assert [chunk.text async for chunk in run.chunks()]
    await until(lambda: bool(closed))
