"""From a verdict and a ranking to a Decision."""

from collections.abc import Callable
from pathlib import Path

import pytest

from concertino.config import Settings
from concertino.orchestrator import choice
from concertino.specialists.pool import Pool
from concertino.types import Facts, Ranking, Tier, Verdict
from tests.teams import DOMAINS, echo_team

SURE = Ranking({"legal": 0.8, "finance": 0.15, "general": 0.05}, 0.8, "legal", "It reads like law.")
UNSURE = Ranking({"legal": 0.4, "finance": 0.35, "general": 0.25}, 0.4, None, "Not sure.")


@pytest.fixture
def pool(team_settings: Callable[..., Settings]) -> Pool:
    return Pool(team_settings(), Path, lambda card: "")


def test_a_sure_router_sends_to_whoever_serves_the_domain(pool: Pool) -> None:
    decision = choice.ranked(pool, SURE, Verdict(DOMAINS), "general")
    assert (decision.specialist, decision.tier, decision.confidence) == ("legal", Tier.LINEAR, 0.8)
    assert next(iter(decision.scores)) == "legal"
    assert decision.reason == "It reads like law."


def test_an_unsure_router_leaves_it_to_the_generalist_and_says_so(pool: Pool) -> None:
    decision = choice.ranked(pool, UNSURE, Verdict(DOMAINS), "general")
    assert (decision.specialist, decision.tier) == ("general", Tier.DEFAULT)
    assert decision.reason == "Not sure. general answers."


def test_a_specialist_that_policy_excluded_is_never_chosen_and_has_no_score(pool: Pool) -> None:
    verdict = Verdict(("general", "finance"), {"legal": "Tenant x may not use it."})
    decision = choice.ranked(pool, SURE, verdict, "general")
    assert decision.specialist == "general"
    assert "legal is not eligible" in decision.reason
    assert set(decision.scores) == {"general", "finance"}


def test_without_an_eligible_generalist_the_best_of_the_rest_answers(pool: Pool) -> None:
    decision = choice.ranked(pool, UNSURE, Verdict(("finance", "medical")), "general")
    assert decision.specialist == "finance"
    assert "general is not eligible" in decision.reason


def test_one_candidate_needs_no_router(pool: Pool) -> None:
    decision = choice.only_candidate(Verdict(("medical",), {"code": "Not tagged phi."}))
    assert (decision.specialist, decision.tier) == ("medical", Tier.POLICY)
    assert "Not tagged phi." in decision.reason


def test_reasons_can_be_read_one_after_the_other(pool: Pool) -> None:
    ranking = Ranking({"legal": 0.4}, 0.4, None, "unsure between legal and finance")
    decision = choice.ranked(pool, ranking, Verdict(DOMAINS), "general")
    assert decision.reason == "Unsure between legal and finance. general answers."


def test_earlier_turns_are_those_of_who_could_be_chosen(team_settings: Callable[..., Settings]) -> None:
    cards = echo_team()["specialists"] + [{**echo_team()["specialists"][0], "name": "counsel", "domains": ["legal"]}]
    tenants = {"bank": ["general", "finance", "counsel"], "clinic": ["general", "medical"]}
    pool = Pool(team_settings(specialists=cards, policy={"tenants": tenants}), Path, lambda card: "")
    found = Ranking({"finance": 0.9}, 0.9, "finance", "Switched.", earlier=("legal", "code", None))

    def earlier(tenant: str, *eligible: str) -> tuple[str, ...]:
        return choice.ranked(pool, found, Verdict(eligible, facts=Facts(tenant)), "general").earlier

    assert earlier("default", *DOMAINS, "counsel") == ("legal", "code", "general")
    assert earlier("bank", "general", "finance", "counsel") == ("counsel", "general", "general")
    assert earlier("clinic", "general", "medical") == ("general", "general", "general")
    # Health data has left only one since: for all that is known, code answered before.
    assert earlier("default", "general", "medical") == ("legal", "code", "general")
