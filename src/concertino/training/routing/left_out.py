"""How well a specialist is routed to by its description alone: each domain is left out in turn.

Three teams. `clinc`: nine domains of CLINC150 with examples on their cards and the tenth described. `built-in`: the
five of the built-in team and one CLINC150 domain described. `own`: four of the five and the fifth described. Whatever
is described was neither among the topics of the invented teams that the tier was fitted on, nor in its bank.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from concertino.backends.encoder.session import EncoderFiles
from concertino.config import built_in_team
from concertino.router.description_weights import DescriptionManifest, digest
from concertino.router.profile import Profile, log_odds, probability
from concertino.router.published import PublishedEncoder
from concertino.training.routing.data import Row, load_splits
from concertino.training.routing.descriptions import (
    KIN,
    DescriptionRecipe,
    Embed,
    Memory,
    Note,
    bank_texts,
    fit,
    profile,
    write_descriptions,
)
from concertino.training.routing.topics import Question, drawn, load_clinc, load_topics, load_words
from concertino.training.routing.tune import BaseModel

FOLDS = (
    ("travel", "credit_cards", "meta"),
    ("banking", "home", "small_talk", "auto_and_commute"),
    ("utility", "work", "kitchen_and_dining"),
)
"""Domains that are left out of one fit together, to save time."""
SHARE = 0.1
"""Of the requests, as many as are taken to be the described specialist's."""
PER_INTENT, INTENTS = 5, 15
"""Examples that each intent of the nine domains has on its card, and the intents of a domain: 75 examples."""
OWN_DOMAINS = ("code", "legal", "finance", "medical")
"""Of the built-in team, whose descriptions are taken."""


class LeftOut(Struct, frozen=True):
    """One domain in one team. Shares between 0 and 1; precision as if `SHARE` of the requests were the domain's.

    `best_f1` is that of the best threshold for this domain alone.
    """

    team: str
    domain: str
    description: str
    examples: int
    recall: float
    precision: float
    best_f1: float


class Chances(Struct, frozen=True):
    """Probability that each question is the left-out domain's, and whether it is; both `[questions]`."""

    team: str
    domain: str
    description: str
    examples: int
    probability: np.ndarray
    truth: np.ndarray
    best_other: np.ndarray | None = None
    """The highest probability of the team's other described specialists, where it has some."""

    def beating(self, advantage: float) -> "Chances":
        """The same with no chance where another one is chosen; `advantage` is that of a specialist without examples."""
        if self.best_other is None:
            return self
        lack = max(0.0, 1.0 - self.examples / (PER_INTENT * INTENTS))
        ahead = log_odds(self.probability) + advantage * lack > log_odds(self.best_other)
        return structs.replace(self, probability=np.where(ahead, self.probability, 0.0), best_other=None)

    def at(self, threshold: float) -> LeftOut:
        """Recall and precision from `threshold` on; precision is 1 where nothing was chosen. `best_f1` is as drawn."""
        chosen = self.probability >= threshold
        hit, false = (float(chosen[part].mean()) if part.any() else 0.0 for part in (self.truth, ~self.truth))
        taken = SHARE * hit + (1 - SHARE) * false
        order = self.truth[np.argsort(-self.probability, kind="stable")]
        rising = np.cumsum(order)
        f1 = 2 * rising / (np.arange(1, len(order) + 1) + order.sum())
        return LeftOut(
            self.team, self.domain, self.description, self.examples,
            hit, SHARE * hit / taken if taken else 1.0, float(f1.max()),
        )  # fmt: skip


class Fitted(Struct, frozen=True):
    coefficients: np.ndarray
    intercept: float

    def probability(self, who: Profile, vectors: np.ndarray) -> np.ndarray:
        return probability(who.features(vectors), self.coefficients, self.intercept)


class ClincTeam:
    """Nine domains of CLINC150 with examples and descriptions on their cards, and one that is described."""

    def __init__(
        self, train: Sequence[Question], left_out: str, own: int, bank: np.ndarray, embed: Embed, fitted: Fitted
    ) -> None:
        rng, words = random.Random(own), load_words()  # noqa: S311
        by_intent: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for question in train:
            by_intent[question.domain, question.intent].append(question.text)
        shown: defaultdict[str, list[str]] = defaultdict(list)
        for (domain, _), texts in sorted(by_intent.items()):
            if domain in words.domains:
                shown[domain] += drawn(rng, texts, PER_INTENT)
        self.own = shown[left_out] = drawn(rng, shown[left_out], own)
        self.bank, self.embed, self.fitted = bank, embed, fitted
        self.rivals = [text for name, texts in shown.items() if name != left_out for text in texts]
        self.others = [
            profile(
                domain.full,
                shown[name],
                [text for other, texts in shown.items() if other != name for text in texts],
                bank,
                embed,
            )
            for name, domain in words.domains.items()
            if name != left_out
        ]

    def chances(self, description: str, vectors: np.ndarray) -> np.ndarray:
        """The left-out domain's probability, `[questions]`."""
        return self.fitted.probability(profile(description, self.own, self.rivals, self.bank, self.embed), vectors)


