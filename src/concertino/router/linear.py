"""The first tier: a linear head on a small tuned encoder, temperature-scaled, that abstains when it is unsure.

Where it is less sure than a setting says, the nearest training texts are asked too (`router/neighbours.py`).
"""

import copy
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concertino.errors import ConfigurationError
from concertino.router.cues import cues
from concertino.router.encoder import tuned_encoder
from concertino.router.manifest import Manifest, load_manifest
from concertino.router.neighbours import Neighbours
from concertino.router.wrapping import lone_question, question_in
from concertino.types import Message, Ranking, Role, Tier

SHIPPED = Path(__file__).with_name("weights")

SHORT_WORDS = 6
"""A last turn of at most so many words is read with the turns before it: "commit it" stays where the code was."""
EARLIER_TURNS = 2

FALLBACK = "general"
END_CONFIDENCE = 0.8
"""A long text that reads like no domain as a whole belongs to the one that an end of it is so sure of."""

CORE_SHARE = 0.7
"""Of a question's own reading, where it is wrapped in a prompt template; the rest is that of the whole."""

_SUBJECT = 0.75
"""The cue `new` of a question with three content words: it says what it is about, whatever its pronouns refer to."""

_WORD = re.compile(r"[^\W_]+")


def conversation_texts(conversation: Sequence[Message]) -> tuple[str, str | None]:
    """The user's last turn, and the same with the user's turns before it (None where there are none).

    Falls back to whatever text there is when no user turn has any. System prompts and answers are left out: they
    come from whoever deployed the team, and from the team itself.
    """
    turns = [message.text for message in conversation if message.role is Role.USER and message.text.strip()]
    if not turns:
        return "\n".join(message.text for message in conversation), None
    if len(turns) == 1:
        return turns[0], None
    return turns[-1], "\n".join(turns[-1 - EARLIER_TURNS :])


