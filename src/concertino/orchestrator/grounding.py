"""What a specialist says in conversation besides its model's words: quotes, sources, referrals.

The model's backend is wrapped for one request, so that streaming, fallback, audit and clients stay as they are.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

from msgspec import structs

from concertino.backends.base import Backend, Generation, Health
from concertino.config import Settings, SpecialistCard
from concertino.errors import BackendError, ModelError
from concertino.knowledge import wording
from concertino.knowledge.index import Index
from concertino.knowledge.lookup import Found, Shelf, look_up, question_of, with_context
from concertino.knowledge.passages import Passage
from concertino.knowledge.quoting import quotes
from concertino.orchestrator import scope
from concertino.policy.rules import CHARACTERS_PER_TOKEN, Policy
from concertino.specialists.pool import Pool, Target
from concertino.types import Chunk, Decision, Embeddings, FinishReason, Message, Principal, Request, Role, Usage

_PIECE = re.compile(r"\S+\s*|\s+")
_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)


class Grounded:
    """A backend that says `opening` before its model's answer and `closing` after it; with `text`, that instead.

    With `question` the last message is asked in those words. `sources` are ids of the passages that were used.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        opening: str = "",
        text: str = "",
        question: str = "",
        closing: str = "",
        sources: Sequence[Passage] = (),
    ) -> None:
        self.backend = backend
        self.capabilities = backend.capabilities
        self.sources = tuple(passage.id for passage in sources)
        self._opening, self._text, self._question, self._closing = opening, text, question, closing

    async def start(self) -> None:
        await self.backend.start()

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        if self._text:
            whole = f"{self._opening}\n\n{self._text}" if self._opening else self._text
            for piece in _PIECE.findall(whole):
                yield Chunk(text=piece)
            yield Chunk(finish_reason=FinishReason.STOP, usage=Usage())
            return
        if self._question:
            *before, last = generation.messages
            asked = structs.replace(last, content=self._question)
            generation = structs.replace(generation, messages=(*before, asked))
        opening, closing = self._opening, self._closing
        stream = self.backend.generate(generation)
        try:
            async for chunk in stream:
                if opening:  # not before the model's first chunk: until then another specialist may have to answer
                    yield Chunk(text=f"{opening}\n\n")
                    opening = ""
                if chunk.finish_reason is not None and closing:
                    yield Chunk(text=f"{chunk.text}\n\n{closing}")
                    closing, chunk = "", structs.replace(chunk, text="")
                yield chunk
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        return await self.backend.embed(model, texts)

    def health(self) -> Health:
        return self.backend.health()

    async def close(self) -> None:
        await self.backend.close()


def sources_of(target: Target) -> tuple[str, ...]:
    """Ids of the passages behind an answer."""
    backend = target.specialist.backend
    return backend.sources if isinstance(backend, Grounded) else ()


