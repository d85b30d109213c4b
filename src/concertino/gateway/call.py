"""One HTTP call as a handler sees it, and what a handler gives back."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from starlette.types import Send

from concertino.errors import InvalidRequest
from concertino.orchestrator.service import Service
from concertino.types import Principal

_DEEPEST = 100
_MOST_BRACKETS = 100_000
"""Lists and objects that a body may hold: reading 4 MB of nothing else takes seconds, in which nobody is answered."""
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""As signed bytes: one deeper, one up."""
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class Access(StrEnum):
    """Who may call a route. A route that says nothing does not exist."""

    PUBLIC = "public"
    KEY = "key"


class Call(Struct, frozen=True):
    """Everything a handler may use. `send` is for streams; other handlers return a Reply."""

    service: Service
    principal: Principal
    request_id: str
    body: bytes
    path: str
    send: Send
    headers: dict[bytes, str] = msgspec.field(default_factory=dict)
    """By lower-case name."""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises InvalidRequest that says where it breaks."""
        if not self.body:
            raise InvalidRequest("The body is empty. Send a JSON object.")
        if _too_many(self.body):
            raise InvalidRequest(f"The body holds more than {_MOST_BRACKETS:,} lists and objects. Send fewer.")
        too_deep = InvalidRequest(f"The body is nested more than {_DEEPEST} levels deep. Flatten it.")
        try:
            value = msgspec.json.decode(self.body)
        except RecursionError as error:
            raise too_deep from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}. Correct it and send it again.") from error
        if _too_deep(self.body):
            raise too_deep
        if not isinstance(value, dict):
            raise InvalidRequest(f"The body must be a JSON object, but is a {type(value).__name__}.")
        return value


class Reply(Struct, frozen=True):
    """A whole answer: status, body and headers."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> "Reply":
        return cls(msgspec.json.encode(value), status, headers=headers or {})

    async def send(self, send: Send) -> None:
        headers = [(b"content-type", self.content_type.encode()), (b"content-length", str(len(self.body)).encode())]
        headers += header_pairs(self.headers)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


Handler = Callable[[Call], Awaitable[Reply | None]]


def header_pairs(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them. Text that a header cannot carry is replaced, never passed on."""
    return [
        (name.lower().encode("ascii"), "".join(c if " " <= c <= "~" else "?" for c in value).encode("ascii"))
        for name, value in headers.items()
    ]


def _too_many(body: bytes) -> bool:
    """Whether it opens more lists and objects than allowed, whatever stands in strings."""
    return _opening(body) > _MOST_BRACKETS and int((_steps(body) > 0).sum()) > _MOST_BRACKETS


def _too_deep(body: bytes) -> bool:
    """Whether brackets nest deeper than the limit, in valid JSON."""
    return _opening(body) > _DEEPEST and int(_steps(body).cumsum(dtype=np.int32).max(initial=0)) > _DEEPEST


def _opening(body: bytes) -> int:
    """Brackets that open, those in strings too: for most bodies these are too few to look closer."""
    return body.count(b"[") + body.count(b"{")


def _steps(body: bytes) -> np.ndarray:
    """For each bracket outside strings 1 where it opens and -1 where it closes, int8. In linear time for any bytes."""
    plain = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = plain[~np.logical_xor.accumulate(plain == ord('"'))]
    return np.frombuffer(outside.tobytes().translate(_STEPS, _NOT_BRACKETS), np.int8)
