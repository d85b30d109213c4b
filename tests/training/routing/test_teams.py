"""Invented teams: whoever is right is described in the question, and nothing else gives the answer away."""

from collections import Counter
from collections.abc import Sequence

import pytest

from concertino.router.language import LETTERS
from concertino.training.routing.data import CLASSES, Row
from concertino.training.routing.teams import Asked, TeamRecipe, invent
from concertino.training.routing.topics import Topic, load_words

WORDS = load_words()


def texts(kind: str, count: int = 12) -> tuple[str, ...]:
    return tuple(f"{kind} question {number}" for number in range(count))


@pytest.fixture
def topics() -> list[Topic]:
    found = [
        Topic(family, phrase, "general", texts(phrase))
        for family in ("travel", "home", "utility")
        for phrase in (f"{family} one", f"{family} two", f"{family} three", f"{family} four")
    ]
    return [*found, *(Topic("banking", f"bank {place}", "finance", texts(f"bank {place}")) for place in range(4))]


@pytest.fixture
def rows() -> list[Row]:
    return [Row(text, label, text, f"seeds_{label}") for label in CLASSES for text in texts(label, 40)]


def asked(topics: Sequence[Topic], rows: Sequence[Row], without: Sequence[str] = (), **changes: float) -> list[Asked]:
    recipe = TeamRecipe(teams=60, varied=0.0, **changes)  # type: ignore[arg-type]
    return list(invent(topics, rows, recipe, without))


def test_the_same_seed_invents_the_same(topics: list[Topic], rows: list[Row]) -> None:
    assert asked(topics, rows) == asked(topics, rows)


def test_the_right_line_describes_the_topic(topics: list[Topic], rows: list[Row]) -> None:
    for one in asked(topics, rows, own_share=0.0):
        lines = one.text.split("\n\nRequest: ")[0].splitlines()
        topic = one.text.rsplit("Request: ", 1)[1].split(" question")[0]
        said = lines[LETTERS.index(one.label)]
        domain = topic.split(" ")[0].replace("bank", "banking")
        kin = WORDS.domains[domain]
        others = " ".join(line for line in lines if line != said)
        if said.startswith(f"{LETTERS[len(lines) - 1]}: none of the above"):
            assert topic not in others
            assert kin.full[:60] not in others
        else:
            assert topic in said or any(words[:60] in said for words in (kin.full, kin.short, *kin.names))


def test_letters_are_dealt_anew(topics: list[Topic], rows: list[Row]) -> None:
    counts = Counter(
        one.label
        for one in asked(topics, rows, own_share=1.0)
        if one.text.endswith("Request: ") or "legal question" in one.text
    )
    assert len(counts) >= 3


def test_what_is_left_out_is_asked_of_nobody(topics: list[Topic], rows: list[Row]) -> None:
    found = asked(topics, rows, without=("travel", "legal"))
    assert found
    said = "\n".join(one.text for one in found)
    assert "travel one" not in said
    assert "legal question" not in said
    assert not any(words in said for words in WORDS.classes["legal"])


def test_nobodys_questions_are_there_too(topics: list[Topic], rows: list[Row]) -> None:
    found = asked(topics, rows)
    nobody = [one for one in found if one.text.splitlines()[LETTERS.index(one.label)][3:].startswith("none of")]
    assert 0.15 < len(nobody) / len(found) < 0.45
