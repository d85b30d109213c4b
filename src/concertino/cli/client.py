"""A gateway from the client's side: the OpenAI protocol with the `concertino` fields read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import aiohttp
import msgspec

from concertino.backends.base import Generation
from concertino.backends.openai_wire import chat_body, parse_chunk, sse_data
from concertino.errors import BackendError, BackendTimeout, BackendUnavailable, ConcertinoError
from concertino.template import TEXT
from concertino.types import Answer, Chunk, Decision, FinishReason, Part, Request, Tier, Usage

_SILENCE_S = 300.0
_LARGEST_BODY = 1024 * 1024


class GatewayClient:
    """Asks the gateway at `url`, in an `async with` block. Its errors are raised as what they are: the same classes."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {api_key.strip()}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "GatewayClient":
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_SILENCE_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def answering(self, request: Request) -> AsyncIterator["GatewayRun"]:
        """Send the request; yields once the Decision is known. Leaving early closes the connection, which stops it."""
        body = chat_body(Generation(request.model, request.messages, request.sampling))
        body["concertino"] = {"decision": True}
        async with self._call("POST", "/v1/chat/completions", body) as response:
            run = GatewayRun(response, self.url)
            await run.open()
            yield run

    async def skills(self) -> dict[str, str]:
        """The skills that the gateway lists (`specialist/skill`), each with what it reads of a row of fields."""
        async with self._call("GET", "/v1/models") as response:
            try:
                rows = msgspec.json.decode(await response.read())["data"]
                skills = {str(row["id"]): row["concertino"] for row in rows if "/" in row["id"]}
                return {name: str(about.get("template", TEXT)) for name, about in skills.items()}
            except (msgspec.DecodeError, KeyError, TypeError) as error:
                raise _not_a_gateway(self.url) from error

    @asynccontextmanager
    async def _call(self, method: str, path: str, body: Any = None) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "use it in an async with block"
        try:
            async with self._session.request(method, self.url + path, json=body) as response:
                if response.status != 200:
                    raise _error_of(await response.content.read(_LARGEST_BODY), response.status, self.url)
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise BackendUnavailable(
                f"No gateway answers at {self.url}. Start one with `concertino up`, or use --no-gateway."
            ) from error
        except TimeoutError as error:
            raise BackendTimeout(f"The gateway at {self.url} did not answer in time. Ask again.") from error
        except BrokenPipeError:
            raise  # whoever read our own output is gone; the gateway's end would be a ClientError
        except (aiohttp.ClientError, ConnectionError) as error:
            kind = type(error).__name__
            raise BackendError(f"The gateway at {self.url} broke off ({kind}). Ask again.") from error


class GatewayRun:
    """A streamed answer of a gateway."""

    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self._events = sse_data(response.content.iter_any())
        self._url = url
        self._id = ""
        self._text = ""
        self._usage = Usage()
        self._finish_reason = FinishReason.STOP
        self._own: dict[str, Any] = {}
        self.decision = Decision("", 0.0, Tier.DEFAULT, "")

    async def open(self) -> None:
        """Read the frame that carries the Decision."""
        try:
            frame = msgspec.json.decode(await anext(self._events))
            if "error" in frame:
                raise _error_of(msgspec.json.encode(frame), 500, self._url)
            self._id = str(frame["id"])
            self.decision = msgspec.convert(frame["concertino"]["decision"], Decision)
        except (StopAsyncIteration, msgspec.MsgspecError, KeyError, TypeError) as error:
            raise _not_a_gateway(self._url) from error

    async def chunks(self) -> AsyncIterator[Chunk]:
        async for data in self._events:
            if data == b"[DONE]":
                return
            frame = msgspec.json.decode(data)
            if "error" in frame:
                raise _error_of(data, 500, self._url)
            self._own |= frame.get("concertino") or {}
            chunk = parse_chunk(data, f"The gateway at {self._url}")
            self._text += chunk.text
            self._usage = chunk.usage or self._usage
            self._finish_reason = chunk.finish_reason or self._finish_reason
            yield chunk
        raise BackendError(f"The gateway at {self._url} ended its answer before it was complete. Ask again.")

    def answer(self) -> Answer:
        return Answer(
            id=self._id,
            text=self._text,
            specialist=self._own.get("escalated") or self.decision.specialist,
            decision=self.decision,
            usage=self._usage,
            finish_reason=self._finish_reason,
            confidence=self._own.get("confidence"),
            abstained=bool(self._own.get("abstained")),
            scope=self._own.get("scope"),
            escalated=self._own.get("escalated"),
            parts=msgspec.convert(self._own.get("parts") or (), tuple[Part, ...]),
        )


def _error_of(body: bytes, status: int, url: str) -> ConcertinoError:
    """The exception that the gateway raised, from its wire shape."""
    try:
        told = msgspec.json.decode(body)["error"]
        message, code, param = str(told["message"]), told["code"], told.get("param")
    except (msgspec.DecodeError, KeyError, TypeError):
        return BackendError(f"{url} answered HTTP {status}, and not as a Concertino gateway does. Check the URL.")
    kind = next((kind for kind in _kinds(ConcertinoError) if kind.code == code), BackendError)
    return kind(message, param=param)


def _kinds(root: type[ConcertinoError]) -> list[type[ConcertinoError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]


def _not_a_gateway(url: str) -> BackendError:
    return BackendError(f"{url} does not answer as a Concertino gateway does. Check the URL.")
