"""A beam search finds likelier answers than greedy decoding does, and ends."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from msgspec import UNSET, UnsetType

from concertino.backends.base import BackendContext, Generation, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.backends.llamacpp import backend as llamacpp_backend
from concertino.backends.llamacpp.beams import Beam, Token, search
from concertino.errors import ContextTooLong
from concertino.types import Chunk, FinishReason, Message, Role, Sampling, TokenLogprob

END = Token(0, "", b"", 0.0)


class Tree:
    """Sequences of letters with the probabilities of what follows them; `.` ends one."""

    def __init__(self, following: Mapping[str, Mapping[str, float]]) -> None:
        self.following = following
        self.asked: list[str] = []

    async def __call__(self, ids: Sequence[int]) -> list[Token]:
        said = "".join(map(chr, ids))
        self.asked.append(said)
        rows = self.following.get(said, {".": 1.0})
        found = [Token(ord(x), x, b"" if x == "." else x.encode(), math.log(p)) for x, p in rows.items()]
        return sorted(found, key=lambda token: -token.logprob)


def said(beam: Beam) -> str:
    return "".join(token.text for token in beam.tokens)


GARDEN_PATH = Tree({"": {"a": 0.6, "b": 0.4}, "a": {"x": 0.4, "y": 0.3, "z": 0.3}, "b": {"c": 0.99, ".": 0.01}})


async def test_the_likeliest_answer_need_not_begin_with_the_likeliest_token() -> None:
    greedy, searched = await search(GARDEN_PATH, 1, 10), await search(GARDEN_PATH, 2, 10)
    assert (said(greedy), said(searched)) == ("ax.", "bc.")
    assert searched.logprob == pytest.approx(math.log(0.4 * 0.99)) and searched.ended


async def test_it_ends_as_soon_as_nothing_that_is_left_can_win() -> None:
    tree = Tree({"": {".": 0.9, "a": 0.05, "b": 0.05}})
    assert said(await search(tree, 4, 10)) == "." and tree.asked == [""]


async def test_an_answer_that_fills_the_context_is_cut_off_there_and_a_prompt_that_does_is_refused() -> None:
    class Full(Tree):
        async def __call__(self, ids: Sequence[int]) -> list[Token]:
            if len(ids) >= len(self.following):
                raise ContextTooLong("full")
            return [Token(1, "a", b"a", math.log(0.9)), Token(2, "b", b"b", math.log(0.1))]

    cut = await search(Full({"1": {}, "2": {}, "3": {}}), 2, 10)
    assert (said(cut), cut.ended) == ("aaa", False)
    with pytest.raises(ContextTooLong):
        await search(Full({}), 2, 10)


async def test_an_answer_that_goes_on_for_ever_is_cut_off_and_an_ended_one_is_preferred() -> None:
    class Endless(Tree):
        async def __call__(self, ids: Sequence[int]) -> list[Token]:
            self.asked.append("")
            return [Token(1, "a", b"a", math.log(0.9)), *([Token(0, "", b"", math.log(0.1))] if self.following else [])]

    cut = await search(Endless({}), 3, 5)
    assert (said(cut), cut.ended) == ("aaaaa", False)
    ended = await search(Endless({"": {"": 1.0}}), 3, 5)
    assert ended.ended and said(ended) == "", "it can end at once, which is likelier than to end after more"


async def test_a_hopeless_sequence_is_not_followed() -> None:
    tree = Tree({"": {"a": 0.99, "b": 0.01}, "a": {"c": 1.0}, "ac": {"d": 1.0}})
    assert said(await search(tree, 4, 10)) == "acd."
    assert "b" not in tree.asked


async def test_all_of_a_step_is_asked_at_once() -> None:
    waiting = 0
    most = 0

    async def following(ids: Sequence[int]) -> list[Token]:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.01)
        waiting -= 1
        return [Token(n, str(n), b"x", math.log(1 / 3)) for n in range(3)] if len(ids) < 2 else [END]

    await search(following, 3, 5)
    assert most == 3


@pytest.mark.models
async def test_on_a_real_model_one_beam_is_greedy_and_more_are_likelier(smol: Path) -> None:
    use = ModelUse("smollm2-135m-instruct", context_tokens=512)
    backend = LlamaCppBackend(BackendContext("local", {}, (use,), lambda _: smol))
    question = (Message(Role.SYSTEM, "Answer in a few words."), Message(Role.USER, "What is a good name for a café? é"))

    async def answer(beams: int | UnsetType = UNSET) -> Chunk:
        sampling = Sampling(max_tokens=24, temperature=0.0, logprobs=True)
        text, finish = "", FinishReason.STOP
        steps: list[TokenLogprob] = []
        async for chunk in backend.generate(Generation("smollm2-135m-instruct", question, sampling, beams=beams)):
            text, finish = text + chunk.text, chunk.finish_reason or finish
            steps += chunk.logprobs
        return Chunk(text=text, logprobs=tuple(steps), finish_reason=finish)

    await backend.start()
    try:
        greedy, one, four = await answer(), await answer(1), await answer(4)
    finally:
        await backend.close()
    assert one.text == greedy.text
    total = [sum(step.logprob for step in each.logprobs) for each in (one, four)]
    assert total[1] >= total[0] - 0.05, "as likely, but for what a batch rounds"


@pytest.mark.models
async def test_two_searches_do_not_take_the_engine_s_places_from_each_other(
    smol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    running = 0

    async def searching(*_: object) -> Chunk:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.01)
        running -= 1
        return Chunk(text="x", finish_reason=FinishReason.STOP)

    monkeypatch.setattr(llamacpp_backend, "likeliest", searching)
    backend = LlamaCppBackend(BackendContext("local", {}, (ModelUse("smol", context_tokens=512),), lambda _: smol))
    await backend.start()
    try:
        generation = Generation("smol", (Message(Role.USER, "Hello"),), beams=4)
        await asyncio.gather(*(anext(aiter(backend.generate(generation))) for _ in range(3)))
    finally:
        await backend.close()
    assert at_once == [1, 1, 1]
