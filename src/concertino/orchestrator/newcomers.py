"""Specialists that the router was not trained on, and how they are found all the same: by what their cards say."""

import logging
from collections.abc import Collection, Sequence

from concertino.errors import ModelMissing
from concertino.router.base import Router
from concertino.router.conversation import before_tool_loop
from concertino.specialists.pool import Pool
from concertino.types import Message, Ranking, Role

log = logging.getLogger("concertino.orchestrator")


class Newcomers:
    """The description tier over a pool's cards."""

    def __init__(self, pool: Pool, router: Router, domains: Collection[str]) -> None:
        # Here, because a team without newcomers needs neither numpy nor an encoder for this.
        from concertino.router.descriptions import open_tier

        self.tier = open_tier(pool.settings, domains, router)
        self.domains = frozenset(domains)
        """The domains that only descriptions and examples tell of."""
        self._served_by = {card.name: card.serves for card in pool.settings.specialists}

    @property
    def team(self) -> frozenset[str]:
        """Everybody in the team."""
        return frozenset(self._served_by)

    def refine(
        self,
        conversations: Sequence[Sequence[Message]],
        rankings: Sequence[Ranking],
        eligible: Sequence[Collection[str]] | None = None,
    ) -> list[Ranking]:
        """The router's rankings, with newcomers among `eligible` scored too: the names of those that policy left.
        Without it policy is judged afterwards, and all are scored."""
        names = [self.team] * len(rankings) if eligible is None else eligible
        domains = [{domain for name in left for domain in self._served_by.get(name, ())} for left in names]
        return self.tier.refine(conversations, rankings, domains)

    def levelled(self, ranking: Ranking, counted: Collection[str], here: str | None) -> dict[str, float]:
        """See DescriptionTier."""
        return self.tier.levelled(ranking, counted, here)


class WholeTeam:
    """The router and the newcomers as one router that does not follow conversations, as ConversationRouter does."""

    def __init__(self, router: Router, newcomers: Newcomers | None) -> None:
        self._router, self._newcomers = router, newcomers

    def rank(
        self, conversations: Sequence[Sequence[Message]], eligible: Sequence[Collection[str]] | None = None
    ) -> list[Ranking]:
        """See Router. `eligible` are, for each conversation, those that policy left; None: judged afterwards."""
        rankings = self._router.rank(conversations)
        if self._newcomers is None:
            return rankings
        read = [before_tool_loop(conversation) or conversation for conversation in conversations]
        return self._newcomers.refine(read, rankings, eligible)


def find_newcomers(pool: Pool, router: Router) -> Newcomers | None:
    """The tier for specialists none of whose domains `router` scores, or None where it scores one of each.

    Without the tier's encoder in the store there is none either, and the log says what to pull.

    The router's default is none of them: what it serves is what nobody else does.
    """
    cards = [card for card in pool.settings.specialists if card.name != pool.settings.router.default]
    unknown = [card for card in cards if card.description or card.examples]
    if unknown:
        known = router.rank([[Message(Role.USER, "")]])[0].scores.keys()
        unknown = [card for card in unknown if known.isdisjoint(card.serves)]
    if not unknown:
        return None
    try:
        return Newcomers(pool, router, list(dict.fromkeys(card.serves[0] for card in unknown)))
    except ModelMissing as error:
        names = ", ".join(card.name for card in unknown)
        log.warning("%s Until then `auto` does not choose %s, which only a description tells of.", error.message, names)
        return None
