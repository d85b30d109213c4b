"""What the shipped head reads in a description, and what follows for texts that it is sure of."""

import pytest

from concertino.router.linear import LinearRouter
from concertino.router.profile import phrases
from concertino.router.readings import FOREIGN, SURE, is_anothers, read_cards
from concertino.types import Message, Ranking, Role

TRAVEL = "Travel: flights and hotels, visas, luggage, sights and things to do at a destination."
CARDS = "Credit cards: credit limits, annual fees, rewards and points, lost or stolen cards."
SERVED = ("code", "finance", "legal", "medical", "general")


@pytest.fixture(scope="module")
def head() -> LinearRouter:
    return LinearRouter()


def rank(head: LinearRouter, text: str) -> Ranking:
    return head.rank([[Message(Role.USER, text)]])[0]


def test_a_card_is_read_by_its_phrases(head: LinearRouter) -> None:
    found = read_cards(head, {"travel": phrases(TRAVEL), "cards": phrases(CARDS), "silent": []})
    assert found.keys() == {"travel", "cards"}
    assert found["cards"]["finance"] > 0.5 > FOREIGN > found["travel"]["finance"]
    assert all(sum(reading.values()) == pytest.approx(1.0, abs=1e-5) for reading in found.values())


def test_a_sure_text_is_anothers_unless_the_card_speaks_of_its_domain(head: LinearRouter) -> None:
    found = read_cards(head, {"travel": phrases(TRAVEL), "cards": phrases(CARDS)})
    ranking = rank(head, "What is the annual fee of my credit card?")
    assert ranking.scores["finance"] >= SURE
    assert is_anothers(ranking, found["travel"], SERVED)
    assert not is_anothers(ranking, found["cards"], SERVED)
    assert not is_anothers(ranking, found["travel"], ("code", "general"))  # nobody serves finance


def test_what_reads_like_nothing_known_may_be_anybodys() -> None:
    unsure = Ranking({"finance": SURE - 0.01, "general": 0.11}, SURE - 0.01, "finance", "a test")
    nobodys = Ranking({"finance": 0.01, "general": 0.99}, 0.99, "general", "a test")
    assert not is_anothers(unsure, {"finance": 0.0, "general": 1.0}, SERVED)
    assert not is_anothers(nobodys, {"finance": 1.0, "general": 0.0}, SERVED)
