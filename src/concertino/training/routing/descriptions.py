"""Fit the description tier on invented teams, and measure it by leaving out domains.

An invented team has a specialist for a group of topics, described by their phrases or by a sentence, perhaps with
examples on its card; the other topics are others' business and lend the team a few texts each. From texts of both
kinds a logistic function learns when a text belongs to the described one. Nothing but vectors is needed, so that it
takes a minute after the texts are embedded.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from concertino.default_models import SENTENCE_ENCODER
from concertino.router.description_weights import MANIFEST, DescriptionManifest, Thresholds, file_hashes
from concertino.router.encoder import Encoder
from concertino.router.profile import FEATURES, Embed, Profile, phrases
from concertino.training.routing.data import Row
from concertino.training.routing.topics import Topic, Words, drawn, load_words

Note = Callable[[str], None]

EVERYDAY = "clinc"
"""The source of what people ask an assistant every day."""
KIN = {"banking": "banking77", "credit_cards": "banking77"}
"""Holding out these CLINC150 domains holds out that set too: it is about the same things."""


class DescriptionRecipe(Struct, frozen=True):
    """Everything that decides the result, beside the data."""

    seed: int = 7
    teams: int = 120
    per_topic: int = 25
    bank_per_class: int = 300
    everyday: int = 1000
    """Of the bank's texts, those from CLINC150: what people ask an assistant, and mostly nobody's in a team."""
    strangers: int = 4
    """Texts of others for each text of the described specialist; teams have a handful of members."""
    most: int = 60
    """Texts of the described specialist in one team."""
    ridge: float = 1.0


class Memory:
    """Embeds each text once."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            self._known.update(zip(fresh, self._encoder.whole(fresh), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else np.empty((0, 384), np.float32)


def bank_texts(rows: Sequence[Row], recipe: DescriptionRecipe, without: Collection[str] = ()) -> list[str]:
    """A draw of training rows, the same number from each class and as even as can be over sources, but for
    `recipe.everyday` from CLINC150. Texts in `without` are left out.
    """
    rng = random.Random(recipe.seed)  # noqa: S311
    by_class: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.text not in without and len(row.text) < 600:
            by_class[row.label][row.source].append(row.text)
    texts: list[str] = []
    for _, sources in sorted(by_class.items()):
        share = recipe.bank_per_class // len(sources)
        for source, found in sorted(sources.items()):
            texts += drawn(rng, found, recipe.everyday if source == EVERYDAY else share)
    return texts


def invented_team(
    topics: Sequence[Topic], words: Words, bank: np.ndarray, embed: Embed, recipe: DescriptionRecipe, rng: random.Random
) -> tuple[np.ndarray, np.ndarray]:
    """Features `[texts, features]` and truth `[texts]` of one invented team."""
    family = rng.choice([*words.domains, *words.domains, "banking77", "mmlu", "mmlu", "own"])
    same = [topic for topic in topics if topic.family == family]
    if len(same) < 4:
        return np.empty((0, len(FEATURES))), np.empty(0)
    kin = words.domains.get(family)
    if kin is not None and rng.random() < 0.6:
        inside, description = same, rng.choice([kin.full, kin.full, kin.short])
    else:
        inside = drawn(rng, same, rng.randint(2, min(8, len(same) - 1)))
        listed = ", ".join(topic.phrase.rstrip(".") for topic in inside)
        description = f"{rng.choice(kin.names)}: {listed}" if kin is not None and rng.random() < 0.6 else listed
    kept = drawn(rng, phrases(description), max(1, round(len(phrases(description)) * rng.choice([1.0, 1.0, 0.7]))))
    if len(kept) < len(phrases(description)):
        description = ", ".join(kept)
    rest = [topic for topic in topics if topic not in inside]
    outside = [topic for topic in rest if topic.family in words.domains or rng.random() < 0.5]
    lent, silent = rng.choice([0, 1, 3, 8]), rng.choice([0.0, 0.0, 0.5])
    given = rng.choice([0, 0, 0, 1, 2])
    own: list[str] = []
    rivals: list[str] = []
    mine: list[str] = []
    theirs: list[str] = []
    for topic in inside:
        texts = drawn(rng, topic.texts, given + 10)
        own, mine = own + texts[:given], mine + texts[given:]
    for topic in outside:
        texts = drawn(rng, topic.texts, lent + 4)
        # Some of what is others' business has no examples on any card.
        rivals, theirs = rivals + (texts[:lent] if rng.random() >= silent else []), theirs + texts[lent:]
    mine = drawn(rng, mine, recipe.most)
    theirs = drawn(rng, theirs, recipe.strangers * len(mine))
    features = Profile.of(description, own, rivals, bank, embed).features(embed(mine + theirs))
    return features, np.repeat([1.0, 0.0], [len(mine), len(theirs)])


def fit_logistic(features: np.ndarray, truth: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Coefficients and intercept of a logistic regression, by Newton's method; `ridge` spares the intercept."""
    design = np.hstack([features, np.ones((len(features), 1))])
    weights = np.zeros(design.shape[1])
    penalty = np.diag(np.r_[np.full(features.shape[1], ridge), 1e-6])
    for _ in range(30):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (chance - truth) + penalty @ weights
        curve = (design.T * (chance * (1.0 - chance))) @ design + penalty
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights[:-1], float(weights[-1])


def fit(
    topics: Sequence[Topic], bank: np.ndarray, embed: Embed, recipe: DescriptionRecipe, without: Collection[str] = ()
) -> tuple[np.ndarray, float]:
    """Fit on invented teams of topics whose family or class is not in `without`, nor kin to one that is."""
    hidden = {*without, *(KIN[name] for name in without if name in KIN)}
    words, rng = load_words(), random.Random(recipe.seed)  # noqa: S311
    words = msgspec.structs.replace(words, domains={k: v for k, v in words.domains.items() if k not in hidden})
    left = [topic for topic in topics if topic.family not in hidden and topic.label not in hidden]
    parts = [invented_team(left, words, bank, embed, recipe, rng) for _ in range(recipe.teams)]
    features = np.vstack([features for features, _ in parts])
    return fit_logistic(features, np.concatenate([truth for _, truth in parts]), recipe.ridge)


def write_descriptions(
    out: Path, coefficients: np.ndarray, intercept: float, thresholds: Thresholds, advantage: float, base_sha256: str,
    data: Mapping[str, str], recipe: DescriptionRecipe,
) -> DescriptionManifest:  # fmt: skip
    """Write `descriptions.json` beside the bank that `out` holds."""
    manifest = DescriptionManifest(
        coefficients=tuple(round(float(value), 5) for value in coefficients),
        intercept=round(intercept, 5),
        thresholds=thresholds,
        advantage=advantage,
        files=file_hashes(out),
        base_model=SENTENCE_ENCODER,
        base_sha256=base_sha256,
        data=dict(sorted(data.items())),
        recipe=msgspec.to_builtins(recipe),
    )
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest
