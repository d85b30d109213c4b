"""One specialist answering one request: the stream, what it cost, and the fallback before the first token."""

import time
from collections.abc import AsyncIterator

from msgspec import structs

from concertino.errors import BackendError, BackendUnavailable
from concertino.specialists.pool import Target
from concertino.specialists.prompts import generation_for
from concertino.specialists.skills import label_confidence
from concertino.types import (
    Answer,
    Chunk,
    Decision,
    FinishReason,
    FunctionCall,
    Request,
    TokenLogprob,
    ToolCall,
    Usage,
)


class Run:
    """An answer on its way. `decision` is final once `open` has returned; then read `chunks` to the end.

    `fallbacks` are tried in turn, with the same request, while not a token has been sent.
    """

    def __init__(self, id: str, request: Request, decision: Decision, target: Target, fallbacks: list[Target]) -> None:
        self.id = id
        self.request = request
        self.decision = decision
        self.target = target
        self.usage = Usage()
        self.finish_reason: FinishReason | None = None
        self.first_token_s: float | None = None
        self.complete = False
        self.text = ""
        self.logprobs: list[TokenLogprob] = []
        self.confidence: float | None = None
        self.tool_calls: list[ToolCall] = []
        self._fallbacks = list(fallbacks)
        self._stream: AsyncIterator[Chunk] | None = None
        self._first: Chunk | None = None
        self._started = time.monotonic()

    async def open(self) -> None:
        """Wait for the first chunk. Raises what the backend raised when no fallback is left."""
        while True:
            specialist = self.target.specialist
            stream = specialist.backend.generate(generation_for(self.target, self.request))
            self._stream = stream
            try:
                self._first = await anext(stream)
                return
            except StopAsyncIteration as error:
                raise BackendError(f"{specialist.card.name} answered nothing. Send the request again.") from error
            except BackendUnavailable:
                if not self._fallbacks:
                    raise
                self._fall_back(self._fallbacks.pop(0))

    def _fall_back(self, target: Target) -> None:
        gone, name = self.decision.specialist, target.specialist.card.name
        reason = f"{self.decision.reason} {gone} could not be reached, so {name} answers."
        self.decision = structs.replace(self.decision, specialist=name, reason=reason)
        self.target = target

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, chunk by chunk. What passes is kept, so that `answer` can be made afterwards."""
        assert self._stream is not None and self._first is not None, "open() first"
        self._keep(self._first)
        yield self._first
        async for chunk in self._stream:
            self._keep(chunk)
            yield chunk
        self.complete = True

    def _keep(self, chunk: Chunk) -> None:
        if self.first_token_s is None and (chunk.text or chunk.tool_calls):
            self.first_token_s = time.monotonic() - self._started
        self.text += chunk.text
        self.logprobs.extend(chunk.logprobs)
        if chunk.confidence is not None:
            self.confidence = chunk.confidence
        for delta in chunk.tool_calls:
            self._keep_tool_call(delta)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        if chunk.usage is not None:
            self.usage = chunk.usage
        elif chunk.text and not self.complete:
            # Until the engine counts for us, a chunk of text is a token: what a cancelled request is charged.
            self.usage = structs.replace(self.usage, completion_tokens=self.usage.completion_tokens + 1)

    def _keep_tool_call(self, delta: dict[str, object]) -> None:
        """Tool calls come in pieces: the first names the function, the rest append to its arguments."""
        function = delta.get("function")
        parts = function if isinstance(function, dict) else {}
        name, arguments = str(parts.get("name") or ""), str(parts.get("arguments") or "")
        index = delta.get("index")
        place = index if isinstance(index, int) else len(self.tool_calls)
        if place >= len(self.tool_calls):
            call_id = str(delta.get("id") or f"call_{self.id[-12:]}_{place}")
            self.tool_calls.append(ToolCall(call_id, FunctionCall(name, arguments)))
            return
        known = self.tool_calls[place]
        joined = FunctionCall(known.function.name or name, known.function.arguments + arguments)
        self.tool_calls[place] = structs.replace(known, function=joined)

    async def close(self) -> None:
        """Stop the generation if it still runs."""
        if self._stream is not None and hasattr(self._stream, "aclose"):
            await self._stream.aclose()

    def answer(self) -> Answer:
        """The finished answer; call it after `chunks` has ended."""
        skill = self.target.skill
        confidence = self.confidence
        if confidence is None and skill and skill.labels:
            confidence = label_confidence(skill.labels, self.logprobs)
        threshold = skill.threshold if skill else None
        return Answer(
            id=self.id,
            text=self.text,
            specialist=self.decision.specialist,
            decision=self.decision,
            usage=self.usage,
            finish_reason=self.finish_reason or FinishReason.STOP,
            tool_calls=tuple(self.tool_calls),
            logprobs=tuple(self.logprobs) if self.request.sampling.logprobs else (),
            confidence=confidence,
            abstained=threshold is not None and (confidence is None or confidence < threshold),
        )