class Grounder:
    """Looks up what was asked, where the specialist's card says so. The home folder holds the indexes.

    What is found is read by `policy` together with the request: a model is given no passage that its specialist may not
    see, whoever ingested it.
    """

    def __init__(self, settings: Settings, policy: Policy) -> None:
        self._shelf = Shelf(settings.home_path)
        self._phi_tag = settings.policy.phi_tag
        self._policy = policy

    async def ground(
        self, target: Target, request: Request, decision: Decision, pool: Pool, principal: Principal
    ) -> Target:
        """The target with what it must say in this answer; the same one where it is only to answer.

        Raises ConfigurationError for an index that cannot be read.
        """
        if target.skill is not None:
            return target
        note, backend = scope.said(decision), target.specialist.backend
        if decision.referral is not None and decision.referral.instead:
            return _with(target, Grounded(backend, text=note))
        grounded = await self._from_sources(target, request, decision, pool, principal, note)
        if grounded is None:
            return _with(target, Grounded(backend, opening=note)) if note else target
        return _with(target, grounded)

    async def _from_sources(
        self, target: Target, request: Request, decision: Decision, pool: Pool, principal: Principal, note: str
    ) -> Grounded | None:
        """None where the model answers as it would without sources."""
        card, backend = target.specialist.card, target.specialist.backend
        question = question_of(request.messages)
        if card.knowledge == "off" or question is None or _is_a_program(request):
            return None
        index = await asyncio.to_thread(self._shelf.index, card.name)
        if index is None and card.knowledge != "required":
            return None
        if index is None:
            missing = wording.nothing_ingested(card.name)
            told = any(missing in message.text for message in request.messages if message.role is Role.ASSISTANT)
            return None if told else Grounded(backend, opening=_joined(note, missing))
        asked = with_context(index, request.messages)
        vector = await self._vector(index, asked, decision, pool)
        found = await asyncio.to_thread(look_up, index, asked, vector)
        own_words = any(message.role in _INSTRUCTING for message in request.messages)
        if card.knowledge == "required" and not (found.hits and own_words):
            return await asyncio.to_thread(_quoted, backend, card, index, found, note)
        if not found.hits:
            return Grounded(backend, opening=_joined(note, wording.recalled(card.name)))
        seen = await self._permitted([hit.passage for hit in found.hits], card, request, principal)
        if not seen and card.knowledge == "required":
            return await asyncio.to_thread(_quoted, backend, card, index, found, note)  # which no model reads
        if not seen:
            return Grounded(backend, opening=_joined(note, wording.withheld(card.name)))
        passages = _fitting(seen, card, request)
        return Grounded(
            backend,
            opening=note,
            question=wording.with_passages(question, passages),
            closing=wording.source_lines(passages),
            sources=passages,
        )

    async def _permitted(
        self, passages: Sequence[Passage], card: SpecialistCard, request: Request, principal: Principal
    ) -> list[Passage]:
        """Those that the specialist may see: each is judged together with the request and with those before it."""
        if self._phi_tag in card.compliance:
            return list(passages)
        if await self._may_see(card, passages, request, principal):  # as a rule, and read once for all
            return list(passages)
        kept: list[Passage] = []
        for passage in passages:
            if await self._may_see(card, [*kept, passage], request, principal):
                kept.append(passage)
        return kept

    async def _may_see(
        self, card: SpecialistCard, passages: Sequence[Passage], request: Request, principal: Principal
    ) -> bool:
        told = [Message(Role.USER, f"{one.title}\n{one.text}") for one in passages]
        shown = structs.replace(request, messages=(*request.messages, *told))
        # Of no length: what does not fit is left out afterwards.
        return card.name in (await self._policy.evaluate(shown, principal, characters=0)).eligible

    async def _vector(self, index: Index, question: str, decision: Decision, pool: Pool) -> Sequence[float] | None:
        """The question's vector by the model of the index, or None: words alone must do then."""
        card = next((card for card in pool.settings.embeddings if card.model == index.model), None)
        if card is None or (decision.verdict.facts.health_data and self._phi_tag not in card.compliance):
            return None
        try:
            return (await pool.backends[card.backend].embed(card.model, [question])).vectors[0]
        except (BackendError, ModelError):
            return None


def _quoted(backend: Backend, card: SpecialistCard, index: Index, found: Found, note: str) -> Grounded:
    """An answer of fixed sentences and quotes, in which no model has a word."""
    if not found.hits:
        return Grounded(backend, opening=note, text=wording.nothing_found(card.name, card.advice))
    chosen = quotes(index, found.question, list(found.hits))
    text = wording.quoted(chosen, card.name, card.advice)
    return Grounded(backend, opening=note, text=text, sources=[quote.passage for quote in chosen])


def _is_a_program(request: Request) -> bool:
    """Whether the answer is read by a program, which sources would break."""
    return bool(request.tools) or (request.response_format or {}).get("type", "text") != "text"


def _fitting(passages: list[Passage], card: SpecialistCard, request: Request) -> list[Passage]:
    """As many passages as the model's context has room for beside the conversation, at least the first."""
    room = (card.context_tokens - card.max_tokens) * CHARACTERS_PER_TOKEN * 0.7 - len(request.text)
    kept = passages[:1]
    for passage in passages[1:]:
        if sum(len(one.text) + len(one.title) for one in (*kept, passage)) <= room:
            kept.append(passage)
    return kept


def _joined(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))


def _with(target: Target, backend: Grounded) -> Target:
    return structs.replace(target, specialist=structs.replace(target.specialist, backend=backend))
