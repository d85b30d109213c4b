"""How well a specialist is routed to by its description alone: each domain is left out in turn.

Three teams. `clinc`: nine domains of CLINC150 with examples on their cards and the tenth described. `built-in`: the
five of the built-in team and one CLINC150 domain described. `own`: four of the five and the fifth described. Whatever
is described was neither among the topics of the invented teams that the tier was fitted on, nor in its bank. `shipped`
is `built-in` with the fit and the bank that ship, which have seen all; the thresholds without examples are for these.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from concertino.backends.encoder.session import EncoderFiles
from concertino.config import built_in_team
from concertino.models.file_hash import file_sha256
from concertino.router.base import Router
from concertino.router.description_weights import DescriptionManifest, Thresholds
from concertino.router.linear import LinearRouter
from concertino.router.profile import Embed, Profile, log_odds, phrases, probability
from concertino.router.published import PublishedEncoder
from concertino.router.readings import is_anothers, read_cards
from concertino.training.routing.data import Row, load_splits
from concertino.training.routing.descriptions import (
    KIN,
    DescriptionRecipe,
    Memory,
    Note,
    bank_texts,
    fit,
    write_descriptions,
)
from concertino.training.routing.topics import DomainWords, Question, drawn, load_clinc, load_topics, load_words
from concertino.types import Message, Role

FOLDS = (
    ("travel", "credit_cards", "meta"),
    ("banking", "home", "small_talk", "auto_and_commute"),
    ("utility", "work", "kitchen_and_dining"),
)
"""Domains that are left out of one fit together, to save time."""
SHARE = 0.1
"""Of the requests, as many as are taken to be the described specialist's."""
POOL = 4000
"""Training rows of each source at most, of which banks and topics are drawn."""
PER_INTENT, INTENTS = 5, 15
"""Examples that each intent of the nine domains has on its card, and the intents of a domain: 75 examples."""
PRECISION = 0.80
"""Wanted of a described specialist in a team without examples."""
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
            Profile.of(
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
        return self.fitted.probability(Profile.of(description, self.own, self.rivals, self.bank, self.embed), vectors)


class BuiltInTeam:
    """The built-in five, and one domain of CLINC150 that is described; `questions` and others' `rows` are asked."""

    def __init__(self, questions: Sequence[Question], rows: Sequence[Row], router: Router, embed: Embed) -> None:
        others = [row for row in rows if row.label != "general" and not row.source.startswith("clinc")]
        asked = [*(question.text for question in questions), *(row.text for row in others)]
        self.domains = [*(question.domain for question in questions), *("" for _ in others)]
        self.vectors = embed(asked)
        self.rankings = router.rank([[Message(Role.USER, text)] for text in asked])
        self.router, self.embed = router, embed

    def chances(self, domain: str, words: DomainWords, fits: Mapping[str, tuple[Fitted, np.ndarray]]) -> list[Chances]:
        """By the full and the short description, without examples; `fits` are fits and their banks, by the name that
        the team gets with each."""
        truth, found = np.array([theirs == domain for theirs in self.domains]), []
        for kind, description in (("full", words.full), ("short", words.short)):
            reading = read_cards(self.router, {domain: phrases(description)})[domain]
            sure = [is_anothers(ranking, reading, OWN_DOMAINS) for ranking in self.rankings]
            for team, (fitted, bank) in fits.items():
                mine = fitted.probability(Profile.of(description, [], [], bank, self.embed), self.vectors)
                found.append(Chances(team, domain, kind, 0, np.where(sure, 0.0, mine), truth))
        return found


class Measure(Struct, frozen=True):
    """Leaves out every domain in turn, and gives its chances on whatever questions."""

    fits: dict[str, Fitted]
    """For each domain, what was fitted without it."""
    shipped: Fitted
    """What was fitted with all."""
    bank: np.ndarray
    """The bank with all."""
    train: list[Question]
    bank_rows: list[Row]
    router: Router
    """The built-in team's."""
    embed: Memory
    recipe: DescriptionRecipe
    note: Note

    def on(self, questions: Sequence[Question], rows: Sequence[Row]) -> list[Chances]:
        """`questions` are of CLINC150, `rows` of our own sets."""
        return [*self._clinc(questions, rows), *self._own(rows)]

    def _clinc(self, questions: Sequence[Question], rows: Sequence[Row]) -> list[Chances]:
        found: list[Chances] = []
        built_in = BuiltInTeam(questions, rows, self.router, self.embed)
        vectors = self.embed([question.text for question in questions])
        for name, domain in load_words().domains.items():
            self.note(f"left out: {name}")
            fitted = self.fits[name]
            without = {question.text for question in self.train if question.domain == name}
            without |= {row.text for row in self.bank_rows if row.source == KIN.get(name)}
            bank = self.embed(bank_texts(self.bank_rows, self.recipe, without))
            truth = np.array([question.domain == name for question in questions])
            for own in (0, 10):
                team = ClincTeam(self.train, name, own, bank, self.embed, fitted)
                best_other = np.max([fitted.probability(other, vectors) for other in team.others], axis=0)
                for kind, description in (("full", domain.full), ("short", domain.short)):
                    mine = team.chances(description, vectors)
                    found.append(Chances("clinc", name, kind, own, mine, truth, best_other))
            found += built_in.chances(name, domain, {"built-in": (fitted, bank), "shipped": (self.shipped, self.bank)})
        return found

    def _own(self, rows: Sequence[Row]) -> list[Chances]:
        found: list[Chances] = []
        described = {card.name: card.description for card in built_in_team()}
        vectors = self.embed([row.text for row in rows])
        for name in OWN_DOMAINS:
            self.note(f"left out: {name}")
            bank = self.embed(bank_texts([row for row in self.bank_rows if row.label != name], self.recipe))
            asked = [row.text for row in self.bank_rows if row.label == name and row.source == f"seeds_{name}"]
            truth = np.array([row.label == name for row in rows])
            for own in (0, 10):
                who = Profile.of(described[name], asked[:own], [], bank, self.embed)
                found.append(Chances("own", name, "full", own, self.fits[name].probability(who, vectors), truth))
        return found


def bare(found: Sequence[Chances], team: str, description: str, threshold: float, lead: float = 0.0) -> list[LeftOut]:
    """The domains of a team that were described like this, without examples; `lead` is their advantage."""
    some = [item for item in found if (item.team, item.description, item.examples) == (team, description, 0)]
    return [item.beating(lead).at(threshold) for item in some]


def mean_f1(judged: Sequence[LeftOut]) -> float:
    """Mean F1 over domains."""
    return float(np.mean([2 * j.recall * j.precision / max(1e-9, j.recall + j.precision) for j in judged]))


def best_settings(found: Sequence[Chances]) -> tuple[Thresholds, float]:
    """Thresholds of 0.20 to 0.90, and an advantage of 0 to 4.

    With examples in the team: those with the highest mean F1, and so for titles. For lists of topics without examples:
    the lowest threshold with a mean precision of at least `PRECISION`, or the highest there is. Who misses a question
    answers none of it; who gets one too many says so.
    """
    grid = [round(float(value), 2) for value in np.arange(0.20, 0.91, 0.02)]
    pairs = [(value, lead / 2) for value in grid for lead in range(9)]
    shown, advantage = max(pairs, key=lambda pair: mean_f1(bare(found, "clinc", "full", *pair)))
    precise = [v for v in grid if np.mean([j.precision for j in bare(found, "shipped", "full", v)]) >= PRECISION]
    titled = max(grid, key=lambda value: mean_f1(bare(found, "shipped", "short", value)))
    return Thresholds(shown, min(precise, default=grid[-1]), titled), advantage


def threshold_for(item: Chances, thresholds: Thresholds) -> float:
    """The threshold that the tier would choose by."""
    if item.team == "clinc" or item.examples:
        return thresholds.shown
    return thresholds.listed if item.description == "full" else thresholds.titled


def sampled(rows: Sequence[Row], per_source: int, seed: int) -> list[Row]:
    """Up to `per_source` rows of each source."""
    rng = random.Random(seed)  # noqa: S311
    by_source: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    return [row for _, found in sorted(by_source.items()) for row in drawn(rng, found, per_source)]


def train_descriptions(
    data_dir: Path, base: EncoderFiles, out: Path, recipe: DescriptionRecipe, note: Note
) -> tuple[DescriptionManifest, list[LeftOut]]:
    """Fit the tier, choose its threshold on calibration questions, and measure it on others. Writes `out`.

    Raises ConfigurationError for a missing data set or extra.
    """
    out.mkdir(parents=True, exist_ok=True)
    embed = Memory(PublishedEncoder(base))
    splits = load_splits(data_dir, note)
    hashes = dict(splits.hashes)
    train, val = load_clinc(data_dir, "train", hashes), load_clinc(data_dir, "val", hashes)
    tuning = train[5::24]
    asked = {question.text for question in (*tuning, *val)}
    bank_rows = sampled([row for row in splits.train if row.text not in asked], POOL, recipe.seed)
    topics = load_topics(data_dir, bank_rows, recipe.per_topic, recipe.seed, hashes)
    bank = embed(bank_texts(bank_rows, recipe))
    fits: dict[str, Fitted] = {}
    for fold in FOLDS:
        note(f"fitting without {', '.join(fold)}")
        fitted = Fitted(*fit(topics, bank, embed, recipe, fold))
        fits |= dict.fromkeys(fold, fitted)
    fits |= {name: Fitted(*fit(topics, bank, embed, recipe, (name,))) for name in OWN_DOMAINS}
    shipped = Fitted(*fit(topics, bank, embed, recipe))
    measure = Measure(fits, shipped, bank, train, bank_rows, LinearRouter(), embed, recipe, note)
    calibration, test = (sampled(part, 25, 3) for part in (splits.calibration, splits.test))
    thresholds, advantage = best_settings(measure.on(tuning, calibration))
    note(f"thresholds {thresholds}, advantage {advantage}; measuring on other questions")
    judged = measure.on(val[::6], test)
    rows = np.rint(bank / np.abs(bank).max(axis=1, keepdims=True) * 127).astype(np.int8)
    np.savez(out / "bank.npz", vectors=rows)
    manifest = write_descriptions(
        out, shipped.coefficients, shipped.intercept, thresholds, advantage, file_sha256(base.weights), hashes, recipe
    )
    judged = [item.beating(advantage) for item in judged]
    return manifest, [item.at(threshold_for(item, thresholds)) for item in judged]
