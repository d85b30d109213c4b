"""Figures of merit of a router for a team's own domains, where some texts are nobody's."""

import time
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from concertino.router.base import Router
from concertino.router.linear import FALLBACK
from concertino.training.routing.examples import Example
from concertino.training.routing.figures import auroc, expected_calibration_error
from concertino.types import Message, Ranking, Role


class OwnFigures(Struct, frozen=True):
    """What a router did on labelled rows. Shares and rates lie between 0 and 1; NaN where there are no such rows."""

    rows: int
    """That are somebody's."""
    outside: int
    """That are nobody's."""
    accuracy: float
    """Of the rows that are somebody's, those whose domain is the likeliest, before abstention."""
    right: float
    """The same after abstention, which counts as wrong."""
    coverage: float
    """Of the rows that are somebody's, those that are not abstained from."""
    selective_accuracy: float
    """Of these, those that are right."""
    refused: float
    """Of the rows that are nobody's, those that are abstained from."""
    macro_f1: float
    """After abstention, over the domains, and over `nobody` where there are such rows."""
    ece: float
    """Expected calibration error of the confidence, 15 equal bins, before abstention; nobody's rows are never right."""
    ood_auroc: float
    """How well the probability of being nobody's tells what is: 0.5 is chance, 1 is always."""
    confidence_auroc: float
    """The same of the confidence alone."""
    recall: dict[str, float]


class Latency(Struct, frozen=True):
    """Milliseconds of one decision on a short text, in this process, after warm-up."""

    p50_ms: float
    p99_ms: float


class Judged(Struct, frozen=True):
    """What a router said of each row."""

    best: Sequence[str]
    """The likeliest domain."""
    chosen: Sequence[str | None]
    confidence: np.ndarray
    """Probability of `best`."""
    inside: np.ndarray
    """Probability of being somebody's; the confidence where the router has none."""

    @property
    def sureness(self) -> np.ndarray:
        """Probability of what was chosen: of a domain, or of being nobody's."""
        nobody = np.array([name is None for name in self.chosen])
        return np.where(nobody, 1.0 - self.inside, self.confidence)


def from_scores(scores: np.ndarray, domains: Sequence[str], threshold: float) -> Judged:
    """Of `[rows, domains]` probabilities that lack of 1 the probability of being nobody's."""
    best = [domains[place] for place in scores.argmax(axis=1)]
    confidence = scores.max(axis=1)
    chosen = [name if sure >= threshold else None for name, sure in zip(best, confidence, strict=True)]
    total = scores.sum(axis=1)
    return Judged(best, chosen, confidence, confidence if np.allclose(total, 1.0) else total)


def from_rankings(rankings: Sequence[Ranking], domains: Sequence[str]) -> Judged:
    """Of rankings by any router; what it calls `general` is nobody's unless that is one of the `domains`."""
    fallback = None if FALLBACK in domains else FALLBACK
    best: list[str] = []
    chosen: list[str | None] = []
    rows: list[tuple[float, float]] = []
    for ranking in rankings:
        named = {name: score for name, score in ranking.scores.items() if name != fallback}
        best.append(max(named, key=lambda name: named[name]))
        chosen.append(None if ranking.domain == fallback else ranking.domain)
        rows.append((named[best[-1]], sum(named.values())))
    confidence, total = np.array(rows).T
    lacking = bool((total < 1.0 - 1e-6).any()) and bool((total <= 1.0 + 1e-6).all())
    return Judged(best, chosen, confidence, total if lacking else confidence)


def own_figures(rows: Sequence[Example], judged: Judged) -> OwnFigures:
    """Judge what a router said of the rows."""
    truth = [row.label for row in rows]
    inside = np.array([label is not None for label in truth])
    best = np.array([name == label for name, label in zip(judged.best, truth, strict=True)])
    chosen = np.array([name == label for name, label in zip(judged.chosen, truth, strict=True)])
    answered = np.array([name is not None for name in judged.chosen])
    names = sorted({label for label in truth if label is not None})
    f1, recall = [], {}
    for name in [*names, *([None] if not inside.all() else [])]:
        hits = sum(found == label == name for found, label in zip(judged.chosen, truth, strict=True))
        f1.append(2 * hits / max(1, truth.count(name) + list(judged.chosen).count(name)))
        if name is not None:
            recall[name] = hits / truth.count(name)
    return OwnFigures(
        rows=int(inside.sum()),
        outside=int((~inside).sum()),
        accuracy=_share(best, inside),
        right=_share(chosen, inside),
        coverage=_share(answered, inside),
        selective_accuracy=_share(chosen, inside & answered),
        refused=_share(~answered, ~inside),
        macro_f1=float(np.mean(f1)),
        ece=expected_calibration_error(judged.confidence, best & inside),
        ood_auroc=auroc(judged.inside, inside),
        confidence_auroc=auroc(judged.confidence, inside),
        recall=recall,
    )


def _share(good: np.ndarray, among: np.ndarray) -> float:
    return float(good[among].mean()) if among.any() else float("nan")


def time_decisions(router: Router, texts: Sequence[str], rounds: int = 200) -> Latency:
    """Time decisions on short texts, one after the other."""
    taken = []
    for number in range(rounds + 20):
        conversation = [Message(Role.USER, texts[number % len(texts)])]
        start = time.perf_counter()
        router.rank([conversation])
        taken.append((time.perf_counter() - start) * 1e3)
    return Latency(float(np.percentile(taken[20:], 50)), float(np.percentile(taken[20:], 99)))
