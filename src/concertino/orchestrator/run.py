"""One specialist answering one request: the stream, what it cost, and the fallback before the first token."""

import time
from collections.abc import AsyncIterator, Sequence

from msgspec import structs

from concertino import calculation
from concertino.confidence import within
from concertino.config import SkillCard
from concertino.errors import BackendError, BackendUnavailable, InvalidRequest
from concertino.orchestrator import costs
from concertino.orchestrator.costs import Meter, Spending
from concertino.specialists.pool import Pool, Target
from concertino.specialists.prompts import generation_for
from concertino.specialists.skills import confidence_of
from concertino.storage.budgets import Cost
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

    `fallbacks` are tried in turn, with the same request, while not a token has been sent. With an `escalation` a
    skill's answer is held back until its confidence is known; below the threshold the escalation answers instead.
    Every generation is counted in `spending`.
    """

    def __init__(
        self,
        id: str,
        request: Request,
        decision: Decision,
        target: Target,
        fallbacks: list[Target],
        escalation: Target | None = None,
        spending: Spending | None = None,
    ) -> None:
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
        self.scope: float | None = None
        self.tool_calls: list[ToolCall] = []
        self._call_places: dict[object, int] = {}
        """Where the call stands whose pieces come under an index."""
        self.escalated = False
        self.spending = Spending() if spending is None else spending
        self._escalation = escalation
        self._spent = Usage()
        """On an answer that was held back and given up."""
        self._fallbacks = list(fallbacks)
        self._stream: AsyncIterator[Chunk] | None = None
        self._meter: Meter | None = None
        self._first: Chunk | None = None
        self._started = time.monotonic()

    @property
    def answered_by(self) -> str:
        """The specialist whose words these are."""
        return self.target.specialist.card.name

    @property
    def model_hashes(self) -> dict[str, str]:
        """The weights that may answer, by specialist."""
        targets = (self.target, self._escalation) if self._escalation else (self.target,)
        return {target.specialist.card.name: target.specialist.model_hash for target in targets}

    def most(self, pool: Pool) -> Cost:
        """The most that this can take, whoever answers in the end."""
        return costs.most(pool, self.target, self.request, self._fallbacks, self._escalation)

    def leave_alone(self) -> bool:
        """Give up those who would answer instead or after, where a budget has no room for them; false if none would."""
        others = [*self._fallbacks, *([self._escalation] if self._escalation else [])]
        if others:
            names = " and ".join(dict.fromkeys(target.specialist.card.name for target in others))
            reason = f"{self.decision.reason} The budget has no room for {names} besides."
            self.decision = structs.replace(self.decision, reason=reason)
            self._fallbacks, self._escalation = [], None
        return bool(others)

    async def open(self) -> None:
        """Wait for the first chunk; where the answer may be escalated or calculated, for the last. Raises what the
        backend raised when no fallback is left."""
        await self._open()
        if self._escalation is not None:
            await self._settle(self._escalation)
        if self.target.skill is not None and self.target.skill.calculate:
            await self._calculate()

    async def _open(self) -> None:
        while True:
            specialist = self.target.specialist
            stream = self._generate(self.target, self.decision.earlier)
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

    def _generate(self, target: Target, earlier: Sequence[str] = ()) -> AsyncIterator[Chunk]:
        specialist, generation = target.specialist, generation_for(target, self.request, earlier)
        stream = self.spending.metered(specialist.card, generation, specialist.backend.generate(generation))
        self._meter = self.spending.newest
        return stream

    def _fall_back(self, target: Target) -> None:
        gone, name = self.decision.specialist, target.specialist.card.name
        reason = f"{self.decision.reason} {gone} could not be reached, so {name} answers."
        self.decision = structs.replace(self.decision, specialist=name, reason=reason)
        self.target = target

    async def _settle(self, escalation: Target) -> None:
        """Read the whole answer, and where the skill is not sure of it, that of the escalation."""
        held = [chunk async for chunk in self._rest()]
        self._spent = self.usage = _usage(held)
        said = next((chunk.confidence for chunk in held if chunk.confidence is not None), None)
        scope = next((chunk.scope for chunk in held if chunk.scope is not None), None)
        sure = _confidence(self.target, said, [step for chunk in held for step in chunk.logprobs], scope)
        if why := _unsure(self.target.skill, sure, scope):
            try:
                stream = self._generate(escalation)
                self._stream = stream
                instead = [chunk async for chunk in stream]
            except (BackendError, InvalidRequest):
                instead = []  # nobody can help: the answer stays, and is marked abstained
            if any(chunk.text for chunk in instead):
                self._escalate(escalation, why)
                held = instead
        if not self.escalated:
            self._spent = self.usage = Usage()  # it is counted as it is sent
        self._stream = _replay(held)
        self._first = await anext(self._stream)

    async def _calculate(self) -> None:
        """Read the whole answer; the first chunk then has it, its calculation done, and how sure the model was."""
        read = [chunk async for chunk in self._rest()]
        steps = [step for chunk in read for step in chunk.logprobs]
        text = calculation.done("".join(chunk.text for chunk in read))
        held = [structs.replace(chunk, text="", logprobs=()) for chunk in read]
        sure = held[0].confidence
        if sure is None and self.target.skill is not None:
            sure = confidence_of(self.target.skill, steps)
        self._stream = _replay([structs.replace(held[0], text=text, confidence=sure), *held[1:]])
        self._first = await anext(self._stream)

    def _escalate(self, target: Target, why: str) -> None:
        said = f"{why}, so {target.specialist.card.name} answers."
        self.decision = structs.replace(self.decision, reason=f"{self.decision.reason} {said}")
        self.target, self.escalated = target, True

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, chunk by chunk. What passes is kept, so that `answer` can be made afterwards."""
        async for chunk in self._rest():
            self._keep(chunk)
            yield structs.replace(chunk, logprobs=self._asked_for(chunk.logprobs)) if chunk.logprobs else chunk
        self.complete = True

    def _asked_for(self, steps: Sequence[TokenLogprob]) -> tuple[TokenLogprob, ...]:
        """Log-probabilities as the caller wants them: a skill's confidence needs more rivals than most ask for."""
        sampling = self.request.sampling
        if not sampling.logprobs:
            return ()
        return tuple(structs.replace(step, top=step.top[: sampling.top_logprobs]) for step in steps)

    async def _rest(self) -> AsyncIterator[Chunk]:
        assert self._stream is not None and self._first is not None, "open() first"
        yield self._first
        async for chunk in self._stream:
            yield chunk

    def _keep(self, chunk: Chunk) -> None:
        if self.first_token_s is None and (chunk.text or chunk.tool_calls):
            self.first_token_s = time.monotonic() - self._started
        self.text += chunk.text
        self.logprobs.extend(chunk.logprobs)
        if chunk.confidence is not None:
            self.confidence = chunk.confidence
        if chunk.scope is not None:
            self.scope = chunk.scope
        for delta in chunk.tool_calls:
            self._keep_tool_call(delta)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        if chunk.usage is not None:
            self.usage = self._spent + chunk.usage
        elif chunk.text and not self.complete:
            # Until the engine counts for us, if it ever does, a chunk of text is a token.
            self.usage = structs.replace(self.usage, completion_tokens=self.usage.completion_tokens + 1)

    def _keep_tool_call(self, delta: dict[str, object]) -> None:
        """Tool calls come in pieces: the first names the function, the rest append to its arguments.

        Servers count from zero, from one or not at all, and some give all calls one index: another id is another call.
        Without an index a piece that names nothing is of the call before it.
        """
        function = delta.get("function")
        parts = function if isinstance(function, dict) else {}
        name, arguments = str(parts.get("name") or ""), str(parts.get("arguments") or "")
        index, given = delta.get("index"), str(delta.get("id") or "")
        if not isinstance(index, int):
            index = None
        last = len(self.tool_calls) - 1 if self.tool_calls and (not name or given == self.tool_calls[-1].id) else None
        place = last if index is None else self._call_places.get(index)
        if place is None or (name and given and given != self.tool_calls[place].id):
            place = self._call_places[index] = len(self.tool_calls)
            call_id = given or f"call_{self.id[-12:]}_{place}"
            self.tool_calls.append(ToolCall(call_id, FunctionCall(name, arguments)))
            return
        known = self.tool_calls[place]
        joined = FunctionCall(known.function.name or name, known.function.arguments + arguments)
        self.tool_calls[place] = structs.replace(known, function=joined)

    async def close(self) -> None:
        """Stop the generation if it still runs; `usage` is then what it took, prompt included, as budgets reckon it."""
        if self._stream is not None and hasattr(self._stream, "aclose"):
            await self._stream.aclose()
        if self._meter is not None and not self.complete:
            self.usage = self._spent + self._meter.usage

    def answer(self) -> Answer:
        """The finished answer; call it after `chunks` has ended."""
        confidence = _confidence(self.target, self.confidence, self.logprobs, self.scope)
        return Answer(
            id=self.id,
            text=self.text,
            specialist=self.answered_by,
            decision=self.decision,
            usage=self.usage,
            finish_reason=self.finish_reason or FinishReason.STOP,
            tool_calls=tuple(self.tool_calls),
            logprobs=self._asked_for(self.logprobs),
            confidence=confidence,
            abstained=bool(_unsure(self.target.skill, confidence, self.scope)),
            scope=self.scope if self.target.skill else None,
            escalated=self.answered_by if self.escalated else None,
        )


