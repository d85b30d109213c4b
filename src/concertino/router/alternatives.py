"""Routers beside the shipped head, behind the same protocol: neighbours, clusters, matrix factorisation, a linear head.

Fitted on labels they are domain routers: their votes are made probabilities by a temperature, and they abstain below a
threshold as the head does. Where examples were the team's own, a text has a probability of being nobody's as well,
which stands in the scores as `general`. Fitted on an outcome table they rank candidates, by predicted quality less the
weight of cost, and never abstain; a candidate's name is then the domain that a specialist serves. Matrix factorisation
over labels would be the linear head by another name, so it is fitted on outcome tables only.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concertino.errors import ConfigurationError
from concertino.router.fitted import MANIFEST, OUTCOMES, load_fitted
from concertino.router.linear import FALLBACK, SHORT_WORDS, LinearRouter, conversation_texts
from concertino.router.outcomes import LogisticOutcomes, OutcomeModel, utility
from concertino.types import Message, Ranking

_WORD = re.compile(r"[^\W_]+")
_FLOOR = 1e-3
"""Added to votes before their logarithm is taken: no vote is not impossible."""
_LOGISTIC_FLOOR = 1e-6
"""The same for a linear head's probabilities, of which a small one says something."""


class FittedRouter:
    """What they have in common. `weights` is the folder; `cost_weight` (0 to 1) counts for outcome tables only.

    Raises ConfigurationError for a folder that is missing, damaged or of another method, and for bad options.
    """

    method = ""

    def __init__(
        self, *, weights: str | Path | None = None, threshold: float | None = None, cost_weight: float = 0.0
    ) -> None:
        fitted = load_fitted(weights, self.method)
        self.manifest, self.encoder, self.model = fitted.manifest, fitted.encoder, fitted.model
        self.novelty = fitted.novelty
        self.threshold = self.manifest.threshold if threshold is None else threshold
        for name, value in (("threshold", self.threshold), ("cost_weight", cost_weight)):
            if not 0.0 <= value <= 1.0:
                raise ConfigurationError(
                    f"router.options.{name} must lie between 0 and 1, not {value!r}", param=f"router.options.{name}"
                )
        self._cost_weight = cost_weight
        self._costs = np.array(self.manifest.costs or (0.0,) * len(self.manifest.candidates))

    @property
    def ranks_candidates(self) -> bool:
        """Whether scores are qualities of candidates, and not probabilities of domains."""
        return self.manifest.kind == OUTCOMES

    @property
    def domains(self) -> tuple[str, ...]:
        """Of the columns of `probabilities`."""
        return self.manifest.candidates

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """`[texts, candidates]`: probabilities for domains, predicted quality for outcomes.

        What the probabilities of a text lack of 1 is that of its being nobody's.
        """
        if not texts:
            return np.empty((0, len(self.manifest.candidates)))
        vectors = self.encoder.whole(texts)
        if self.manifest.kind == OUTCOMES:
            return self.model.predict(vectors)
        votes = self.model.predict(vectors)
        rows = calibrated(votes, self.manifest.temperature, vote_floor(self.method))
        if self.novelty is None:
            return rows
        return np.asarray(rows * self.novelty.inside(vectors, votes, class_logits(self.model, vectors))[:, None])

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        """One Ranking per conversation, in order."""
        texts = []
        for conversation in conversations:
            last, earlier = conversation_texts(conversation)
            texts.append(earlier if earlier and len(_WORD.findall(last)) <= SHORT_WORDS else last)
        rows = self.probabilities(texts)
        return [self._ranking(row, text) for row, text in zip(rows, texts, strict=True)]

    def _ranking(self, row: np.ndarray, text: str) -> Ranking:
        names = self.manifest.candidates
        if not _WORD.search(text):
            return Ranking(dict.fromkeys(names, 1.0 / len(names)), 1.0 / len(names), None, "no words to go by")
        if self.manifest.kind == OUTCOMES:
            worth = utility(row[None], self._costs, self._cost_weight)[0]
            order = np.argsort(-worth, kind="stable")
            scores = {names[place]: float(row[place]) for place in order}
            best = names[order[0]]
            reason = f"{best} is expected to do best ({scores[best]:.2f}) by {self.method}"
            return Ranking(scores, scores[best], best, reason + (", cost counted" if self._cost_weight else ""))
        order = np.argsort(-row, kind="stable")
        scores = {names[place]: float(row[place]) for place in order}
        best, confidence = next(iter(scores.items()))
        nobody = max(0.0, 1.0 - float(row.sum()))
        if self.novelty is not None and FALLBACK not in scores:
            scores = dict(sorted((scores | {FALLBACK: nobody}).items(), key=lambda item: -item[1]))
        if confidence < self.threshold:
            said = f"{confidence:.2f} is below {self.threshold:.2f}"
            if nobody > confidence:
                reason = f"probably nobody's ({nobody:.2f}), least unlike {best}: {said}"
            else:
                reason = f"unsure between {best} and {names[order[1]]}: {said}"
            return Ranking(scores, confidence, None, reason)
        return Ranking(scores, confidence, best, f"reads like {best} by {self.method} ({confidence:.2f})")


class KnnRouter(FittedRouter):
    method = "knn"


class ClusterRouter(FittedRouter):
    method = "clusters"


class FactorRouter(FittedRouter):
    method = "matrix-factorisation"


class LogisticRouter(FittedRouter):
    """A linear head for a team's own domains."""

    method = "linear"


METHODS: dict[str, type[FittedRouter]] = {
    kind.method: kind for kind in (KnnRouter, ClusterRouter, FactorRouter, LogisticRouter)
}


def open_linear(
    *,
    weights: str | Path | None = None,
    threshold: float | None = None,
    neighbours_below: float | None = None,
    home: Path | None = None,
) -> LinearRouter | LogisticRouter:
    """`router.type: linear`. The head of the package or of a folder that `concertino router train` wrote, or the
    linear head that `concertino router fit --examples` wrote. Raises ConfigurationError as these do."""
    if weights is not None and (Path(weights) / MANIFEST).exists():
        if neighbours_below:
            raise ConfigurationError(
                f"the router in {weights} asks no neighbours; leave router.options.neighbours_below out",
                param="router.options.neighbours_below",
            )
        return LogisticRouter(weights=weights, threshold=threshold)
    return LinearRouter(weights=weights, threshold=threshold, neighbours_below=neighbours_below, home=home)


def class_logits(model: OutcomeModel, vectors: np.ndarray) -> np.ndarray | None:
    """Of a linear head's classes, `[texts, classes]`; None for a method that has none."""
    return model.logits(vectors) if isinstance(model, LogisticOutcomes) else None


def vote_floor(method: str) -> float:
    """What `calibrated` adds to a method's votes."""
    return _LOGISTIC_FLOOR if method == LogisticRouter.method else _FLOOR


def calibrated(quality: np.ndarray, temperature: float, floor: float = _FLOOR) -> np.ndarray:
    """Votes `[texts, domains]` as probabilities: softmax of their logarithms over a temperature."""
    logits = np.log(quality + floor) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
