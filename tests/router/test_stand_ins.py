"""Described specialists that stand in for a domain of the router's, by the shipped head."""

import pytest

from concertino.router.linear import LinearRouter
from concertino.router.profile import phrases
from concertino.router.readings import read_cards
from concertino.router.stand_ins import FITS_ALONE, FITS_SHARED, RULED_OUT, StandIn, find_stand_ins, with_router
from concertino.types import Ranking

LAW = "Law and contracts: clauses, liability, tenancy, court decisions, statutes and what they mean."
LEASES = "Tenancy law: leases, rent, eviction and deposits of tenants."
HR = "Human resources: vacation days and leave requests, onboarding of new employees, performance reviews."
OTHERS = ("code", "finance", "medical", "general")


@pytest.fixture(scope="module")
def head() -> LinearRouter:
    return LinearRouter()


def test_a_description_of_law_stands_in_for_legal_where_nobody_serves_it(head: LinearRouter) -> None:
    texts = {"counsel": phrases(LAW), "hr": phrases(HR)}
    assert find_stand_ins(read_cards(head, texts), OTHERS) == {"counsel": StandIn("legal", FITS_ALONE)}
    assert find_stand_ins(read_cards(head, texts), (*OTHERS, "legal")) == {}


def test_examples_alone_say_it_too(head: LinearRouter) -> None:
    asked = ["Can my landlord keep the deposit?", "Is a verbal contract binding?", "What does force majeure mean?"]
    assert find_stand_ins(read_cards(head, {"counsel": asked}), OTHERS) == {"counsel": StandIn("legal", FITS_ALONE)}


def test_two_for_parts_of_a_domain_need_more_of_their_own(head: LinearRouter) -> None:
    found = find_stand_ins(read_cards(head, {"counsel": phrases(LAW), "leases": phrases(LEASES)}), OTHERS)
    assert found == {name: StandIn("legal", FITS_SHARED) for name in ("counsel", "leases")}


def test_nobody_stands_in_for_what_is_the_defaults(head: LinearRouter) -> None:
    texts = {"chat": ["Small talk, recipes, holidays and school homework"], "silent": []}
    assert find_stand_ins(read_cards(head, texts), ()) == {}


def test_the_routers_word_counts_where_it_chose_the_domain_and_the_description_does_not_object() -> None:
    counsel = StandIn("legal", FITS_SHARED)
    cases = ((0.3, 0.95, "legal"), (0.3, 0.6, None), (0.0, 0.95, "legal"), (0.9, RULED_OUT / 2, "code"))
    joined = [
        with_router(chance, Ranking({"legal": score}, score, domain, "a test"), counsel)
        for chance, score, domain in cases
    ]
    assert joined == [0.95, 0.3, 0.0, 0.0]
