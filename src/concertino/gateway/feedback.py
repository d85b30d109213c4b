"""`POST /v1/feedback`: a caller says whether a request went to the right specialist, or which one that is."""

import asyncio

from concertino.audit.read import AuditReader
from concertino.errors import InvalidRequest, NotFound
from concertino.gateway.call import Call, Reply
from concertino.storage.database import open_database
from concertino.storage.feedback import Feedback, FeedbackStore

_FIELDS = frozenset({"id", "right", "specialist"})


async def feedback(call: Call) -> Reply:
    """A body of `{"id": REQUEST_ID, "right": bool}` or `{"id": REQUEST_ID, "specialist": NAME}`; answers with what was
    stored, once it is durable.

    Only the tenant that made a request may judge it; anybody else's id is unknown to the caller.
    Raises InvalidRequest, NotFound.
    """
    raw = call.json()
    if unknown := raw.keys() - _FIELDS:
        raise InvalidRequest(f"Unknown field {min(unknown)!r}. Send id, and right or specialist.", param=min(unknown))
    request_id, right, specialist = raw.get("id"), raw.get("right"), raw.get("specialist")
    if not isinstance(request_id, str) or not 0 < len(request_id) <= 64:
        raise InvalidRequest("'id' must be the id of a request, as its answer had it.", param="id")
    names = {one.card.name for one in call.service.pool}
    if specialist is not None and (not isinstance(specialist, str) or specialist not in names):
        raise InvalidRequest(f"No specialist {str(specialist)[:64]!r}. GET /v1/models lists them.", param="specialist")
    if not isinstance(right, bool | None) or (right is None and specialist is None):
        raise InvalidRequest("Send 'right' as true or false, or 'specialist' with the right one's name.", param="right")
    stored = await asyncio.to_thread(_store, call, request_id, right, specialist)
    return Reply.json({"id": stored.request_id, "right": stored.right, "specialist": stored.specialist})


def _store(call: Call, request_id: str, right: bool | None, specialist: str | None) -> Feedback:
    settings, principal = call.service.settings, call.principal
    unknown = NotFound(f"There is no request {request_id!r} of yours. Send the id that its answer had.")
    try:
        entry = AuditReader(settings.audit_path).show(request_id)
    except (NotFound, InvalidRequest) as error:
        raise unknown from error
    if entry.id != request_id or entry.begin.get("tenant") != principal.tenant:
        raise unknown
    chosen = (entry.begin.get("decision") or {}).get("specialist")
    if specialist is not None and right is not None and right != (specialist == chosen):
        raise InvalidRequest(
            f"'right' is {str(right).lower()} and 'specialist' is {specialist!r}, but {chosen} answered. Send one.",
            param="right",
        )
    engine = open_database(settings.state_url)
    try:
        judged = right if right is not None else specialist == chosen
        return FeedbackStore(engine).add(request_id, principal.tenant, principal.key_id, judged, specialist)
    finally:
        engine.dispose()
