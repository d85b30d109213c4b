"""Predictions are kept as they come; their keys change with whatever they depend on."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from concertino.backends.base import Generation, ModelUse
from concertino.evaluation.cost import Energy, Meter
from concertino.evaluation.embedding import embed
from concertino.evaluation.running import Asked, Engine, Kept, Prediction, predict_all
from concertino.models import Store
from concertino.specialists.skills import label_grammar
from concertino.types import Message, Role, Sampling

CHOICES = ("cat", "dog")


def asked(text: str) -> Asked:
    sampling = Sampling(logprobs=True, top_logprobs=5)
    return Asked(Generation("echo", (Message(Role.USER, text),), sampling, grammar=label_grammar(CHOICES)), CHOICES)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine("echo", Store(tmp_path), ModelUse("echo"), ExitStack())


def silent(sentence: str) -> None:
    pass


async def test_answers_come_with_confidence_tokens_and_time(engine: Engine, tmp_path: Path) -> None:
    (found,) = await predict_all(engine, Kept(tmp_path / "kept.jsonl"), [asked("a dog barks")], "echo", silent)
    assert (found.text, found.confidence, found.prompt_tokens) == ("dog", 1.0, 3)
    assert found.seconds is not None
    assert found.cpu_s is not None
    assert 0 <= found.cpu_s < 5


async def test_what_was_answered_is_not_asked_again(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    first = await predict_all(engine, Kept(path), [asked("a cat"), asked("a dog")], "echo", silent)
    said: list[str] = []
    again = await predict_all(engine, Kept(path), [asked("a cat"), asked("a dog")], "echo", said.append)
    assert again == first
    assert said == []
    assert len(path.read_bytes().splitlines()) == 2


async def test_a_half_written_last_line_costs_one_prediction_and_no_more(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    await predict_all(engine, Kept(path), [asked("a cat"), asked("a dog")], "echo", silent)
    path.write_bytes(path.read_bytes()[:-20])
    said: list[str] = []
    await predict_all(engine, Kept(path), [asked("a cat"), asked("a dog")], "echo", said.append)
    assert said == ["echo: 1 of 2 rows to answer"]
    assert Kept(path).get(engine.key(asked("a dog"))) is not None


def test_a_prompt_a_model_and_an_adapter_have_keys_of_their_own(engine: Engine, tmp_path: Path) -> None:
    def tuned(weights: bytes) -> str:
        adapter = tmp_path / "a.gguf"
        adapter.write_bytes(weights)
        fresh = Engine("echo", Store(tmp_path), ModelUse("echo"), ExitStack())
        return fresh.key(Asked(Generation("echo", (Message(Role.USER, "x"),), adapter=str(adapter))))

    keys = [engine.key(asked("x")), engine.key(asked("y")), tuned(b"1"), tuned(b"2")]
    assert len(set(keys)) == 4
    assert tuned(b"1") == keys[2]


async def test_a_text_over_the_context_is_shortened_until_it_fits(tmp_path: Path) -> None:
    small = Engine("echo", Store(tmp_path), ModelUse("echo", context_tokens=40), ExitStack())
    found = await small.predict(asked("dog " * 200))
    assert (found.text, found.too_long) == ("dog", False)
    tiny = Engine("echo", Store(tmp_path), ModelUse("echo", context_tokens=1), ExitStack())
    assert (await tiny.predict(asked("dog " * 200))).too_long


async def test_vectors_are_kept_by_their_texts(engine: Engine, tmp_path: Path) -> None:
    said: list[str] = []

    async def vectors(texts: Sequence[str]) -> object:
        return (await embed(engine, texts, tmp_path / "cache", said.append)).tolist()

    first = await vectors(["a", "b"])
    assert await vectors(["a", "b"]) == first
    assert len(said) == 1
    assert await vectors(["a", "c"]) != first
    assert len(said) == 2


def test_energy_is_said_to_be_unknown_where_there_are_no_counters(tmp_path: Path) -> None:
    energy = Energy(tmp_path / "nowhere")
    assert energy.note.startswith("unknown")
    assert Meter(powercap=tmp_path / "nowhere").stop().joules is None


def test_energy_counts_packages_and_allows_for_a_counter_that_began_again(tmp_path: Path) -> None:
    for name, value in (("intel-rapl:0", 900), ("intel-rapl:0:0", 5), ("intel-rapl:1", 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(str(value))
        (tmp_path / name / "max_energy_range_uj").write_text("1000")
    energy = Energy(tmp_path)
    before = energy.read()
    assert before == (900, 10)  # a package's own parts would be counted twice
    assert energy.between(before, (100, 30)) == pytest.approx(220e-6)


def test_kept_predictions_can_be_read_back(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a" / "b.jsonl")
    kept.put(Prediction("k", "text\u2028more", 0.5, {"a": -1.0}))
    assert Kept(tmp_path / "a" / "b.jsonl").get("k") == Prediction("k", "text\u2028more", 0.5, {"a": -1.0})
