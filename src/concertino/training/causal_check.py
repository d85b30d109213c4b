"""What llama.cpp, which will serve an adapter, makes of the same prompts as torch, which trained it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from concertino.backends.base import Backend, BackendContext, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.config import SkillCard, SpecialistCard
from concertino.errors import BackendError, BackendTimeout, BackendUnavailable, InvalidRequest, TrainingRefused
from concertino.specialists.skills import skill_generation
from concertino.training.causal_data import PromptFormat

ROWS = 16
"""Rows on which the two are compared."""

TOKENS = 24
"""Tokens of each free-text answer that are compared one by one."""

AGREEMENT = 0.9
"""Share of equal answers below which an adapter is not exported."""


class Asked(Struct, frozen=True):
    """One text, and what torch said to it."""

    text: str
    prompt: list[int]
    """The text's prompt as token ids."""
    said: list[int]
    """The answer as token ids, the end of the turn included where it was reached."""
    answer: str


class Agreement(Struct, frozen=True):
    """How often llama.cpp and torch answered alike."""

    rows: int
    equal: float
    """Share of rows with the same answer to the letter."""
    tokens: float | None = None
    """Free text: share of the tokens of torch's answers that are llama.cpp's choice too after the tokens before them.

    llama.cpp rounds activations to eight bits, torch does not, so a near-tie early in a long answer may part the two
    for all of the rest; token by token, that counts once.
    """


def check_prompts(gguf: Path, format_: PromptFormat, texts: Sequence[str], threads: int) -> None:
    """Refuse to train on prompts that are not, token for token, what llama.cpp's server would make of the texts.

    Raises TrainingRefused with the first difference, BackendUnavailable where the engine does not start.
    """
    asyncio.run(_check_prompts(gguf, format_, texts, threads))


async def _check_prompts(gguf: Path, format_: PromptFormat, texts: Sequence[str], threads: int) -> None:
    async with _engine(gguf, (), 512, threads) as backend:
        connector = aiohttp.UnixConnector(path=str(backend.engines[_MODEL].socket_path))
        async with aiohttp.ClientSession(connector=connector) as session:
            for text in texts:
                messages = {"messages": [msgspec.to_builtins(message) for message in format_.messages(text)]}
                prompt = (await _post(session, "apply-template", messages))["prompt"]
                asked = {"content": prompt, "add_special": True, "parse_special": True}
                served = (await _post(session, "tokenize", asked))["tokens"]
                if served != format_.encode(text):
                    raise TrainingRefused(
                        "llama.cpp would put a question to this base in other words than it would be trained on: "
                        f"{prompt[-200:]!r} when serving, {format_.prompt(text)[-200:]!r} in training "
                        f"({len(served)} and {len(format_.encode(text))} tokens). Choose another base.",
                        param="training.base",
                    )


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(f"http://engine/{path}", json=body) as response:
        response.raise_for_status()
        found: dict[str, Any] = await response.json()
        return found


def served_answers(
    gguf: Path, adapter: Path | None, skill: SkillCard, texts: Sequence[str], context: int, threads: int
) -> list[str]:
    """What llama.cpp answers to texts with the adapter in GGUF, as a served skill would."""

    async def ask() -> list[str]:
        async with _engine(gguf, (str(adapter),) if adapter else (), context, threads) as backend:
            return await _answers(backend, adapter, skill, texts)

    return asyncio.run(ask())


def agreement(gguf: Path, adapter: Path, skill: SkillCard, asked: Sequence[Asked], end: int, threads: int) -> Agreement:
    """Ask llama.cpp what torch was asked.

    Raises TrainingRefused where the two agree on less than 90 % of the labels, or of the tokens of free text, and where
    llama.cpp gives no answer with the adapter at all.
    """
    found, served = asyncio.run(_agreement(gguf, adapter, skill, asked, end, threads))
    share = found.equal if found.tokens is None else found.tokens
    if share >= AGREEMENT:
        return found
    pairs = ((_core(one.answer), _core(other)) for one, other in zip(asked, served, strict=True))
    said, instead = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    raise TrainingRefused(
        f"llama.cpp and torch agree on {share:.0%} of the {'answers' if found.tokens is None else 'tokens'} to "
        f"{found.rows} texts, and {AGREEMENT:.0%} are needed: {said[:80]!r} in training became {instead[:80]!r} when "
        "served. The adapter was not exported. The checkpoints are kept; is the base that is served the one that was "
        "trained on?",
        param="training.base",
    )


