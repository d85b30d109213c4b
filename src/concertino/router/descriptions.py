"""The tier for specialists that the head was not trained on: their description, and examples where the card has any.

What a text's likeness to a description says (`profile.py`) a logistic function makes a probability, which
`training/routing/descriptions.py` fits on invented teams. Where the router knows the specialist's domain by another
name, its word counts too (`stand_ins.py`).
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from concertino.config import Settings
from concertino.errors import ConfigurationError
from concertino.router.base import Router
from concertino.router.description_weights import DescriptionWeights, load_description_weights
from concertino.router.encoder import Encoder
from concertino.router.linear import END_CONFIDENCE, SHORT_WORDS, conversation_texts
from concertino.router.profile import TITLE, WORD, Profile, is_title, log_odds, phrases, probability
from concertino.router.readings import Reading, is_anothers, read_cards
from concertino.router.stand_ins import StandIn, find_stand_ins, is_taken, with_router
from concertino.types import Message, Ranking, Tier

ALIKE, MANY = 1.25, 5
"""A text whose best chance is less than so many times the mean of them all is nobody's, among so many or more: it fits
what their cards have in common ("in a friendly manner"), as a greeting does."""


class Described(Struct, frozen=True):
    """A specialist as this tier knows it. `domain` is the name under which it is scored."""

    domain: str
    description: str
    examples: tuple[str, ...] = ()


class Evidence(Struct, frozen=True):
    """Why a text belongs to a described specialist, or does not: what `concertino router explain` shows."""

    domain: str
    probability: float
    phrase: str
    """The part of the description that is nearest."""
    z_score: float
    """How many standard deviations above the texts of the bank."""
    rival: float
    """Mean cosine of the nearest texts that are others' business."""


