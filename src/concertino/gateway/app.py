"""The ASGI application: a table of routes, and what every call goes through before its handler."""

import asyncio
import logging
import math
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from concertino.errors import (
    BackendTimeout,
    BodyTooLarge,
    ConcertinoError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ShuttingDown,
    Unauthenticated,
)
from concertino.gateway import feedback, openai, operations
from concertino.gateway.call import Access, Call, Handler, Reply
from concertino.gateway.keys import Authenticator
from concertino.orchestrator.service import Service, new_request_id
from concertino.types import Principal

_BODY_WAIT_S = 10.0
_SOON_S = 60.0

log = logging.getLogger("concertino.gateway")

ROUTES: tuple[tuple[str, str, Handler, Access], ...] = (
    ("POST", "/v1/chat/completions", openai.chat_completions, Access.KEY),
    ("POST", "/v1/embeddings", openai.embeddings, Access.KEY),
    ("GET", "/v1/models", openai.list_models, Access.KEY),
    ("GET", "/v1/models/{model:path}", openai.show_model, Access.KEY),
    ("POST", "/v1/route", operations.route, Access.KEY),
    ("POST", "/v1/plan", operations.plan, Access.KEY),
    ("POST", "/v1/feedback", feedback.feedback, Access.KEY),
    ("GET", "/metrics", operations.metrics, Access.KEY),
    ("GET", "/healthz", operations.healthz, Access.PUBLIC),
    ("GET", "/readyz", operations.readyz, Access.PUBLIC),
)


class ClientGone(Exception):
    """The client hung up; there is nobody to tell."""


class Endpoint:
    """One route: authenticate, bound, read, handle, and turn every error into its wire shape."""

    def __init__(
        self, method: str, path: str, handler: Handler, access: Access, service: Service, keys: Authenticator
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.access = access
        self.service = service
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_request_id()
        sender = _Sender(send, request_id)
        try:
            await self._serve(scope, receive, sender, request_id)
        except ClientGone:
            return
        except ConcertinoError as error:
            if isinstance(error, Unauthenticated):
                # Its message never holds what was presented.
                log.warning("request %s to %s was refused: %s", request_id, self.path, error.message)
            self.service.metrics.errors.labels(error.code).inc()
            await sender.error(error)
        except Exception:
            # The traceback goes to the log by request id; the client learns that id and nothing of our insides.
            log.exception("request %s failed unexpectedly", request_id)
            self.service.metrics.errors.labels(ConcertinoError.code).inc()
            await sender.error(ConcertinoError(f"Something failed here. Tell your administrator the id {request_id}."))

    async def _serve(self, scope: Scope, receive: Receive, sender: "_Sender", request_id: str) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        principal = Principal()
        if self.access is not Access.PUBLIC:
            principal = await self.keys.check(headers.get(b"authorization"))
        if scope["method"] not in (self.method, "HEAD" if self.method == "GET" else self.method):
            raise MethodNotAllowed(f"{scope['path']} takes {self.method}, not {scope['method']}.")
        settings = self.service.settings.gateway
        body = await _read_body(receive, headers, settings.body_limit_bytes) if self.method == "POST" else b""
        call = Call(self.service, principal, request_id, body, scope["path"], sender, headers)
        if self.method == "POST":
            work = self.service.take_on(request_id, lambda: self._handle(call))
        else:
            work = asyncio.ensure_future(self._handle(call))
        gone = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await asyncio.wait({work, gone}, timeout=settings.request_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if sender.gone:
                raise ClientGone
            if work.cancelled():
                raise ShuttingDown("The gateway shut down before the answer was complete. Send the request again.")
            if work.done():
                return work.result()
            hung_up = gone.done()
            if self.method == "POST" and not hung_up:
                self.service.stop(request_id, BackendTimeout.code)
            else:
                work.cancel()
            with suppress(asyncio.CancelledError, ConcertinoError):
                await work
            if hung_up:
                raise ClientGone
            raise BackendTimeout(
                f"The answer took more than {settings.request_timeout_s:g} s and was stopped. "
                "Ask for fewer tokens, or raise gateway.request_timeout_s."
            )
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()

    async def _handle(self, call: Call) -> None:
        reply = await self.handler(call)
        if reply is not None:
            await reply.send(call.send)


class _Sender:
    """`send` that knows whether the answer has begun, so that an error after that is told inside the stream."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._started: str | None = None
        self.gone = False
        """The client is, as sending found out."""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id.encode())]
            self._started = dict(message["headers"])[b"content-type"].decode()
        try:
            await self._send(message)
        except OSError as error:
            # As if whoever sends had been stopped: the request is on record as cancelled, and not as failed.
            self.gone = True
            raise asyncio.CancelledError from error

    async def error(self, error: ConcertinoError) -> None:
        try:
            if self._started is None:
                await Reply.json(error.to_wire(), error.status, _retrying(error)).send(self)
                return
            # Too late for a status: the stream says it, and ends without [DONE].
            frame = openai.sse_frame(error.to_wire()) if self._started.startswith("text/event-stream") else b""
            await self({"type": "http.response.body", "body": frame})
        except asyncio.CancelledError:
            if not self.gone:
                raise


def _retrying(error: ConcertinoError) -> dict[str, str]:
    """Headers that say when to try again. Clients of OpenAI and Anthropic are told not to do so of their own accord
    when that is far off."""
    if error.status not in (429, 503):
        return {}
    headers = {"retry-after": str(math.ceil(error.retry_after_s))}
    return headers if error.retry_after_s <= _SOON_S else {**headers, "x-should-retry": "false"}


async def _read_body(receive: Receive, headers: dict[bytes, str], limit: int) -> bytes:
    too_large = BodyTooLarge(f"The body is larger than {limit} bytes. Shorten it, or raise gateway.body_limit_bytes.")
    if headers.get(b"content-encoding", "identity") != "identity":
        raise InvalidRequest("Compressed bodies are not read. Send the JSON as it is, without Content-Encoding.")
    declared = headers.get(b"content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    try:
        async with asyncio.timeout(_BODY_WAIT_S):
            return await _whole_body(receive, limit, too_large)
    except TimeoutError as error:
        raise InvalidRequest(f"The body did not arrive within {_BODY_WAIT_S:g} s. Send it at once.") from error


async def _whole_body(receive: Receive, limit: int, too_large: BodyTooLarge) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _NotFoundApp:
    """Any path that is not in the table."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        paths = ", ".join(dict.fromkeys(path.replace(":path", "") for _, path, _, _ in ROUTES))
        error = NotFound(f"There is nothing at {scope['path'][:200]!r}. Paths: {paths}.")
        await _Sender(send, new_request_id()).error(error)


def create_app(service: Service, keys: Authenticator) -> Starlette:
    """The application for a composed service. Who makes the service starts and closes it."""
    routes = [
        Route(path, Endpoint(method, path, handler, access, service, keys)) for method, path, handler, access in ROUTES
    ]
    app = Starlette(routes=routes)
    app.router.default = _NotFoundApp()
    app.router.redirect_slashes = False
    return app
