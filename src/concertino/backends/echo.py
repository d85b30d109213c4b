"""A backend with no model: it answers with what it was told, always in the same way.

It runs the whole request path in tests, in demonstrations and in measurements of the gateway itself.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from concertino.backends.base import BackendContext, Capability, Generation, Health
from concertino.backends.options import parse_options
from concertino.errors import ContextTooLong
from concertino.types import Chunk, Embeddings, FinishReason, Role, TokenLogprob, TopLogprob, Usage

_WORD = re.compile(r"\S+\s*|\s+")
_LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


class EchoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a backend of type `echo`."""

    delay_s: float = 0.0
    """Pause before each word, to stand in for a model's speed."""
    dimensions: int = 32
    """Length of its embeddings."""


class EchoBackend:
    """Streams the last user message back word by word; a word counts as a token.

    Under a grammar made of alternatives it answers with the first of them that the message contains, else the first.
    """

    capabilities = frozenset({Capability.EMBED, Capability.GRAMMAR, Capability.LOGPROBS, Capability.SEED})

    def __init__(self, context: BackendContext) -> None:
        self._options = parse_options(context, EchoOptions)
        self._context_tokens = {use.model: use.context_tokens for use in context.uses}

    async def start(self) -> None:
        return

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        prompt_tokens = sum(len(message.text.split()) for message in generation.messages)
        limit = self._context_tokens.get(generation.model, 4096)
        if prompt_tokens > limit:
            said = f"The conversation has {prompt_tokens} tokens and the model reads {limit}. Shorten it."
            raise ContextTooLong(said, param="messages")
        sampling = generation.sampling
        words = _WORD.findall(self._answer(generation))
        most = sampling.max_tokens if isinstance(sampling.max_tokens, int) else len(words)
        sent, finish = "", FinishReason.LENGTH if most < len(words) else FinishReason.STOP
        count = 0
        for word in words[:most]:
            if self._options.delay_s:
                await asyncio.sleep(self._options.delay_s)
            count += 1
            cut = _cut_at_stop(sent + word, sampling.stop)
            text = word if cut is None else cut[len(sent) :]
            sent += text
            yield Chunk(text=text, logprobs=_certain(text, sampling.top_logprobs) if sampling.logprobs else ())
            if cut is not None:
                finish = FinishReason.STOP
                break
        yield Chunk(finish_reason=finish, usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=count))

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        vectors = [_hash_vector(text, self._options.dimensions) for text in texts]
        return Embeddings(vectors, sum(len(text.split()) for text in texts))

    def health(self) -> Health:
        return Health.READY

    async def close(self) -> None:
        return

    @staticmethod
    def _answer(generation: Generation) -> str:
        users = [message.text for message in generation.messages if message.role is Role.USER]
        said = users[-1] if users else ""
        if generation.grammar is None:
            return said
        choices = [re.sub(r"\\(.)", r"\1", literal) for literal in _LITERAL.findall(generation.grammar)]
        named = [choice for choice in choices if choice.lower() in said.lower()]
        return (named or choices or [said])[0]


def _cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """`text` up to the first stop string in it, or None."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(found)] if found else None


def _certain(text: str, top: int) -> tuple[TokenLogprob, ...]:
    return (TokenLogprob(text, 0.0, (TopLogprob(text, 0.0),) if top else ()),)


def _hash_vector(text: str, dimensions: int) -> list[float]:
    raw = hashlib.shake_256(text.encode()).digest(dimensions)
    centred = [byte - 127.5 for byte in raw]
    length = sum(value * value for value in centred) ** 0.5
    return [value / length for value in centred]