class DescriptionTier:
    """Refines the head's rankings where the team has specialists that the head does not know.

    Those without a description and without examples cannot be told from others, and are never chosen by this tier.
    `weights` is a folder as `concertino router train-descriptions` writes it; without it the package's are read.
    `home` is where the model store lies. With `router`, and all domains that the team's cards serve, some stand in for
    a domain that it knows (`router/stand_ins.py`). Raises ModelMissing without the encoder, ConfigurationError for
    weights that are missing or damaged, and for an example that stands on two cards.
    """

    def __init__(
        self,
        described: Sequence[Described],
        *,
        weights: str | Path | None = None,
        home: Path | None = None,
        router: Router | None = None,
        served: Collection[str] = (),
    ) -> None:
        self.weights: DescriptionWeights = load_description_weights(weights)
        self.encoder: Encoder = self.weights.open_encoder(home)
        self.described = [item for item in described if phrases(item.description) or _said(item.examples)]
        _refuse_contradictions(self.described)
        said = {item.domain: [*phrases(item.description), *_said(item.examples)] for item in self.described}
        self.readings: dict[str, Reading] = read_cards(router, said) if router else {}
        self.stand_ins: dict[str, StandIn] = find_stand_ins(self.readings, served)
        shown = {item.domain: _said(item.examples) for item in self.described}
        self._shown = {name: len(texts) for name, texts in shown.items()}
        self._profiles: dict[str, Profile] = {}
        for item in self.described:
            rivals = [text for name, texts in shown.items() if name != item.domain for text in texts]
            own = shown[item.domain]
            self._profiles[item.domain] = Profile.of(item.description, own, rivals, self.weights.bank, self._embed)
        self._thresholds = {item.domain: self._threshold(item) for item in self.described}

    def _threshold(self, item: Described) -> float:
        """From this probability on a described specialist is chosen."""
        thresholds = self.weights.manifest.thresholds
        if any(self._shown.values()):
            return thresholds.shown
        if item.domain in self.stand_ins:  # the router rules strangers out, so that a short list may take what it does
            return thresholds.titled if len(phrases(item.description)) <= TITLE else thresholds.listed
        return thresholds.titled if is_title(item.description) else thresholds.listed

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.encoder.whole(texts) if texts else np.empty((0, self.weights.bank.shape[1]), np.float32)

    def probabilities(self, vectors: np.ndarray, domains: Sequence[str]) -> np.ndarray:
        """`[texts, domains]`: how likely each text is each described specialist's; they need not sum to one."""
        columns = [self._probability(self._profiles[name], vectors) for name in domains]
        return np.stack(columns, axis=1) if columns else np.empty((len(vectors), 0))

    def _probability(self, profile: Profile, vectors: np.ndarray) -> np.ndarray:
        manifest = self.weights.manifest
        return probability(profile.features(vectors), np.array(manifest.coefficients), manifest.intercept)

    def refine(
        self,
        conversations: Sequence[Sequence[Message]],
        rankings: Sequence[Ranking],
        eligible: Sequence[Collection[str]],
    ) -> list[Ranking]:
        """The head's rankings, with the described domains among `eligible` scored too, and chosen where one is likely.

        `eligible` gives, for each conversation, the domains that policy left.
        """
        refined = list(rankings)
        texts = {}
        for place, conversation in enumerate(conversations):
            text = _text(conversation)
            if WORD.search(text) and any(item.domain in eligible[place] for item in self.described):
                texts[place] = text
        for place, views in zip(texts, self.encoder.vectors_many(list(texts.values())), strict=True):
            names = [item.domain for item in self.described if item.domain in eligible[place]]
            refined[place] = self._combine(rankings[place], names, eligible[place], views)
        return refined

    def levelled(self, ranking: Ranking, counted: Collection[str], here: str | None) -> dict[str, float]:
        """The scores of a refined ranking as probabilities that sum to one: the router's domains, and of the described
        ones those that are `counted`. That of `here`, where the conversation is, is a half at its threshold."""
        told = {}
        for name in self._thresholds.keys() & counted & ranking.scores.keys():
            told[name] = chance = ranking.scores[name]
            if name == here:
                threshold = self._thresholds[name]
                odds = chance * (1 - threshold) / (threshold * max(1 - chance, 1e-9))
                told[name] = max(odds / (1 + odds), 0.5 if name == ranking.domain else 0.0)
        most = max(1.0, sum(told.values()))
        told = {name: value / most for name, value in told.items()}
        known = {name: value for name, value in ranking.scores.items() if name not in self._thresholds}
        rest = (1.0 - sum(told.values())) / (sum(known.values()) or 1.0)
        return {name: rest * value for name, value in known.items()} | told

    def _compared(self, chances: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """`chances` with the advantage of those with fewer examples than others have."""
        counts = np.array([self._shown[name] for name in names])
        if counts.min() == counts.max():
            return chances
        lack = 1.0 - counts / counts.max()
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds(chances) - self.weights.manifest.advantage * lack)))

    def _combine(self, ranking: Ranking, names: Sequence[str], eligible: Collection[str], views: np.ndarray) -> Ranking:
        whole, *ends = self.probabilities(views, names)
        thresholds = np.array([self._thresholds[name] for name in names])
        if ends and (whole < thresholds).all():
            end = max(ends, key=lambda row: float(row.max()))
            whole = end if end.max() > END_CONFIDENCE else whole
        taken = {
            name: self.stand_ins[name].domain
            for name, chance in zip(names, whole, strict=True)
            if name in self.stand_ins and is_taken(float(chance), ranking, self.stand_ins[name])
        }
        fitting = whole >= thresholds
        whole = self._with_router(whole, names, ranking, eligible)
        compared = self._compared(whole, names)
        likely_enough = (whole >= thresholds) | [name in taken for name in names]
        place = int((compared + likely_enough).argmax())
        best, likely = names[place], float(whole[place])
        share = compared / max(1.0, float(compared.sum()))
        found = {name: float(value) for name, value in zip(names, share, strict=True)}
        alike = best not in taken and len(names) >= MANY and compared[place] < ALIKE * compared.mean()
        if likely_enough[place] and alike:
            reason = f"{ranking.reason}, though it fits what all {len(names)} are described as alike"
            return structs.replace(ranking, scores=_sorted({**ranking.scores, **found}), reason=reason)
        if not likely_enough[place]:
            kept = [name for name, fits, chance in zip(names, fitting, whole, strict=True) if fits and not chance]
            though = f", though it fits what {' and '.join(kept)} is described as" if kept else ""
            reason = ranking.reason + though
            return structs.replace(ranking, scores=_sorted({**ranking.scores, **found}), reason=reason)
        rest = 1.0 - sum(found.values())
        scores = _sorted({**{name: value * rest for name, value in ranking.scores.items()}, **found})
        reads = f"reads like {taken[best]}, and so does" if best in taken else "fits"
        reason = f"{reads} what {best} is described as ({likely:.2f})"
        return Ranking(scores, found[best], best, reason, Tier.DESCRIPTIONS, ranking.earlier)

    def _with_router(
        self, chances: np.ndarray, names: Sequence[str], ranking: Ranking, eligible: Collection[str]
    ) -> np.ndarray:
        """`chances` with what the router says of the domains that some of `names` stand in for, and of others'.

        Of several that stand in for one domain, the one that its description fits best speaks for all.
        """
        joined = chances.copy()
        first: dict[str, int] = {}
        for place, name in enumerate(names):
            if name in self.stand_ins:
                domain = self.stand_ins[name].domain
                if chances[place] > chances[first.setdefault(domain, place)]:
                    first[domain] = place
        for place, name in enumerate(names):
            if name in self.stand_ins:
                stand_in = self.stand_ins[name]
                speaks = first[stand_in.domain] == place
                joined[place] = with_router(float(chances[place]), ranking, stand_in, speaks=speaks)
            if name in self.readings and is_anothers(ranking, self.readings[name], eligible):
                joined[place] = 0.0
        return joined

    def evidence(self, text: str) -> list[Evidence]:
        """What speaks for each described specialist, likeliest first."""
        vectors = self.encoder.whole([text])
        found = []
        for item in self.described:
            profile, parts = self._profiles[item.domain], phrases(item.description)
            z = profile.z_scores(vectors)[0] if parts else np.zeros(1)
            likely = float(self._probability(profile, vectors)[0])
            phrase = parts[int(z.argmax())] if parts else ""
            found.append(Evidence(item.domain, likely, phrase, float(z.max()), float(profile.rivalry(vectors)[0])))
        return sorted(found, key=lambda item: -item.probability)


