"""What becomes of an adapter that llama.cpp cannot answer with. Needs no torch: errors are raised by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from concertino.backends.base import BackendContext, Generation
from concertino.backends.echo import EchoBackend
from concertino.backends.openai_wire import error_from
from concertino.config import SkillCard
from concertino.errors import BackendTimeout, BackendUnavailable, ConcertinoError, TrainingRefused
from concertino.training.causal_check import _answers, refusing_garbage
from concertino.types import Chunk

LABELS = SkillCard("kind", "Which pet it is", "Name the pet.", ("cat", "dog"))
FREE = SkillCard("say", "", "Say something.")
EMPTY_STACK = b'{"error": {"code": 500, "message": "Unexpected empty grammar stack after accepting piece: a"}}'


class Failing(EchoBackend):
    """Begins to answer, then raises."""

    def __init__(self, error: ConcertinoError) -> None:
        super().__init__(BackendContext("check", {}, (), Path))
        self.error = error

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        yield Chunk(text="c")
        raise self.error


async def asked(error: ConcertinoError, skill: SkillCard) -> None:
    with refusing_garbage(skill):
        await _answers(Failing(error), Path("adapter.gguf"), skill, ["it purrs"])


@pytest.mark.parametrize("status", [400, 500])
async def test_an_adapter_whose_answers_break_the_grammar_is_refused_with_what_the_engine_said(status: int) -> None:
    with pytest.raises(TrainingRefused) as caught:
        await asked(error_from(status, EMPTY_STACK, "The engine of base"), LABELS)
    said = caught.value.message
    assert "empty grammar stack" in said and "grammar of its labels" in said
    assert "learning_rate" in said and "not exported" in said and "checkpoints are kept" in said


async def test_free_text_is_refused_in_other_words() -> None:
    with pytest.raises(TrainingRefused, match="under its contract"):
        await asked(error_from(500, b"{}", "The engine of base"), FREE)


@pytest.mark.parametrize("error", [BackendUnavailable("nobody there"), BackendTimeout("too late")])
async def test_an_engine_that_is_not_there_is_not_the_adapters_fault(error: ConcertinoError) -> None:
    with pytest.raises(type(error)):
        await asked(error, LABELS)
