"""A specialist that was named by the caller says so when the question is another's.

Only a conversation's first turn is judged, and only what is plainly a person's question: no skill, no tools, no system
message of the caller's, no contract on the answer. Who asks again is answered.
"""

import asyncio
from collections.abc import Sequence

from msgspec import structs

from concertino.config import SpecialistCard
from concertino.errors import ConcertinoError
from concertino.router.base import Router
from concertino.specialists.pool import Pool
from concertino.types import Decision, Ranking, Referral, Request, Role, Tier

GENERAL = "general"
"""The domain of everything that is nobody's. The router is wrong about it more often, so it must be surer."""
INSTEAD, INSTEAD_GENERAL = 0.95, 0.97
"""From this confidence on a referral is the whole answer. `bench/knowledge.py` measures whom that turns away."""
NOTED, NOTED_GENERAL = 0.8, 0.9
"""From this confidence on it stands before the answer."""
FEWEST_WORDS = 4
"""Shorter turns say too little to be turned away for."""


async def refer(
    found: Sequence[Decision | ConcertinoError], requests: Sequence[Request], pool: Pool, router: Router
) -> list[Decision | ConcertinoError]:
    """The same decisions, those with a referral where the router is sure that the request is another's."""
    decided = list(found)
    places = [
        place
        for place, (item, request) in enumerate(zip(found, requests, strict=True))
        if isinstance(item, Decision) and _is_judged(pool.get(item.specialist).card, item, request)
    ]
    if places:
        rankings = await asyncio.to_thread(router.rank, [requests[place].messages for place in places])
        for place, ranking in zip(places, rankings, strict=True):
            decision = decided[place]
            assert isinstance(decision, Decision)
            decided[place] = _referred(pool, decision, ranking)
    return decided


def _is_judged(card: SpecialistCard, decision: Decision, request: Request) -> bool:
    if card.scope == "off" or GENERAL in card.serves or decision.tier is not Tier.PINNED or decision.skill:
        return False
    if request.tools or (request.response_format or {}).get("type", "text") != "text":
        return False
    return [message.role for message in request.messages] == [Role.USER] and len(request.text.split()) >= FEWEST_WORDS


def _referred(pool: Pool, decision: Decision, ranking: Ranking) -> Decision:
    card, domain = pool.get(decision.specialist).card, ranking.domain
    if domain is None or domain in card.serves or not set(card.serves) & ranking.scores.keys():
        return decision  # or the router knows nothing of what this specialist serves
    others = [name for name in pool.serving(domain) if name in decision.verdict.eligible]
    instead, noted = (INSTEAD_GENERAL, NOTED_GENERAL) if domain == GENERAL else (INSTEAD, NOTED)
    if not others or ranking.confidence < noted:
        return decision
    referral = Referral(others[0], ranking.confidence, card.scope == "strict" and ranking.confidence >= instead)
    reason = f"{decision.reason} It reads like {domain} ({ranking.confidence:.2f}), which {others[0]} serves."
    return structs.replace(decision, reason=reason, referral=referral)


def said(decision: Decision) -> str:
    """The referral as the caller reads it, or nothing."""
    if decision.referral is None:
        return ""
    other = decision.referral.specialist
    again = f" Ask `{decision.specialist}` again if you mean it." if decision.referral.instead else ""
    return f"This looks like a question for `{other}`; ask model `{other}` or `auto`.{again}"
