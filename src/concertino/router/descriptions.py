"""The tier for specialists that the head was not trained on: their description, and examples where the card has any.

A request belongs to a described specialist if it is more like a phrase of its description than texts usually are (a
z-score against a bank of texts, so that a phrase which is near to everything counts for little), and less like what
others do: the texts of the bank that do not match the description, and the examples on other cards. A logistic
function of these makes a probability; `training/routing/descriptions.py` fits it on invented teams. No source has
this exact recipe; the parts are from zero-shot text classification by label descriptions (Yin et al. 2019) and from
novelty detection by neighbours.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from concertino.errors import ConfigurationError
from concertino.router.description_weights import DescriptionWeights, load_description_weights
from concertino.router.encoder import Encoder
from concertino.router.linear import END_CONFIDENCE, SHORT_WORDS, conversation_texts
from concertino.types import Message, Ranking, Tier

MOST_PHRASES = 64
MATCHES = 2.0
"""A text of the bank with this z-score on a description may be the specialist's own, so it is not held against it."""
NEIGHBOURS = 3

_WORD = re.compile(r"[^\W_]+")
_BREAK = re.compile(r"[,;:.()!?\n]|\s(?:and|or|und|et|y)\s")
_OPENING = re.compile(
    r"^(?:(?:all|any|the|other|questions?|requests?|everything|anything|help|tasks?|topics?|answers?|handles?|covers?"
    r"|specialist|expert|assistant)\s+)*(?:(?:about|on|for|with|around|regarding|concerning|in|of|to|such as|like"
    r"|including)\s+)+",
    re.I,
)


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


def phrases(description: str) -> list[str]:
    """The parts of a description that say something each, in order, without duplicates or openings such as
    "Questions about"; at most `MOST_PHRASES`."""
    parts = (_OPENING.sub("", part.strip()).strip() for part in _BREAK.split(description))
    return list(dict.fromkeys(part for part in parts if _WORD.search(part)))[:MOST_PHRASES]


def in_context(description: str) -> list[str]:
    """The whole description, and each phrase after the words before its colon: "Travel: visas"."""
    head, colon, _ = description.partition(":")
    parts = phrases(description)
    titled = bool(colon) and len(head.split()) <= SHORT_WORDS
    return [description, *(f"{head.strip()}: {part}" for part in parts[1:] if titled)]


class Profile:
    """A described specialist in vectors. All rows have unit length; `[.., width]`.

    `parts` are its phrases, `wholes` the phrases in context, `own` its examples, `rivals` the texts that are others'
    business, `bank` texts of all kinds.
    """

    def __init__(
        self, parts: np.ndarray, wholes: np.ndarray, own: np.ndarray, rivals: np.ndarray, bank: np.ndarray
    ) -> None:
        self.parts, self.wholes, self.own = parts, wholes, own
        self._scale_parts, self._scale_wholes = _scale(bank, parts), _scale(bank, wholes)
        strangers = bank[self.z_scores(bank).max(axis=1, initial=-np.inf) < MATCHES]
        self.rivals = np.vstack([rivals, strangers])
        # How near the rivals' own kind comes to them: with few of them a stranger is as far away as a friend.
        sample = self.rivals[:: max(1, len(self.rivals) // 200)]
        near = np.sort(sample @ self.rivals.T, axis=1)[:, -1 - NEIGHBOURS : -1]  # the last one is the text itself
        self.usual = float(near.mean()) if near.size else 0.0

    def z_scores(self, vectors: np.ndarray) -> np.ndarray:
        """`[texts, phrases]`: likeness to each phrase, in standard deviations above the bank's mean."""
        return _standardised(vectors @ self.parts.T, self._scale_parts)

    def features(self, vectors: np.ndarray) -> np.ndarray:
        """What the logistic function reads, float `[texts, len(FEATURES)]`, for `[texts, width]` vectors."""
        if len(self.parts):
            z = np.sort(self.z_scores(vectors), axis=1)[:, ::-1]
            best, few = z[:, 0], z[:, :3].mean(axis=1)
            whole = _standardised(vectors @ self.wholes.T, self._scale_wholes).max(axis=1)
        else:
            best = few = whole = np.zeros(len(vectors))
        rival = self.rivalry(vectors)
        described = np.full(len(vectors), float(len(self.parts) > 0))
        shown = np.full(len(vectors), float(len(self.own) > 0))
        example = _nearest(vectors, self.own, 2) if len(self.own) else np.zeros(len(vectors))
        return np.stack(
            [
                best, few, whole, rival, rival - self.usual, described, shown,
                example, shown * best, shown * rival, example - shown * rival,
            ],
            axis=1,
        )  # fmt: skip

    def rivalry(self, vectors: np.ndarray) -> np.ndarray:
        """`[texts]`: mean cosine of the nearest rivals."""
        return _nearest(vectors, self.rivals, NEIGHBOURS)


FEATURES = (
    "z of the best phrase", "z of the best three", "z in context", "rival", "rival above usual", "has description",
    "has examples", "own example", "has examples x z", "has examples x rival", "own example above rival",
)  # fmt: skip


_FROM_EXAMPLES = FEATURES.index("has examples")


def probability(features: np.ndarray, coefficients: np.ndarray, intercept: float) -> np.ndarray:
    """`[texts, features]` -> `[texts]`: with the examples, or without them where that is more.

    Ten examples of a wide domain lie near few of its texts. Being far from them must not count against a text that
    the description fits.
    """
    logits = features @ coefficients + intercept
    described = features[:, FEATURES.index("has description")] > 0
    bare = features[:, :_FROM_EXAMPLES] @ coefficients[:_FROM_EXAMPLES] + intercept
    logits = np.where(described, np.maximum(logits, bare), logits)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -50, 50))))


