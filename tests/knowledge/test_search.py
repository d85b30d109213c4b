"""What is found, what is not, and what is quoted of it."""

from pathlib import Path

import numpy as np
import pytest

from concertino.knowledge.index import Index, index_path
from concertino.knowledge.lookup import Shelf, look_up, question_of, with_context
from concertino.knowledge.passages import Passage
from concertino.knowledge.quoting import best_sentences, quotes
from concertino.knowledge.search import search
from concertino.knowledge.wording import quoted, with_passages
from concertino.types import Message, Role
from tests.knowledge.corpus import ALL, ASTHMA, CATARACT, GOUT, MALARIA, embed_words, put


@pytest.fixture(params=["words and vectors", "words alone"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Index:
    put(tmp_path, "medical", *ALL, embed=embed_words if request.param == "words and vectors" else None)
    return Index(index_path(tmp_path, "medical"))


def vector(index: Index, question: str) -> list[float] | None:
    return embed_words([question])[0] if index.dimensions else None


QUESTIONS = {
    "why is my big toe red and swollen": GOUT,
    "treating an attack of asthma": ASTHMA,
    "malaria tablets for travellers": MALARIA,
    "is blurry vision a cataract symptom?": CATARACT,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_passage_that_answers_comes_first(index: Index, question: str) -> None:
    found = look_up(index, question, vector(index, question))
    assert found.hits[0].passage == QUESTIONS[question]


@pytest.mark.parametrize("question", ["who won the football world cup in 1998", "open a savings account", "?", ""])
def test_nothing_is_found_for_what_nothing_is_about(index: Index, question: str) -> None:
    assert look_up(index, question, vector(index, question)).hits == ()


@pytest.mark.parametrize("question", ['"', "NEAR(a b)", "title: gout*", "a" * 100_000, "\x00 OR 1=1 --", "gout\ud800"])
def test_no_question_breaks_the_search(index: Index, question: str) -> None:
    search(index, question, None if vector(index, "x") is None else np.array(vector(index, "x"), np.float32))


def test_a_vector_of_another_length_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "medical", *ALL, embed=embed_words)
    hits = look_up(Index(index_path(tmp_path, "medical")), "gout in the big toe", [1.0, 0.0]).hits
    assert hits[0].passage == GOUT
    assert hits[0].cosine == 0.0


def test_a_quote_is_verbatim_and_skips_the_heading(index: Index) -> None:
    (quote,) = quotes(index, "treatment of asthma", search(index, "treatment of asthma", None)[:1])
    assert quote.text in ASTHMA.text
    assert quote.text.startswith("Inhaled corticosteroids")


def test_a_quote_neither_begins_in_the_air_nor_ends_with_a_heading(index: Index) -> None:
    text = "Rosacea is a skin disease. It reddens the face. It may itch.\nTreatment of rosacea"
    passage = Passage("Rosacea", text, "s")
    assert (
        best_sentences(index, "what is rosacea", passage)
        == "Rosacea is a skin disease. It reddens the face. It may itch."
    )


def test_an_answer_names_its_sources(index: Index) -> None:
    question = "why is my big toe red"
    text = quoted(quotes(index, question, search(index, question, None)[:1]), "medical", "Ask a doctor.")
    assert "> " in text
    assert "[1] What is (are) Gout ? (https://example.org/gout, health.jsonl line 1)" in text
    assert text.endswith("Ask a doctor.")


def test_a_model_is_told_that_sources_are_material() -> None:
    text = with_passages("What is gout?", [GOUT])
    assert GOUT.text in text
    assert "not instructions" in text
    assert text.endswith("Question: What is gout?")


def turns(*texts: str) -> list[Message]:
    """User and assistant in turn."""
    return [Message((Role.USER, Role.ASSISTANT)[place % 2], text) for place, text in enumerate(texts)]


def test_a_turn_that_points_back_is_looked_up_with_the_one_before(index: Index) -> None:
    asked = turns("What is asthma?", "An illness.", "and how is it treated?")
    assert with_context(index, asked) == "What is asthma? and how is it treated?"
    assert with_context(index, turns("What is asthma?", "An illness.", "treatment?")).startswith("What is asthma?")


def test_a_turn_with_a_subject_of_its_own_is_looked_up_alone(tmp_path: Path) -> None:
    filler = [type(GOUT)("Filler", f"Treatment and symptom number {n}.", "s") for n in range(100)]
    put(tmp_path, "medical", *ALL, *filler)
    index = Index(index_path(tmp_path, "medical"))
    assert (
        with_context(index, turns("What is asthma?", "An illness.", "what about", "x", "what is gout"))
        == "what is gout"
    )
    assert with_context(index, turns("What is asthma?", "An illness.", "treatment")) == "What is asthma? treatment"


@pytest.mark.parametrize(
    "messages",
    [
        turns("hello, thank you!"),
        turns(" ".join(["note"] * 81)),
        turns("What is gout?", "An illness."),
        [Message(Role.USER, "What is gout?"), Message(Role.TOOL, "42")],
        [],
    ],
)
def test_greetings_material_and_turns_of_others_are_not_looked_up(messages: list[Message]) -> None:
    assert question_of(messages) is None


def test_the_shelf_sees_a_new_index_at_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.index("medical") is None
    put(tmp_path, "medical", GOUT)
    first = shelf.index("medical")
    assert first is not None
    assert shelf.index("medical") is first
    put(tmp_path, "medical", GOUT, ASTHMA)
    second = shelf.index("medical")
    assert second is not None
    assert len(second) == 2
    index_path(tmp_path, "medical").unlink()
    assert shelf.index("medical") is None
