"""Beam search: the likeliest of several answers, where greedy decoding takes the likeliest token at each step.

llama.cpp's server continues one sequence, so each step asks it for the likeliest next tokens of all that are kept, at
once. What it has read of a sequence before is in its cache.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from msgspec import Struct

from concertino.backends.openai_wire import post_json
from concertino.errors import BackendError, ContextTooLong
from concertino.types import Chunk, FinishReason, TokenLogprob, Usage

UNLIKELY = math.log(10)
"""A sequence that many times less likely than the best of its length is given up: it hardly ever wins in the end. With
50 times the answers were the same, for 1.4 times the work (30 rows of code/bash's dev part, 4 beams)."""


class Token(Struct, frozen=True):
    """A token that may come next."""

    id: int
    text: str
    data: bytes
    """What it stands for, which may be a part of a character; nothing for one that ends the answer."""
    logprob: float

    @property
    def ends(self) -> bool:
        return not self.data


class Beam(Struct, frozen=True):
    """A sequence, and the logarithm of its probability, with its end if it has one."""

    tokens: tuple[Token, ...] = ()
    logprob: float = 0.0

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    @property
    def ended(self) -> bool:
        return bool(self.tokens) and self.tokens[-1].ends

    def then(self, token: Token) -> "Beam":
        return Beam((*self.tokens, token), self.logprob + token.logprob)


async def search(following: Callable[[Sequence[int]], Awaitable[Sequence[Token]]], width: int, longest: int) -> Beam:
    """The likeliest sequence that is found with `width` kept at each step, of at most `longest` tokens.

    `following` gives the likeliest tokens after some, at least `width` + 1 where there are so many. One that ends is
    preferred to any that was cut off, here or where the context is full. With a width of 1 it is greedy decoding.
    Raises ContextTooLong where not even the first token has room.
    """
    live, best = [Beam()], None
    for _ in range(longest):
        try:
            rows = await asyncio.gather(*(following(beam.ids) for beam in live))
        except ContextTooLong:
            if not live[0].tokens:
                raise
            break
        grown = [beam.then(token) for beam, row in zip(live, rows, strict=True) for token in row]
        grown.sort(key=lambda beam: -beam.logprob)
        kept = grown[: width + sum(beam.ended for beam in grown[:width])]
        for beam in kept:
            if beam.ended and (best is None or beam.logprob > best.logprob):
                best = beam
        floor = max(best.logprob if best else -math.inf, grown[0].logprob - UNLIKELY)
        live = [beam for beam in kept if not beam.ended and beam.logprob > floor][:width]
        if not live:
            break
    return best or live[0]


class Continuations:
    """What an engine says may follow a prompt and some tokens."""

    def __init__(self, session: aiohttp.ClientSession, prompt: str, count: int, lora: list[Any], who: str) -> None:
        self._session, self._prompt, self._who = session, prompt, who
        self._body = {"n_predict": 1, "n_probs": count, "temperature": 0.0, "cache_prompt": True, "lora": lora}
        self.prompt_tokens = 0

    async def __call__(self, ids: Sequence[int]) -> list[Token]:
        """The likeliest tokens, likeliest first. Raises BackendError, BackendUnavailable, ContextTooLong."""
        body = self._body | {"prompt": [self._prompt, *ids] if ids else self._prompt}
        said = await post_json(self._session, "http://engine/completion", body, self._who)
        try:
            self.prompt_tokens = self.prompt_tokens or int(said["tokens_evaluated"])
            (top,) = (step["top_logprobs"] for step in said["completion_probabilities"])
            found = [Token(one["id"], one["token"], bytes(one["bytes"]), float(one["logprob"])) for one in top]
        except (KeyError, TypeError, ValueError) as error:
            raise self._silent() from error
        if not found:
            raise self._silent()
        return found

    def _silent(self) -> BackendError:
        return BackendError(f"{self._who} did not say which tokens may follow. Send the request again.")


async def likeliest(
    session: aiohttp.ClientSession,
    messages: list[dict[str, Any]],
    width: int,
    longest: int,
    lora: list[Any],
    who: str,
) -> Chunk:
    """The answer to messages in OpenAI's form that a search with `width` sequences finds, of at most `longest` tokens.

    Its log-probabilities are those of its tokens and of its end. Usage counts the answer, not what was given up.
    """
    said = await post_json(session, "http://engine/apply-template", {"messages": messages}, who)
    following = Continuations(session, said["prompt"], width + 1, lora, who)
    beam = await search(following, width, longest)
    return Chunk(
        text=b"".join(token.data for token in beam.tokens).decode("utf-8", "replace"),
        logprobs=tuple(TokenLogprob(token.text, token.logprob, ()) for token in beam.tokens),
        finish_reason=FinishReason.STOP if beam.ended else FinishReason.LENGTH,
        usage=Usage(prompt_tokens=following.prompt_tokens, completion_tokens=len(beam.tokens)),
    )