def measure(
    fits: Mapping[str, Fitted], questions: Sequence[Question], train: Sequence[Question], rows: Sequence[Row],
    bank_rows: Sequence[Row], embed: Embed, recipe: DescriptionRecipe, note: Note,
) -> list[Chances]:  # fmt: skip
    """Every domain of `fits` left out; `fits` has, for each, what was fitted without it."""
    words, found = load_words(), []
    others = [row for row in rows if row.label != "general" and not row.source.startswith("clinc")]
    texts = {name: {question.text for question in train if question.domain == name} for name in words.domains}
    for name, domain in words.domains.items():
        if name not in fits:
            continue
        note(f"left out: {name}")
        without = texts[name] | {row.text for row in bank_rows if row.source == KIN.get(name)}
        bank = embed(bank_texts(bank_rows, recipe.bank_per_class, recipe.seed, without))
        truth = np.array([question.domain == name for question in questions])
        vectors = embed([question.text for question in questions])
        for own in (0, 10):
            team = ClincTeam(train, name, own, bank, embed, fits[name])
            best_other = np.max([fits[name].probability(other, vectors) for other in team.others], axis=0)
            for kind, description in (("full", domain.full), ("short", domain.short)):
                mine = team.chances(description, vectors)
                found.append(Chances("clinc", name, kind, own, mine, truth, best_other))
        for kind, description in (("full", domain.full), ("short", domain.short)):
            asked = [*(question.text for question in questions), *(row.text for row in others)]
            truth = np.array([*(question.domain == name for question in questions), *(False for _ in others)])
            who = profile(description, [], [], bank, embed)
            found.append(Chances("built-in", name, kind, 0, fits[name].probability(who, embed(asked)), truth))
    described = {card.name: card.description for card in built_in_team()}
    for name in (name for name in OWN_DOMAINS if name in fits):
        note(f"left out: {name}")
        strangers = [row for row in bank_rows if row.label != name]
        bank = embed(bank_texts(strangers, recipe.bank_per_class, recipe.seed))
        vectors, truth = embed([row.text for row in rows]), np.array([row.label == name for row in rows])
        for own in (0, 10):
            examples = [row.text for row in bank_rows if row.label == name and row.source == f"seeds_{name}"][:own]
            who = profile(described[name], examples, [], bank, embed)
            found.append(Chances("own", name, "full", own, fits[name].probability(who, vectors), truth))
    return found


def mean_f1(found: Sequence[Chances], team: str, threshold: float, advantage: float = 0.0) -> float:
    """Mean F1 over the domains of a team that were described in full, without examples."""
    full = [item for item in found if item.team == team and item.description == "full" and item.examples == 0]
    judged = [item.beating(advantage).at(threshold) for item in full]
    return float(np.mean([2 * j.recall * j.precision / max(1e-9, j.recall + j.precision) for j in judged]))


def best_settings(found: Sequence[Chances]) -> tuple[float, float, float]:
    """Both thresholds, of 0.20 to 0.90, and the advantage, of 0 to 4, with the highest mean F1."""
    grid = [round(float(value), 2) for value in np.arange(0.20, 0.91, 0.02)]
    alone = max(grid, key=lambda value: mean_f1(found, "built-in", value))
    pairs = [(value, advantage / 2) for value in grid for advantage in range(9)]
    threshold, advantage = max(pairs, key=lambda pair: mean_f1(found, "clinc", *pair))
    return threshold, alone, advantage


def sampled(rows: Sequence[Row], per_source: int, seed: int) -> list[Row]:
    """Up to `per_source` rows of each source."""
    rng = random.Random(seed)  # noqa: S311
    by_source: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    return [row for _, found in sorted(by_source.items()) for row in drawn(rng, found, per_source)]


def train_descriptions(
    data_dir: Path, base: BaseModel, out: Path, recipe: DescriptionRecipe, note: Note
) -> tuple[DescriptionManifest, list[LeftOut]]:
    """Fit the tier, choose its threshold on calibration questions, and measure it on others. Writes `out`.

    Raises ConfigurationError for a missing data set or extra.
    """
    out.mkdir(parents=True, exist_ok=True)
    embed = Memory(PublishedEncoder(EncoderFiles(base.config, base.weights, base.tokenizer)))
    splits = load_splits(data_dir, note)
    hashes = dict(splits.hashes)
    bank_rows = sampled(splits.train, 600, recipe.seed)
    topics = load_topics(data_dir, bank_rows, recipe.per_topic, recipe.seed, hashes)
    train, val = load_clinc(data_dir, "train", hashes), load_clinc(data_dir, "val", hashes)
    bank = embed(bank_texts(bank_rows, recipe.bank_per_class, recipe.seed))
    fits: dict[str, Fitted] = {}
    for fold in FOLDS:
        note(f"fitting without {', '.join(fold)}")
        fitted = Fitted(*fit(topics, bank, embed, recipe, fold))
        fits |= dict.fromkeys(fold, fitted)
    fits |= {name: Fitted(*fit(topics, bank, embed, recipe, (name,))) for name in OWN_DOMAINS}
    tried = measure(fits, train[5::47], train, sampled(splits.calibration, 25, 3), bank_rows, embed, recipe, note)
    threshold, alone, advantage = settings = best_settings(tried)
    note(f"thresholds {threshold} and {alone}, advantage {advantage}; measuring on other questions")
    judged = measure(fits, val[::6], train, sampled(splits.test, 25, 3), bank_rows, embed, recipe, note)
    final = fit(topics, bank, embed, recipe)
    rows = np.rint(bank / np.abs(bank).max(axis=1, keepdims=True) * 127).astype(np.int8)
    np.savez(out / "bank.npz", vectors=rows)
    manifest = write_descriptions(out, *final, settings, digest(base.weights), hashes, recipe)
    judged = [item.beating(advantage) for item in judged]
    return manifest, [item.at(threshold if item.team == "clinc" or item.examples else alone) for item in judged]
