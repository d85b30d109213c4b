"""What llama.cpp, which will serve an adapter, makes of the same prompts as torch, which trained it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from concertino.backends.base import BackendContext, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.config import SkillCard, SpecialistCard
from concertino.errors import TrainingRefused
from concertino.specialists.skills import skill_generation
from concertino.training.causal_data import PromptFormat

ROWS = 16
"""Rows on which the two are compared."""

AGREEMENT = 0.9
"""Share of equal answers below which an adapter is not exported."""


class Agreement(Struct, frozen=True):
    """How often llama.cpp and torch answered alike."""

    rows: int
    equal: float
    """Share of rows with the same answer to the letter."""
    shared: float
    """Mean share of an answer before the first difference; arithmetic in other roundings may part two long answers."""


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
    return asyncio.run(_served_answers(gguf, adapter, skill, texts, context, threads))


async def _served_answers(
    gguf: Path, adapter: Path | None, skill: SkillCard, texts: Sequence[str], context: int, threads: int
) -> list[str]:
    path = str(adapter) if adapter is not None else None
    card = SpecialistCard(skill.name, skill.description, "llamacpp", _MODEL, adapter=path)
    answers = []
    async with _engine(gguf, (path,) if path else (), context, threads) as backend:
        for text in texts:
            generation = skill_generation(card, skill, text, backend.capabilities)
            answers.append("".join([chunk.text async for chunk in backend.generate(generation)]))
    return answers


def compare(torch_answers: Sequence[str], served: Sequence[str]) -> Agreement:
    """Compare answers, aside of white space at their ends, and of a character that was cut in two there."""
    pairs = [(_core(one), _core(other)) for one, other in zip(torch_answers, served, strict=True)]
    equal = sum(one == other for one, other in pairs) / max(len(pairs), 1)
    return Agreement(len(pairs), equal, sum(_shared(*pair) for pair in pairs) / max(len(pairs), 1))


def _core(answer: str) -> str:
    return answer.strip().rstrip("\N{REPLACEMENT CHARACTER}")


def _shared(one: str, other: str) -> float:
    alike = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return alike / max(len(one), len(other), 1)


def refuse_disagreement(agreement: Agreement, free_text: bool, examples: Sequence[tuple[str, str]]) -> None:
    """Raise TrainingRefused below 90 % agreement: equal labels, or shared beginnings of free text."""
    share = agreement.shared if free_text else agreement.equal
    if share >= AGREEMENT:
        return
    torch_says, served = next(pair for pair in examples if pair[0].strip() != pair[1].strip())
    raise TrainingRefused(
        f"llama.cpp and torch agree on {share:.0%} of {agreement.rows} answers, and {AGREEMENT:.0%} are needed: "
        f"{torch_says[:80]!r} in training became {served[:80]!r} when served. The adapter was not exported. "
        "The checkpoints are kept; is the base that is served the one that was trained on?",
        param="training.base",
    )


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