class LinearRouter:
    """Ranks the domains `code`, `finance`, `legal`, `medical` and `general`.

    Probabilities are the head's logits divided by a temperature fitted on a calibration part (Guo et al. 2017, "On
    Calibration of Modern Neural Networks"). Below `threshold`, fitted there too, it abstains: `domain` is None.

    `weights` is a folder as `concertino router train` writes it; without it the weights in the package are read.
    Below `neighbours_below` (default: the folder's; 0: never) the nearest training texts have a say, where the model
    store in `home` (default: the usual home folder) has the encoder that they are found with.

    Raises ConfigurationError when a file is missing, damaged, or a setting is no probability.
    """

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        threshold: float | None = None,
        neighbours_below: float | None = None,
        home: Path | None = None,
    ) -> None:
        self.folder = SHIPPED if weights is None else Path(weights)
        self.manifest: Manifest = load_manifest(self.folder)
        self.threshold = self.manifest.threshold if threshold is None else threshold
        settings = self.manifest.neighbours
        if settings is None and neighbours_below:
            raise ConfigurationError(
                f"the router weights in {self.folder} have no neighbours to ask; leave router.options.neighbours_below "
                "out, or add them with `concertino router train-neighbours`",
                param="router.options.neighbours_below",
            )
        below = (settings.below if settings else 0.0) if neighbours_below is None else neighbours_below
        for name, value in (("threshold", self.threshold), ("neighbours_below", below)):
            if not 0.0 <= value <= 1.0:
                raise ConfigurationError(
                    f"router.options.{name} must lie between 0 and 1, not {value!r}", param=f"router.options.{name}"
                )
        self.neighbours = Neighbours(self.folder, self.manifest, settings, below, home) if settings and below else None
        try:
            self.encoder = tuned_encoder(self.folder)
        except Exception as error:  # the three readers share no base class; the hashes were right, so the format is not
            raise ConfigurationError(f"the router weights in {self.folder} cannot be read: {error}") from error

    @property
    def head(self) -> "LinearRouter":
        """The same without the neighbours."""
        alone = copy.copy(self)
        alone.neighbours = None
        return alone

    def reading_like(self, text: str) -> "LinearRouter":
        """The same, but for reading every text as this one is read: with the neighbours, or by the head alone."""
        if self.neighbours is None or not self.read([text])[1]:
            return self.head
        always = copy.copy(self)
        always.neighbours = copy.copy(self.neighbours)
        always.neighbours.below = math.inf
        return always

    @property
    def domains(self) -> tuple[str, ...]:
        """Of the columns of `probabilities`."""
        return self.manifest.classes

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities, `[texts, classes]`, classes in the manifest's order."""
        return self.read(texts)[0]

    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, set[int]]:
        """The probabilities, and the places of the texts whose neighbours were asked."""
        if not texts:
            return np.empty((0, len(self.manifest.classes))), set()
        rows, asked = self._whole(texts)
        wrapped = {place: core for place, text in enumerate(texts) if (core := question_in(text))}
        lone = {
            place: core for place, text in enumerate(texts) if place not in wrapped and (core := lone_question(text))
        }
        cores = wrapped | lone
        if not cores:
            return rows, asked
        own_rows, own_asked = self._whole(list(cores.values()))
        for number, ((place, core), own) in enumerate(zip(cores.items(), own_rows, strict=True)):
            if self._stands_alone(core, own, rows[place], place in wrapped):
                rows[place] = (1 - CORE_SHARE) * rows[place] + CORE_SHARE * own
                if number in own_asked:
                    asked.add(place)
        return rows, asked

    def _stands_alone(self, core: str, own: np.ndarray, whole: np.ndarray, wrapped: bool) -> bool:
        """Whether a question counts by its own reading, without what is around it.

        It does where it is sure of a specialist's domain, unless it refers to what the whole is as sure of ("does it
        renew?"); and where it is nobody's and all that a template wraps.
        """
        said = cues(core, ())
        leans = bool(said["refers"]) and said["new"] < _SUBJECT
        if self._names_a_specialist(own):
            return not leans or not self._names_a_specialist(whole)
        return wrapped and not leans and not said["empty"]

    def _names_a_specialist(self, row: np.ndarray) -> bool:
        return self.manifest.classes[row.argmax()] != FALLBACK and bool(row.max() >= self.threshold)

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        """The same of the texts as they stand, whatever they wrap."""
        return self._whole(texts)[0]

    def _whole(self, texts: Sequence[str]) -> tuple[np.ndarray, set[int]]:
        rows = np.stack([self._combine(views) for views in self.encoder.encode_many(texts)])
        unsure = self.neighbours.unsure(rows) if self.neighbours else []
        if self.neighbours and unsure:
            rows[unsure] = self.neighbours.weighed([texts[place] for place in unsure], rows[unsure])
        return rows, set(unsure)

    def _combine(self, views: np.ndarray) -> np.ndarray:
        """The whole text's probabilities, unless instructions drown a question that stands at one of its ends."""
        logits = views.astype(np.float64) / self.manifest.temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        whole, *ends = powers / powers.sum(axis=1, keepdims=True)
        classes = self.manifest.classes
        if not ends or self._names_a_specialist(whole):
            return np.asarray(whole)
        domains = [place for place, name in enumerate(classes) if name != FALLBACK]
        end = max(ends, key=lambda row: float(row[domains].max()))
        return np.asarray(end if end[domains].max() > END_CONFIDENCE else whole)

    @property
    def reads_conversations(self) -> bool:
        """Whether the encoder was tuned on turns with those before them."""
        return "routing_conversations" in self.manifest.data

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        """One Ranking per conversation, in order."""
        pairs = [conversation_texts(conversation) for conversation in conversations]
        rows, asked = self.read([text for text, _ in pairs])
        rankings = [
            self._ranking(row, text, place in asked)
            for place, (row, (text, _)) in enumerate(zip(rows, pairs, strict=True))
        ]
        again = [
            place
            for place, (text, earlier) in enumerate(pairs)
            if earlier and self._needs_context(rankings[place], text)
        ]
        rows, asked = self.read([pairs[place][1] or "" for place in again])
        for number, (place, row) in enumerate(zip(again, rows, strict=True)):
            rankings[place] = self._ranking(row, pairs[place][1] or "", number in asked, " with the turns before it")
        return rankings

    def _needs_context(self, ranking: Ranking, text: str) -> bool:
        return ranking.domain is None or len(_WORD.findall(text)) <= SHORT_WORDS

    def _ranking(self, row: np.ndarray, text: str, asked: bool, read: str = "") -> Ranking:
        """`asked` says whether its neighbours were, `read` what it was read with."""
        if not _WORD.search(text):
            return Ranking(
                {name: 1.0 / len(row) for name in self.manifest.classes}, 1.0 / len(row), None, "no words to go by"
            )
        order = np.argsort(-row, kind="stable")
        scores = {self.manifest.classes[place]: float(row[place]) for place in order}
        tier, read = (Tier.NEIGHBOURS, f"{read}, by its neighbours too") if asked else (Tier.LINEAR, read)
        best, confidence = next(iter(scores.items()))
        if confidence < self.threshold:
            second = self.manifest.classes[order[1]]
            reason = f"unsure between {best} and {second}{read}: {confidence:.2f} is below {self.threshold:.2f}"
            return Ranking(scores, confidence, None, reason, tier)
        return Ranking(scores, confidence, best, f"reads like {best}{read} ({confidence:.2f})", tier)
