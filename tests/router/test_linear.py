"""The first tier, with the weights that ship in the package."""

import shutil
import time
from pathlib import Path

import msgspec
import pytest

from concertino.errors import ConfigurationError
from concertino.router.encoder import MAX_CHARACTERS, MAX_TOKENS, clip, window
from concertino.router.linear import SHIPPED, LinearRouter, conversation_texts
from concertino.router.manifest import MANIFEST, REQUIRED
from concertino.types import Message, Ranking, Role


@pytest.fixture(scope="module")
def router() -> LinearRouter:
    return LinearRouter()


def ask(router: LinearRouter, *turns: str) -> Ranking:
    return router.rank([[Message(Role.USER, turn) for turn in turns]])[0]


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        ("code", "my python function returns None although I print the value, why?"),
        ("code", "How do I rebase a git branch on main?"),
        ("code", "write a SQL query that lists customers without orders"),
        ("finance", "What's the difference between a checking account and a savings account?"),
        ("finance", "my card was charged twice"),
        ("finance", "Should I buy bonds when interest rates are falling?"),
        ("legal", "Can my landlord evict me without notice?"),
        ("legal", "This Agreement shall be governed by the laws of the State of Delaware."),
        ("legal", "Is a non-compete clause enforceable after the employer terminates the contract?"),
        ("medical", "What are the side effects of amoxicillin?"),
        ("medical", "my daughter has had a fever and a rash since yesterday"),
        ("medical", "How is iron deficiency anaemia treated?"),
        ("general", "What is a good recipe for pancakes?"),
        ("general", "Who painted the Mona Lisa?"),
        ("general", "Write a short poem about autumn."),
    ],
)
def test_a_plain_question_goes_to_its_domain(router: LinearRouter, domain: str, text: str) -> None:
    ranking = ask(router, text)
    assert (ranking.domain or "general") == domain, ranking


def test_scores_are_probabilities_best_first(router: LinearRouter) -> None:
    ranking = ask(router, "How do I sort a dictionary by value in Python?")
    scores = list(ranking.scores.values())
    assert set(ranking.scores) == {"code", "finance", "legal", "medical", "general"}
    assert sum(scores) == pytest.approx(1.0)
    assert scores == sorted(scores, reverse=True)
    assert ranking.confidence == scores[0]
    assert ranking.domain == next(iter(ranking.scores))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t ",
        "😂" * 50,
        "?!...",
        "\x00\x01\x02",
        "\ud800 lone surrogate",
        "QUJD" * 25_000,
        "a" * 100_000,
        "word " * 20_000,
        "漢字" * 500,
        "{}[]()<>;:" * 2_000,
    ],
)
def test_hostile_text_gets_a_decision_within_a_second(router: LinearRouter, text: str) -> None:
    start = time.perf_counter()
    ranking = ask(router, text)
    assert time.perf_counter() - start < 1.0
    assert 0.0 < ranking.confidence <= 1.0
    assert ranking.reason


@pytest.mark.parametrize("text", ["", "   ", "😂😂😂", "?"])
def test_a_text_without_words_makes_the_router_abstain(router: LinearRouter, text: str) -> None:
    ranking = ask(router, text)
    assert ranking.domain is None
    assert "no words" in ranking.reason


def test_no_messages_at_all_is_an_abstention(router: LinearRouter) -> None:
    assert router.rank([[]])[0].domain is None
    assert router.rank([]) == []


def test_below_the_threshold_the_router_abstains_and_says_between_what() -> None:
    careful = LinearRouter(threshold=1.0)
    ranking = careful.rank([[Message(Role.USER, "How do I sort a list in Python?")]])[0]
    assert ranking.domain is None
    assert "unsure between code and" in ranking.reason
    assert "below 1.00" in ranking.reason


def test_a_threshold_of_zero_never_abstains_on_words() -> None:
    bold = LinearRouter(threshold=0.0)
    assert bold.rank([[Message(Role.USER, "flurb the gnarlix")]])[0].domain is not None


def test_a_threshold_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="threshold"):
        LinearRouter(threshold=1.5)


