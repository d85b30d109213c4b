"""A client that goes away while it is sent something."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from concertino.audit.read import AuditReader
from concertino.config import Settings
from concertino.gateway.app import create_app
from concertino.gateway.keys import Authenticator
from concertino.orchestrator.compose import compose
from concertino.orchestrator.service import Service


@pytest.fixture
async def service(team_settings: Callable[..., Settings]) -> AsyncIterator[Service]:
    service = compose(team_settings())
    yield service
    await service.close()


async def call(service: Service, path: str, body: Any, most: int) -> list[dict[str, Any]]:
    """What is sent until `most` messages have gone; then the connection is broken, and the server has not noticed."""
    sent: list[dict[str, Any]] = []
    arriving = [{"type": "http.request", "body": msgspec.json.encode(body)}]

    async def receive() -> dict[str, Any]:
        if not arriving:
            await asyncio.Event().wait()
        return arriving.pop()

    async def send(message: Any) -> None:
        if len(sent) == most:
            raise BrokenPipeError
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "root_path": ""}
    await create_app(service, Authenticator(service.settings))(scope, receive, send)
    return sent


@pytest.mark.parametrize("stream", [True, False])
async def test_a_send_that_fails_is_a_client_that_left_and_no_failure_of_ours(service: Service, stream: bool) -> None:
    body = {"model": "general", "stream": stream, "messages": [{"role": "user", "content": "word " * 50}]}
    sent = await call(service, "/v1/chat/completions", body, 3 if stream else 0)
    assert len(sent) == (3 if stream else 0)
    (entry,) = AuditReader(service.settings.audit_path).tail()
    assert entry.outcome == ("cancelled" if stream else "completed")
    assert entry.end is not None
    assert entry.end["error_code"] is None
    counted = service.metrics.render().decode()
    assert "concertino_errors_total{" not in counted
    assert service.in_flight == 0


async def test_an_error_or_a_missing_page_that_cannot_be_sent_raises_nothing(service: Service) -> None:
    assert await call(service, "/v1/chat/completions", [], 0) == []
    assert await call(service, "/nowhere", {}, 0) == []
