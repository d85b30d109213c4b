"""The echo backend: the request path without a model."""

from pathlib import Path
from typing import Any

import pytest

from concertino.backends.base import BackendContext, Generation, ModelUse
from concertino.backends.echo import EchoBackend
from concertino.errors import ConfigurationError, ContextTooLong
from concertino.types import Chunk, FinishReason, Message, Role, Sampling


def echo(**options: Any) -> EchoBackend:
    return EchoBackend(BackendContext("echo", options, (ModelUse("echo", context_tokens=50),), Path))


async def answer(text: str, grammar: str | None = None, **sampling: Any) -> list[Chunk]:
    generation = Generation("echo", (Message(Role.USER, text),), Sampling(**sampling), grammar=grammar)
    return [chunk async for chunk in echo().generate(generation)]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def test_it_says_what_it_was_told_word_by_word() -> None:
    chunks = await answer("one two  three")
    assert [chunk.text for chunk in chunks[:-1]] == ["one ", "two  ", "three"]
    assert chunks[-1].finish_reason is FinishReason.STOP
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 3)


async def test_limits_and_stops_are_kept() -> None:
    cut = await answer("one two three", max_tokens=2)
    assert (text_of(cut), cut[-1].finish_reason) == ("one two ", FinishReason.LENGTH)
    stopped = await answer("one two three", stop=("wo",))
    assert (text_of(stopped), stopped[-1].finish_reason) == ("one t", FinishReason.STOP)


async def test_a_grammar_of_alternatives_is_kept() -> None:
    grammar = 'root ::= "red" | "deep blue" | "say \\"x\\""'
    assert text_of(await answer("I like Deep Blue", grammar)) == "deep blue"
    assert text_of(await answer("nothing known", grammar)) == "red"


async def test_a_conversation_over_the_context_is_refused() -> None:
    with pytest.raises(ContextTooLong, match="51 tokens and the model reads 50"):
        await answer("word " * 51)


async def test_embeddings_are_unit_length_and_repeatable() -> None:
    made = await echo(dimensions=8).embed("echo", ["a", "b c", "a"])
    first, second, again = made.vectors
    assert first == again != second
    assert made.prompt_tokens == 4
    assert sum(value * value for value in first) == pytest.approx(1.0)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="dimension"):
        echo(dimension=8)