def _confidence(
    target: Target, said: float | None, logprobs: Sequence[TokenLogprob], scope: float | None
) -> float | None:
    """What the engine says itself, else what its log-probabilities say of the answer, less for a text that is not the
    skill's; None where neither they nor a scope say anything."""
    if said is None and target.skill is not None:
        said = confidence_of(target.skill, logprobs)
    return within(said, scope)


def _unsure(skill: SkillCard | None, confidence: float | None, scope: float | None) -> str:
    """Which of a skill's thresholds an answer is below, in words; empty if it is below none."""
    if skill is None:
        return ""
    if skill.scope_threshold is not None and (scope is None or scope < skill.scope_threshold):
        was = "It is not known whether the text is one" if scope is None else f"With {scope:.2f} the text is hardly one"
        return f"{was} for {skill.name}"
    if skill.threshold is not None and (confidence is None or confidence < skill.threshold):
        was = "not known" if confidence is None else f"{confidence:.2f}"
        return f"The confidence of {skill.name} is {was}, below {skill.threshold:.2f}"
    return ""


def _usage(chunks: Sequence[Chunk]) -> Usage:
    return next((chunk.usage for chunk in reversed(chunks) if chunk.usage), Usage())


async def _replay(chunks: Sequence[Chunk]) -> AsyncIterator[Chunk]:
    for chunk in chunks:
        yield chunk
