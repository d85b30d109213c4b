"""What is not a model's work: the decision alone, health, readiness, metrics."""

from typing import Any

import msgspec

from concertino.backends.base import Health
from concertino.errors import InvalidRequest
from concertino.gateway.call import Call, Reply
from concertino.gateway.openai_request import parse_chat, with_limits
from concertino.gateway.openai_response import decision_headers
from concertino.orchestrator.plan_view import plan_object
from concertino.telemetry.metrics import CONTENT_TYPE
from concertino.types import Request


async def route(call: Call) -> Reply:
    """`POST /v1/route`: a chat body, or `{"text": ...}`; answers with the Decision, and runs nothing."""
    decision = await call.service.decide(_request(call), call.principal)
    return Reply.json(msgspec.to_builtins(decision), headers=decision_headers(decision))


async def plan(call: Call) -> Reply:
    """`POST /v1/plan`: what `/v1/route` takes; answers with the parts of a compound request, and runs none of them."""
    request = _request(call)
    decision = await call.service.plan(request, call.principal, call.request_id)
    body = plan_object(decision, request, call.service.settings)
    return Reply.json(body, headers=decision_headers(decision))


def _request(call: Call) -> Request:
    """A chat body, or `{"text": ...}`. Raises InvalidRequest."""
    raw = call.json()
    if "text" in raw and "messages" not in raw:
        text = raw.pop("text")
        if not isinstance(text, str):
            raise InvalidRequest("'text' must be a string.", param="text")
        raw["messages"] = [{"role": "user", "content": text}]
    return parse_chat(with_limits(raw, call.headers)).request


async def healthz(call: Call) -> Reply:
    """`GET /healthz`: the process is alive."""
    return Reply.json({"status": "ok"})


async def readyz(call: Call) -> Reply:
    """`GET /readyz`: every engine answers and the audit log can be written."""
    backends = {name: health.value for name, health in call.service.pool.health().items()}
    audit = "ready" if call.service.audit.healthy else "down"
    ready = (
        audit == "ready" and not call.service.draining and all(health == Health.READY for health in backends.values())
    )
    body: dict[str, Any] = {"status": "ready" if ready else "not ready", "backends": backends, "audit": audit}
    return Reply.json(body, 200 if ready else 503)


async def metrics(call: Call) -> Reply:
    """`GET /metrics`, for Prometheus."""
    return Reply(call.service.metrics.render(), content_type=CONTENT_TYPE)
