"""What the router reads in a description: its probabilities, where it knows the domains that are talked of.

A described specialist is unknown to the router, but the words on its card are not. Where they read like finance, it may
be asked about finance; where they read like nothing that the router knows, a text that the router is sure is finance is
the finance specialist's, however near it comes to a phrase. Constants were chosen on questions of CLINC150's training
and validation parts; docs/routing-measured.md has the figures.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from concertino.router.base import Router
from concertino.router.linear import FALLBACK, LinearRouter
from concertino.types import Message, Ranking, Role

SURE = 0.9
"""From this probability on the router is sure whose a text is."""
FOREIGN = 0.2
"""Below this mean probability of a domain a description does not speak of it."""

Reading = dict[str, float]
"""The router's domains with their mean probability over what a card says."""


def read_cards(router: Router, texts: Mapping[str, Sequence[str]]) -> dict[str, Reading]:
    """How the router reads the phrases and examples of each described domain; those without any are left out.

    Of the shipped router the head alone: phrases are no questions, and have no neighbours among them.
    """
    if isinstance(router, LinearRouter):
        router = router.head
    found = {}
    for name, said in texts.items():
        if said:
            rankings = router.rank([[Message(Role.USER, text)] for text in said])
            known = rankings[0].scores
            found[name] = {domain: float(np.mean([r.scores.get(domain, 0.0) for r in rankings])) for domain in known}
    return found


def is_anothers(ranking: Ranking, reading: Reading, served: Collection[str]) -> bool:
    """Whether the router is sure that a text is of one of the `served` domains, of which the card does not speak.

    `general` is not one of them: what is unlike all that the router knows reads like it too.
    """
    return any(
        ranking.scores.get(domain, 0.0) >= SURE and reading.get(domain, 0.0) < FOREIGN
        for domain in served
        if domain != FALLBACK
    )