async def _agreement(
    gguf: Path, adapter: Path, skill: SkillCard, asked: Sequence[Asked], end: int, threads: int
) -> tuple[Agreement, list[str]]:
    context = max(len(one.prompt) + skill.max_tokens for one in asked) + 16
    async with _engine(gguf, (str(adapter),), context, threads) as backend:
        with refusing_garbage(skill):
            served = await _answers(backend, adapter, skill, [one.text for one in asked])
            tokens = None if skill.labels else await _tokens_alike(backend, asked, end)
    return Agreement(len(asked), equal_share([one.answer for one in asked], served), tokens), served


@contextmanager
def refusing_garbage(skill: SkillCard) -> Iterator[None]:
    """What the engine raises while it answers with a fresh adapter, as the adapter's fault: TrainingRefused.

    Weights that are far too large leave no token that the grammar of the labels allows; llama.cpp then ends the request
    with an error of its own ("empty grammar stack"). An engine that is not there, or does not answer in time, is no
    fault of an adapter: that stays what it is.
    """
    try:
        yield
    except (BackendUnavailable, BackendTimeout):
        raise
    except (BackendError, InvalidRequest, aiohttp.ClientResponseError) as error:
        said = error.message.removesuffix("Send the request again.").rstrip(". ")
        under = "the grammar of its labels" if skill.labels else "its contract"
        raise TrainingRefused(
            f"The adapter's answers could not be read under {under}: {said}. Its weights have most likely run away "
            "while they were trained: look at the loss in curves.jsonl, and train again into another folder with a "
            "lower training.learning_rate. The adapter was not exported; the checkpoints are kept.",
            param="training.learning_rate",
        ) from error


async def _answers(backend: Backend, adapter: Path | None, skill: SkillCard, texts: Sequence[str]) -> list[str]:
    path = str(adapter) if adapter is not None else None
    card = SpecialistCard(skill.name, skill.description, "llamacpp", _MODEL, adapter=path)
    answers = []
    for text in texts:
        generation = skill_generation(card, skill, text, backend.capabilities)
        answers.append("".join([chunk.text async for chunk in backend.generate(generation)]))
    return answers


async def _tokens_alike(backend: LlamaCppBackend, asked: Sequence[Asked], end: int) -> float:
    """Share of torch's tokens that llama.cpp chooses after the same tokens."""
    alike = total = 0
    connector = aiohttp.UnixConnector(path=str(backend.engines[_MODEL].socket_path))
    async with aiohttp.ClientSession(connector=connector) as session:
        for one in asked:
            for place, token in enumerate(one.said[:TOKENS]):
                body = {
                    "prompt": [*one.prompt, *one.said[:place]],
                    "n_predict": 1,
                    "temperature": 0.0,
                    "cache_prompt": True,
                    "return_tokens": True,
                    "lora": [{"id": 0, "scale": 1.0}],
                }
                out = await _post(session, "completion", body)
                chosen = end if out.get("stop_type") == "eos" else next(iter(out.get("tokens", ())), None)
                alike += chosen == token
                total += 1
    return alike / max(total, 1)


def equal_share(torch_answers: Sequence[str], served: Sequence[str]) -> float:
    """Share of equal answers, aside of white space at their ends, and of a character that was cut in two there."""
    equal = sum(_core(one) == _core(other) for one, other in zip(torch_answers, served, strict=True))
    return equal / max(len(served), 1)


def _core(answer: str) -> str:
    return answer.strip().rstrip("\N{REPLACEMENT CHARACTER}")


_MODEL = "base"


@asynccontextmanager
async def _engine(gguf: Path, adapters: tuple[str, ...], context: int, threads: int) -> AsyncIterator[LlamaCppBackend]:
    use = ModelUse(_MODEL, adapters, context)
    options = {"threads": threads, "parallel": 1, "prompt_cache_mib": 0}
    backend = LlamaCppBackend(BackendContext("check", options, (use,), lambda _: gguf))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()
