"""Routers beside the linear head, behind the same protocol: neighbours, clusters, matrix factorisation.

Fitted on labels they are domain routers: their votes are made probabilities by a temperature, and they abstain below a
threshold as the head does. Fitted on an outcome table they rank candidates, by predicted quality less the weight of
cost, and never abstain; a candidate's name is then the domain that a specialist serves. Matrix factorisation over
labels would be the linear head by another name, so it is fitted on outcome tables only.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concertino.errors import ConfigurationError
from concertino.router.fitted import OUTCOMES, load_fitted
from concertino.router.linear import SHORT_WORDS, conversation_texts
from concertino.router.outcomes import utility
from concertino.types import Message, Ranking

_WORD = re.compile(r"[^\W_]+")
_FLOOR = 1e-3
"""Added to votes before their logarithm is taken: no vote is not impossible."""


class FittedRouter:
    """What the three have in common. `weights` is the folder; `cost_weight` (0 to 1) counts for outcome tables only.

    Raises ConfigurationError for a folder that is missing, damaged or of another method, and for bad options.
    """

    method = ""

    def __init__(
        self, *, weights: str | Path | None = None, threshold: float | None = None, cost_weight: float = 0.0
    ) -> None:
        fitted = load_fitted(weights, self.method)
        self.manifest, self.encoder, self.model = fitted.manifest, fitted.encoder, fitted.model
        self.threshold = self.manifest.threshold if threshold is None else threshold
        for name, value in (("threshold", self.threshold), ("cost_weight", cost_weight)):
            if not 0.0 <= value <= 1.0:
                raise ConfigurationError(
                    f"router.options.{name} must lie between 0 and 1, not {value!r}", param=f"router.options.{name}"
                )
        self._cost_weight = cost_weight
        self._costs = np.array(self.manifest.costs or (0.0,) * len(self.manifest.candidates))

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """`[texts, candidates]`: probabilities for domains, predicted quality for outcomes."""
        if not texts:
            return np.empty((0, len(self.manifest.candidates)))
        quality = self.model.predict(self.encoder.whole(texts))
        return quality if self.manifest.kind == OUTCOMES else calibrated(quality, self.manifest.temperature)

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
        if confidence < self.threshold:
            reason = f"unsure between {best} and {names[order[1]]}: {confidence:.2f} is below {self.threshold:.2f}"
            return Ranking(scores, confidence, None, reason)
        return Ranking(scores, confidence, best, f"reads like {best} by {self.method} ({confidence:.2f})")


class KnnRouter(FittedRouter):
    method = "knn"


class ClusterRouter(FittedRouter):
    method = "clusters"


class FactorRouter(FittedRouter):
    method = "matrix-factorisation"


def calibrated(quality: np.ndarray, temperature: float) -> np.ndarray:
    """Votes `[texts, domains]` as probabilities: softmax of their logarithms over a temperature."""
    logits = np.log(quality + _FLOOR) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
