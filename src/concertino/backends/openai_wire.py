"""The OpenAI chat protocol from the client's side: a Generation out, server-sent events back in.

Both the llama.cpp engine and any OpenAI-compatible server are spoken to through here.
"""

import logging
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import msgspec

from concertino.backends.base import Generation
from concertino.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ConcertinoError,
    ContextTooLong,
    InvalidRequest,
    Overloaded,
)
from concertino.types import Chunk, Embeddings, FinishReason, TokenLogprob, TopLogprob, Usage

_ERROR_BODY_LIMIT = 64 * 1024
_LINE_LIMIT = 4 * 1024 * 1024
_LOG = logging.getLogger(__name__)
_REASONS = {reason.value: reason for reason in FinishReason} | {
    "function_call": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "end_turn": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "safety": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
}
"""OpenAI's reasons, and those that servers give which speak its protocol for a model with other terms."""
_BROKEN_OFF = frozenset({"abort", "aborted", "cancelled", "error", "insufficient_system_resource", "network_error"})
"""What servers say of an answer that they did not finish."""


def chat_body(generation: Generation) -> dict[str, Any]:
    """The JSON body of a streamed chat completion; fields that are unset are left out."""
    sampling = generation.sampling
    body: dict[str, Any] = {
        **generation.extra,
        "model": generation.model,
        "messages": [msgspec.to_builtins(message) for message in generation.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in ("max_tokens", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"):
        value = getattr(sampling, name)
        if value is not msgspec.UNSET:
            body[name] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = sampling.top_logprobs
    if generation.tools:
        body["tools"] = list(generation.tools)
        if generation.tool_choice is not None:
            body["tool_choice"] = generation.tool_choice
    if generation.response_format is not None:
        body["response_format"] = generation.response_format
    return body


async def stream_chat(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], who: str, headers: dict[str, str] | None = None
) -> AsyncIterator[Chunk]:
    """Post `body` and yield chunks until `[DONE]`. A stream that ends before that is a BackendError.

    Closing the iterator closes the connection, which is how the other side learns to stop.
    """
    answered = False
    try:
        async with session.post(url, json=body, headers=headers) as response:
            answered = True
            if response.status != 200:
                raise error_from(response.status, await response.content.read(_ERROR_BODY_LIMIT), who)
            async for data in sse_data(response.content.iter_any()):
                if data == b"[DONE]":
                    return
                yield parse_chunk(data, who)
    except TimeoutError as error:
        raise BackendTimeout(f"{who} did not answer in time. Send the request again, or ask for less.") from error
    except (aiohttp.ClientError, ConnectionError, FileNotFoundError) as error:
        if not answered and isinstance(error, OSError):
            # Not connected, or the request could not be written: it was never worked on, so another may have it.
            raise BackendUnavailable(f"{who} cannot be reached: {error}. Check that it runs.") from error
        kind = type(error).__name__
        raise BackendError(f"{who} broke off while answering ({kind}). Send the request again.") from error
    raise BackendError(f"{who} ended its answer before it was complete. Send the request again.")


async def post_embeddings(
    session: aiohttp.ClientSession, url: str, model: str, texts: Sequence[str], who: str
) -> Embeddings:
    """The embeddings call of the same protocol; vectors come back at unit length."""
    said = await post_json(session, url, {"model": model, "input": list(texts)}, who)
    try:
        rows = sorted(said["data"], key=lambda row: row["index"])
        read = _usage(said.get("usage"))
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"{who} sent something that is not a list of embeddings.") from error
    if len(vectors) != len(texts):
        raise BackendError(f"{who} sent {len(vectors)} embeddings for {len(texts)} texts.")
    return Embeddings([_unit(vector) for vector in vectors], read.prompt_tokens if read else 0)


async def post_json(session: aiohttp.ClientSession, url: str, body: dict[str, Any], who: str) -> Any:
    """Post `body` and read the JSON that comes back. Raises BackendTimeout, BackendUnavailable, BackendError."""
    try:
        async with session.post(url, json=body) as response:
            said = await response.read()
            if response.status != 200:
                raise error_from(response.status, said, who)
    except TimeoutError as error:
        raise BackendTimeout(f"{who} did not answer in time. Send the request again, or ask for less.") from error
    except (aiohttp.ClientError, ConnectionError, FileNotFoundError) as error:
        raise BackendUnavailable(f"{who} cannot be reached: {error}. Check that it runs.") from error
    try:
        return msgspec.json.decode(said)
    except msgspec.DecodeError as error:
        raise BackendError(f"{who} sent something that is not JSON: {said[:80]!r}.") from error


async def sse_data(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The `data` fields of a server-sent event stream (WHATWG HTML, section 9.2), however the bytes are cut."""
    buffer = b""
    async for piece in pieces:
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            stripped = line.rstrip(b"\r")
            if stripped.startswith(b"data:"):
                yield stripped[5:].strip()
            elif stripped.startswith(b"error:"):
                yield b'{"error":' + stripped[6:].strip() + b"}"
        if len(buffer) > _LINE_LIMIT:
            raise BackendError("A backend sent a line of more than 4 MiB. Nothing more of it was read.")


def parse_chunk(data: bytes, who: str) -> Chunk:
    """One `chat.completion.chunk` object as a Chunk."""
    try:
        raw = msgspec.json.decode(data)
        if not isinstance(raw, dict):
            raise TypeError("not an object")
        if "error" in raw:
            raise error_from(500, data, who)
        choices = raw.get("choices") or []
        choice = choices[0] if choices else {}
        delta = choice.get("delta") or {}
        return Chunk(
            text=delta.get("content") or "",
            tool_calls=tuple(delta.get("tool_calls") or ()),
            logprobs=_logprobs(choice.get("logprobs")),
            finish_reason=_finish_reason(choice.get("finish_reason"), who),
            usage=_usage(raw.get("usage")),
        )
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"{who} sent something that is not a chat completion chunk: {data[:80]!r}.") from error


def error_from(status: int, body: bytes, who: str) -> ConcertinoError:
    """The exception for an error answer. What the other side said is quoted, shortened."""
    message, kind = _error_text(body)
    said = message[:300] or f"HTTP {status}"
    if kind in ("exceed_context_size_error", "context_length_exceeded"):
        return ContextTooLong(f"The conversation does not fit the model: {said}. Shorten it.", param="messages")
    if status == 429:
        return Overloaded(f"{who} is busy: {said}. Try again later.")
    if status in (401, 403):
        return BackendError(f"{who} refused our key: {said}. Check the key that the backend is configured with.")
    if 400 <= status < 500:
        return InvalidRequest(f"{who} refused the request: {said}.")
    return BackendError(f"{who} failed: {said}. Send the request again.")


def _error_text(body: bytes) -> tuple[str, str]:
    try:
        raw = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace"), ""
    error = raw.get("error", raw) if isinstance(raw, dict) else raw
    if isinstance(error, dict):
        code = error.get("code")
        return str(error.get("message", "")), code if isinstance(code, str) else str(error.get("type"))
    return str(error), ""


def _finish_reason(raw: str | None, who: str) -> FinishReason | None:
    """The reason in OpenAI's terms. One that nobody knows is a stop: the answer is there, and the server ended it."""
    if not raw:
        return None
    reason = _REASONS.get(raw.lower())
    if reason is None and raw.lower() in _BROKEN_OFF:
        raise BackendError(f"{who} broke off its answer ({raw}). Send the request again.")
    if reason is None:
        _LOG.warning("%s ended an answer for the reason %r, which is not OpenAI's; it counts as 'stop'.", who, raw[:40])
    return reason or FinishReason.STOP


def _logprobs(raw: dict[str, Any] | None) -> tuple[TokenLogprob, ...]:
    if not raw or not raw.get("content"):
        return ()
    return tuple(
        TokenLogprob(
            token=item["token"],
            logprob=float(item["logprob"]),
            top=tuple(TopLogprob(top["token"], float(top["logprob"])) for top in item.get("top_logprobs") or ()),
        )
        for item in raw["content"]
    )


def _usage(raw: dict[str, Any] | None) -> Usage | None:
    if not raw:
        return None
    return Usage(
        prompt_tokens=int(raw.get("prompt_tokens") or 0),
        completion_tokens=int(raw.get("completion_tokens") or 0),
        cached_tokens=int((raw.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    )


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else vector