def open_tier(settings: Settings, domains: Collection[str], router: Router) -> DescriptionTier:
    """The tier for those of a team's domains that `router` does not know; cards that serve one of them are one.

    Raises what DescriptionTier raises.
    """
    described = []
    for name in dict.fromkeys(domains):
        cards = [card for card in settings.specialists if name in card.serves]
        examples = tuple(text for card in cards for text in card.examples)
        described.append(Described(name, cards[0].description, examples))
    weights = settings.router.descriptions or None
    return DescriptionTier(described, weights=weights, home=settings.home_path, router=router, served=settings.served)


def _sorted(scores: dict[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _said(examples: Sequence[str]) -> list[str]:
    return [text for text in dict.fromkeys(examples) if WORD.search(text)]


def _text(conversation: Sequence[Message]) -> str:
    """What is read of a conversation: a short last turn with the turns before it, as the head does."""
    last, earlier = conversation_texts(conversation)
    return earlier if earlier and len(WORD.findall(last)) <= SHORT_WORDS else last


def _refuse_contradictions(described: Sequence[Described]) -> None:
    owners: dict[str, str] = {}
    for item in described:
        for text in _said(item.examples):
            key = " ".join(WORD.findall(text.lower()))
            if (other := owners.setdefault(key, item.domain)) != item.domain:
                raise ConfigurationError(
                    f"The example {text[:80]!r} stands on the cards of {other} and {item.domain}. Leave it on one.",
                    param=f"specialists.{item.domain}.examples",
                )
