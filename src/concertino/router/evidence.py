"""Which domain a later turn of a conversation is about: a small logistic model over domains, its weights a JSON file.

A conditional logit (McFadden 1974, "Conditional logit analysis of qualitative choice behavior"): each domain gets a
score that is linear in what speaks for it, with the same weights for every domain but the generalist's, and the
softmax of the scores are probabilities. What speaks for a domain: that it was likely before the turn, that the turn
alone reads like it, and that the turn reads like it together with the turns before. The first two count more or less
with the turn's wording (`cues`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.router.cues import cues

SHIPPED = Path(__file__).with_name("conversation.json")
"""For routers whose encoder learned from conversations, so that a turn read with those before it says something."""
PLAIN = Path(__file__).with_name("conversation_plain.json")
"""For all others."""
FALLBACK = "general"
"""The domain of what is nobody's. Follow-ups such as "shorter" read like it, so it has weights of its own."""
FLOOR = 1e-2
"""Probabilities below count as this: a reading of almost nothing must not outvote all else."""

_BEFORE = ("one", "length", "new", "old", "refers", "connects", "acknowledges", "edits", "leaves", "whole", "empty")
_FALLBACK = ("one", "new", "refers", "whole", "leaves", "empty", "edits")
_READ = ("one", "new", "refers")
NAMES = (
    *(f"before.{cue}" for cue in _BEFORE),
    *(f"fallback.{cue}" for cue in _FALLBACK),
    *(f"specialist.{cue}" for cue in _READ),
    "alone",
    "alone.fallback",
    "together",
)
"""`before`: the domain's probability after the turn before. `fallback`: that it is the generalist's, where the
conversation is not there. `specialist`: the probability of the turn alone, for all but the generalist's. `alone`,
`together`: logarithms of the probabilities of both readings. What has a dot is multiplied by the cue behind it."""


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """`conversation.json`: a weight for each of `NAMES`, and where they came from."""

    weights: dict[str, float]
    fitted_on: str = ""
    sha256: str = ""
    """Of the file that they were fitted on."""


def load_weights(path: Path = SHIPPED) -> np.ndarray:
    """The weights in the order of `NAMES`. Raises ConfigurationError for a file that is missing or other than that."""
    try:
        read = msgspec.json.decode(path.read_bytes(), type=Weights).weights
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); reinstall concertino.") from error
    if read.keys() != set(NAMES):
        raise ConfigurationError(f"{path} has other weights than this version reads; reinstall concertino.")
    return np.array([read[name] for name in NAMES])


def evidence(
    text: str,
    before: Sequence[str],
    domains: Sequence[str],
    beliefs: Mapping[str, float],
    alone: Mapping[str, float],
    together: Mapping[str, float],
) -> np.ndarray:
    """What speaks for each domain, `[domains, len(NAMES)]`.

    `beliefs` are the probabilities after the turn before, `alone` and `together` what the router reads in the turn by
    itself and with `before`, the user's turns on the same subject.
    """
    said = cues(text, before)
    was = np.array([beliefs.get(domain, 0.0) for domain in domains])
    fallback = np.array([float(domain == FALLBACK) for domain in domains])
    named = np.array([alone.get(domain, 0.0) for domain in domains]) * (1.0 - fallback)
    read, joined = _logarithms(alone, domains), _logarithms(together, domains)
    return np.stack(
        [
            *(was * said[cue] for cue in _BEFORE),
            *(fallback * (1.0 - was) * said[cue] for cue in _FALLBACK),
            *(named * said[cue] for cue in _READ),
            read,
            fallback * read,
            joined,
        ],
        axis=1,
    )


def probabilities(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Softmax over the domains of `rows @ weights`, `[domains]`."""
    scores = rows @ weights
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def _logarithms(scores: Mapping[str, float], domains: Sequence[str]) -> np.ndarray:
    return np.asarray(np.log(np.clip([scores.get(domain, 0.0) for domain in domains], FLOOR, 1.0)))