def log_odds(chances: np.ndarray) -> np.ndarray:
    """Of probabilities, kept finite."""
    kept = np.clip(chances, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(kept / (1 - kept)))


def _scale(bank: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    likeness = bank @ rows.T
    return likeness.mean(axis=0), likeness.std(axis=0) + 1e-6


def _standardised(likeness: np.ndarray, scale: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.asarray((likeness - scale[0]) / scale[1])


def _nearest(vectors: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """`[texts]`: mean cosine of the `count` nearest rows."""
    if not len(rows):
        return np.zeros(len(vectors))
    likeness = vectors @ rows.T
    count = min(count, len(rows))
    return np.asarray(np.partition(likeness, -count, axis=1)[:, -count:].mean(axis=1))


class DescriptionTier:
    """Refines the head's rankings where the team has specialists that the head does not know.

    Those without a description and without examples cannot be told from others, and are never chosen by this tier.
    `weights` is a folder as `concertino router train-descriptions` writes it; without it the package's are read.
    `home` is where the model store lies. Raises ModelMissing without the encoder, ConfigurationError for weights that
    are missing or damaged, and for an example that stands on two cards.
    """

    def __init__(
        self, described: Sequence[Described], *, weights: str | Path | None = None, home: Path | None = None
    ) -> None:
        self.weights: DescriptionWeights = load_description_weights(weights)
        self.encoder: Encoder = self.weights.open_encoder(home)
        self.described = [item for item in described if phrases(item.description) or _said(item.examples)]
        _refuse_contradictions(self.described)
        self._shown = {item.domain: len(_said(item.examples)) for item in self.described}
        shown = {item.domain: self._embed(_said(item.examples)) for item in self.described}
        self._profiles = {
            item.domain: Profile(
                self._embed(phrases(item.description)),
                self._embed(in_context(item.description) if phrases(item.description) else []),
                shown[item.domain],
                np.vstack([self._embed([]), *(rows for name, rows in shown.items() if name != item.domain)]),
                self.weights.bank,
            )
            for item in self.described
        }

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
            if _WORD.search(text) and any(item.domain in eligible[place] for item in self.described):
                texts[place] = text
        for place, views in zip(texts, self.encoder.vectors_many(list(texts.values())), strict=True):
            names = [item.domain for item in self.described if item.domain in eligible[place]]
            refined[place] = self._combine(rankings[place], names, views)
        return refined

    @property
    def threshold(self) -> float:
        """From this probability on a described specialist is chosen."""
        manifest = self.weights.manifest
        return manifest.threshold if any(self._shown.values()) else manifest.threshold_alone

    def _compared(self, chances: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """`chances` with the advantage of those with fewer examples than others have."""
        counts = np.array([self._shown[name] for name in names])
        if counts.min() == counts.max():
            return chances
        lack = 1.0 - counts / counts.max()
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds(chances) - self.weights.manifest.advantage * lack)))

    def _combine(self, ranking: Ranking, names: Sequence[str], views: np.ndarray) -> Ranking:
        whole, *ends = self.probabilities(views, names)
        if ends and whole.max() < self.threshold:
            end = max(ends, key=lambda row: float(row.max()))
            whole = end if end.max() > END_CONFIDENCE else whole
        compared = self._compared(whole, names)
        place = int(compared.argmax())
        best, likely = names[place], float(whole[place])
        share = compared / max(1.0, float(compared.sum()))
        found = {name: float(value) for name, value in zip(names, share, strict=True)}
        if likely < self.threshold:
            return structs.replace(ranking, scores=_sorted({**ranking.scores, **found}))
        rest = 1.0 - sum(found.values())
        scores = _sorted({**{name: value * rest for name, value in ranking.scores.items()}, **found})
        reason = f"fits what {best} is described as ({likely:.2f})"
        return Ranking(scores, found[best], best, reason, Tier.DESCRIPTIONS, ranking.earlier)

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


def _sorted(scores: dict[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _said(examples: Sequence[str]) -> list[str]:
    return [text for text in dict.fromkeys(examples) if _WORD.search(text)]


def _text(conversation: Sequence[Message]) -> str:
    """What is read of a conversation: a short last turn with the turns before it, as the head does."""
    last, earlier = conversation_texts(conversation)
    return earlier if earlier and len(_WORD.findall(last)) <= SHORT_WORDS else last


def _refuse_contradictions(described: Sequence[Described]) -> None:
    owners: dict[str, str] = {}
    for item in described:
        for text in _said(item.examples):
            key = " ".join(_WORD.findall(text.lower()))
            if (other := owners.setdefault(key, item.domain)) != item.domain:
                raise ConfigurationError(
                    f"The example {text[:80]!r} stands on the cards of {other} and {item.domain}. Leave it on one.",
                    param=f"specialists.{item.domain}.examples",
                )
