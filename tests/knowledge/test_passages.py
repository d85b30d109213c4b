"""How text is cut."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from concertino.knowledge.passages import PASSAGE_CHARACTERS, cut, overlapping, sentences, title_of
from concertino.knowledge.terms import stem, terms


def split(text: str) -> list[str]:
    return [text[begin:end] for begin, end in sentences(text)]


def test_sentences_end_at_full_stops_but_not_at_abbreviations() -> None:
    assert split("Dr. Smith saw 3.5 mg, e.g. of Aspirin. It helped! Did it? Yes.") == [
        "Dr. Smith saw 3.5 mg, e.g. of Aspirin.",
        "It helped!",
        "Did it?",
        "Yes.",
    ]


def test_lines_and_bullets_are_sentences_of_their_own() -> None:
    assert split("Signs:\n- fever\n- rash") == ["Signs:", "- fever", "- rash"]


@given(st.text(st.sampled_from("ab .\n-!?A1é\u2028"), max_size=3000))
def test_every_passage_is_verbatim_fits_and_nothing_is_lost(text: str) -> None:
    passages = cut(text, "t", "s", characters=100)
    assert all(passage.text in text and 0 < len(passage.text) <= 100 for passage in passages)
    joined = "".join("".join(passage.text for passage in passages).split())
    assert set(joined) == set("".join(text.split()))
    assert len(joined) >= len("".join(text.split()))


def test_a_passage_begins_with_the_last_sentence_of_the_one_before() -> None:
    text = " ".join(f"This is sentence number {n} of a long text about kidneys." for n in range(60))
    passages = cut(text, "Kidneys", "kidneys.txt")
    assert len(passages) > 3
    assert max(len(passage.text) for passage in passages) <= PASSAGE_CHARACTERS
    for before, after in itertools.pairwise(passages):
        last = before.text[sentences(before.text)[-1][0] :]
        assert after.text.startswith(last)


def test_passages_of_a_document_overlap_by_a_short_sentence() -> None:
    pieces = [("page 1", "First thing. Second thing."), ("page 2", "Third thing.")]
    assert list(overlapping(pieces)) == [
        ("page 1", "First thing. Second thing."),
        ("page 2", "Second thing.\n\nThird thing."),
    ]


def test_the_id_is_of_the_words_and_not_of_where_they_stand() -> None:
    one, two = cut("Same words.", "T", "a.txt", "line 1"), cut("Same words.", "T", "b.txt", "line 9")
    assert one[0].id == two[0].id
    assert cut("Same words.", "U", "a.txt")[0].id != one[0].id


def test_a_document_is_called_by_its_heading_or_else_by_its_file() -> None:
    assert title_of("# House rules\n\nNo smoking.", "rules") == "House rules"
    assert title_of("Lease of a flat\nThe parties agree.", "lease") == "Lease of a flat"
    assert title_of("The parties agree that rent is due monthly.", "lease") == "lease"


def test_words_of_a_family_meet_in_one_stem() -> None:
    assert len({stem(word) for word in ("treat", "treated", "treating", "treatment", "treatments")}) == 1
    assert stem("disease") == stem("diseases")
    assert terms("What is the Sjögren’s syndrome?") == terms("sjogren SYNDROMES")
    assert terms("Hello, thank you! What is it?") == []
