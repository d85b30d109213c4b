"""Described specialists that stand in for a domain which the router knows and nobody in the team serves.

A team without `legal` may have a specialist "counsel", described as one for law and contracts. The router knows legal
questions far better than any description tells; so where the phrases of the description read like `legal`, what the
router says of `legal` is said of counsel too. Constants were chosen on calibration rows and on descriptions of single
topics; docs/routing-measured.md has the figures.
"""

from collections import Counter
from collections.abc import Collection, Mapping

from msgspec import Struct

from concertino.router.linear import FALLBACK
from concertino.router.readings import Reading
from concertino.types import Ranking

READS_AS = 0.5
"""Mean probability of a domain over the phrases of a description from which on the description reads like it."""
FITS_ALONE, FITS_SHARED = 0.005, 0.05
"""From this chance on, by its description, a text that the router gives to the domain is the stand-in's: where the
description is the only one that reads like the domain, and where several do, each of which is for a part of it."""
RULED_OUT = 0.05
"""Below this probability of the domain, a text is not the stand-in's whatever its description says."""


class StandIn(Struct, frozen=True):
    """The router's domain that a described one stands in for, and the chance that it needs of its own."""

    domain: str
    fits: float


def find_stand_ins(readings: Mapping[str, Reading], served: Collection[str]) -> dict[str, StandIn]:
    """Which described domains, by how the router reads them, stand in for one of its own that is not among `served`.

    Nobody stands in for `general`: what is nobody's is the default's.
    """
    found: dict[str, str] = {}
    for name, reading in readings.items():
        best = max(reading, key=lambda domain: reading[domain])
        if best not in {FALLBACK, *served} and reading[best] >= READS_AS:
            found[name] = best
    sharing = Counter(found.values())
    return {
        name: StandIn(domain, FITS_ALONE if sharing[domain] == 1 else FITS_SHARED) for name, domain in found.items()
    }


def is_taken(chance: float, ranking: Ranking, stand_in: StandIn) -> bool:
    """Whether a text with this chance by description is the stand-in's."""
    return ranking.domain == stand_in.domain and chance >= stand_in.fits


def with_router(chance: float, ranking: Ranking, stand_in: StandIn, *, speaks: bool = True) -> float:
    """A chance by description, raised to the router's score of the domain where the text is the stand-in's and it
    `speaks` for all that stand in for the domain, and 0 where the router rules the domain out."""
    score = ranking.scores.get(stand_in.domain, 0.0)
    if score < RULED_OUT:
        return 0.0
    return max(chance, score) if speaks and is_taken(chance, ranking, stand_in) else chance
