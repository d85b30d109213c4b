"""Our own nouns -> the OpenAI bodies, whole and streamed."""

import base64
import struct
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from concertino.types import Answer, Chunk, Decision, TokenLogprob, Usage


def decision_headers(decision: Decision) -> dict[str, str]:
    """The Decision as response headers; the reason is cut to what a proxy will carry."""
    headers = {
        "x-concertino-specialist": decision.specialist,
        "x-concertino-confidence": f"{decision.confidence:.4f}",
        "x-concertino-tier": decision.tier.value,
        "x-concertino-reason": decision.reason[:500],
    }
    if decision.skill:
        headers["x-concertino-skill"] = decision.skill
    if decision.plan is not None:
        headers["x-concertino-parts"] = ", ".join(task.specialist for task in decision.plan.tasks)
    return headers


def completion(answer: Answer, show_decision: bool, fingerprint: str) -> dict[str, Any]:
    """A `chat.completion` object. A skill's confidence is always told; the Decision on request."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = msgspec.to_builtins(answer.tool_calls)
        message["content"] = answer.text or None
    body: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_name(answer.decision),
        "system_fingerprint": fingerprint,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": answer.finish_reason.value,
                "logprobs": _logprobs(answer.logprobs),
            }
        ],
        "usage": usage_object(answer.usage),
    }
    own = own_fields(answer, show_decision)
    if own:
        body["concertino"] = own
    return body


def own_fields(answer: Answer, show_decision: bool) -> dict[str, Any]:
    """The `concertino` field of an answer."""
    own: dict[str, Any] = {}
    if answer.decision.skill:
        own |= {"confidence": answer.confidence, "abstained": answer.abstained, "escalated": answer.escalated}
        if answer.scope is not None:
            own["scope"] = answer.scope
    if answer.parts:
        own["parts"] = msgspec.to_builtins(answer.parts)
    if show_decision:
        own["decision"] = msgspec.to_builtins(answer.decision)
    return own


def model_name(decision: Decision) -> str:
    """`specialist` or `specialist/skill`: who answered."""
    return f"{decision.specialist}/{decision.skill}" if decision.skill else decision.specialist


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


class ChunkWriter:
    """Makes the `chat.completion.chunk` objects of one stream."""

    def __init__(self, request_id: str, decision: Decision, fingerprint: str, include_usage: bool) -> None:
        self._common: dict[str, Any] = {
            "id": request_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model_name(decision),
            "system_fingerprint": fingerprint,
        }
        if include_usage:
            self._common["usage"] = None

    def first(self, decision: Decision | None) -> dict[str, Any]:
        """The chunk that opens a stream; it carries the Decision if that was asked for."""
        opening = self._chunk({"role": "assistant", "content": ""})
        if decision is not None:
            opening["concertino"] = {"decision": msgspec.to_builtins(decision)}
        return opening

    def piece(self, chunk: Chunk) -> dict[str, Any] | None:
        """A chunk of text or tool calls, or of the progress of a part; None where there is nothing to send."""
        if chunk.part is not None:
            return {**self._chunk({}), "concertino": {"part": msgspec.to_builtins(chunk.part)}}
        if not chunk.text and not chunk.tool_calls:
            return None
        delta: dict[str, Any] = {"content": chunk.text} if chunk.text else {}
        if chunk.tool_calls:
            delta["tool_calls"] = list(chunk.tool_calls)
        return self._chunk(delta, logprobs=_logprobs(chunk.logprobs))

    def last(self, answer: Answer) -> dict[str, Any]:
        """The chunk that says why the answer ended."""
        closing = self._chunk({}, finish_reason=answer.finish_reason.value)
        own = own_fields(answer, False)
        if own:
            closing["concertino"] = own
        return closing

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The chunk that follows the last one when `stream_options.include_usage` was set."""
        return {**self._common, "choices": [], "usage": usage_object(usage)}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
        return {**self._common, "choices": [choice]}


def embeddings_object(model: str, vectors: Sequence[Sequence[float]], as_base64: bool, tokens: int) -> dict[str, Any]:
    """A list of embeddings; base64 is little-endian float32, as the official clients expect."""
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if as_base64 else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": rows,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not tokens:
        return None
    content = [
        {
            "token": step.token,
            "logprob": step.logprob,
            "bytes": list(step.token.encode()),
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": list(top.token.encode())} for top in step.top
            ],
        }
        for step in tokens
    ]
    return {"content": content, "refusal": None}
