"""Deciding without engines: many texts at once get what each would get alone."""

import time
from collections.abc import Sequence

from concertino.config import build
from concertino.orchestrator.decider import Decider, engineless
from concertino.policy.base import Finding, Kind
from concertino.policy.rules import Policy, SpecialistFacts
from concertino.types import Message, Ranking, Request, Role
from tests.teams import echo_team


class SlowDetector:
    """Takes a tenth of its deadline for each text."""

    name = "slow"
    kind = Kind.IDENTIFIER

    def detect(self, text: str) -> Sequence[Finding]:
        time.sleep(0.05)
        return ()


class AlwaysCode:
    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        return [Ranking({"code": 0.9}, 0.9, "code", "a test")] * len(conversations)


async def test_a_text_is_not_held_against_its_neighbours() -> None:
    settings = build({**echo_team(), "policy": {"detectors": [], "detector_timeout_s": 0.5}}, "a test")
    pool = engineless(settings).pool
    facts = [SpecialistFacts(specialist.card.name) for specialist in pool]
    policy = Policy(settings.policy, facts, detectors=[SlowDetector()])
    decider = Decider(settings, pool, policy, AlwaysCode())
    requests = [Request((Message(Role.USER, f"text {number}"),)) for number in range(64)]
    decisions = await decider.decide_many(requests)
    assert [decision.verdict.facts.failed_detectors for decision in decisions] == [()] * 64