def test_a_short_follow_up_stays_where_the_conversation_was(router: LinearRouter) -> None:
    code = ask(router, "Write a Python function that parses a CSV file into dataclasses.", "commit it")
    law = ask(router, "Can my landlord keep the deposit when the lease has ended?", "and if he refuses?")
    assert code.domain == "code"
    assert law.domain == "legal"
    assert "turns before it" in code.reason


def test_a_full_new_question_changes_the_domain(router: LinearRouter) -> None:
    ranking = ask(
        router,
        "Write a Python function that parses a CSV file into dataclasses.",
        "Thanks. Something else: what are the side effects of taking ibuprofen every day for a bad back?",
    )
    assert ranking.domain == "medical"


def test_system_prompts_and_answers_do_not_decide() -> None:
    conversation = [
        Message(Role.SYSTEM, "You are the assistant of a law firm."),
        Message(Role.USER, "How do I boil an egg?"),
        Message(Role.ASSISTANT, "Ask your lawyer."),
        Message(Role.USER, "no, really, how long does a soft boiled egg take?"),
    ]
    assert conversation_texts(conversation)[0] == "no, really, how long does a soft boiled egg take?"
    assert "law" not in (conversation_texts(conversation)[1] or "")


def test_a_question_at_the_end_of_long_instructions_is_read(router: LinearRouter) -> None:
    rules = "Answer politely, in plain words, in at most five sentences, and never repeat the question. " * 40
    assert ask(router, rules + "How is type 2 diabetes treated in elderly patients?").domain == "medical"
    assert ask(router, "How do I undo the last git commit? " + rules).domain == "code"


def test_the_window_keeps_both_ends() -> None:
    tokens = list(range(1000))
    kept = window(tokens)
    assert len(kept) == MAX_TOKENS
    assert (kept[0], kept[-1]) == (0, 999)
    assert window(tokens[:MAX_TOKENS]) == tokens[:MAX_TOKENS]


def test_clipping_keeps_both_ends() -> None:
    text = clip("start " + "x" * 1_000_000 + " end")
    assert len(text) <= MAX_CHARACTERS + 1
    assert text.startswith("start")
    assert text.endswith("end")


def test_a_text_scores_the_same_alone_and_in_a_batch(router: LinearRouter) -> None:
    texts = ["Is this contract valid?", "word " * 500, "git push fails", "my head hurts", "hi", "stock prices fell"]
    together = router.probabilities(texts)
    for row, text in zip(together, texts, strict=True):
        assert row.tolist() == router.probabilities([text])[0].tolist()


def test_a_short_text_is_routed_in_a_few_milliseconds(router: LinearRouter) -> None:
    for _ in range(10):
        ask(router, "How do I reverse a list?")
    taken = []
    for _ in range(50):
        start = time.perf_counter()
        ask(router, "How do I reverse a list?")
        taken.append(time.perf_counter() - start)
    assert sorted(taken)[25] < 0.025


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "weights"))


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_damaged_weights_file_is_refused_by_name(copy: Path, name: str) -> None:
    raw = bytearray((copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(ConfigurationError, match=f"{name} has SHA-256"):
        LinearRouter(weights=copy)


@pytest.mark.parametrize("name", [*sorted(REQUIRED), MANIFEST])
def test_a_missing_weights_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        LinearRouter(weights=copy)


def test_a_manifest_that_cannot_be_read_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_text("{}")
    with pytest.raises(ConfigurationError, match=MANIFEST):
        LinearRouter(weights=copy)


def test_a_file_that_the_manifest_vouches_for_but_nobody_can_read_is_refused(copy: Path) -> None:
    import hashlib

    (copy / "encoder.onnx").write_bytes(b"not a graph")
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes())
    manifest["files"]["encoder.onnx"] = hashlib.sha256(b"not a graph").hexdigest()
    (copy / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        LinearRouter(weights=copy)


def test_no_shipped_file_is_larger_than_15_megabytes() -> None:
    assert all(path.stat().st_size < 15_000_000 for path in SHIPPED.iterdir())
