"""A described specialist in vectors, and what its likeness to a text says: the features of a logistic function.

A text belongs to a described specialist if it is more like a phrase of its description than texts usually are (a
z-score against a bank of texts, so that a phrase which is near to everything counts for little), and less like what
others do: the texts of the bank that do not match the description, and the examples on other cards. No source has this
exact recipe; the parts are from zero-shot text classification by label descriptions (Yin et al. 2019) and from novelty
detection by neighbours.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from concertino.router.linear import SHORT_WORDS

MOST_PHRASES = 64
TITLE, LIST_MARKS = 6, 3
"""A description of more phrases, or with so many commas and the like, is a list of topics; any other is a title."""
MATCHES = 2.0
"""A text of the bank with this z-score on a description may be the specialist's own, so it is not held against it."""
NEIGHBOURS = 3
SAME = 0.9999
"""Vectors with this cosine are of one text."""

WORD = re.compile(r"[^\W_]+")
_LIST_MARK = re.compile(r"[,;\n]")
_BREAK = re.compile(r"[,;:.()!?\n]|\s(?:and|or|und|et|y)\s")
_OPENING = re.compile(
    r"^(?:(?:all|any|the|other|questions?|requests?|everything|anything|help|tasks?|topics?|answers?|handles?|covers?"
    r"|specialist|expert|assistant)\s+)*(?:(?:about|on|for|with|around|regarding|concerning|in|of|to|such as|like"
    r"|including)\s+)+",
    re.I,
)


PART_FORMS = (
    "{}", "can you help me with {}", "i want to know about {}", "i have a question about {}", "my {}",
)  # fmt: skip
WHOLE_FORMS = ("{}", "i have a question about {}")
"""A phrase names a topic, and people ask about it: the mean vector of all these is nearer to what they ask."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors of unit length, `[texts, width]`; also of no texts."""


def phrases(description: str) -> list[str]:
    """The parts of a description that say something each, in order, without duplicates or openings such as
    "Questions about"; at most `MOST_PHRASES`."""
    parts = (_OPENING.sub("", part.strip()).strip() for part in _BREAK.split(description))
    return list(dict.fromkeys(part for part in parts if WORD.search(part)))[:MOST_PHRASES]


def is_title(description: str) -> bool:
    """Whether a description is a title rather than a list of topics."""
    return len(phrases(description)) <= TITLE and len(_LIST_MARK.findall(description.strip())) < LIST_MARKS


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
        near = _nearest_others(self.rivals[:: max(1, len(self.rivals) // 200)], self.rivals)
        self.usual = float(near.mean()) if near.size else 0.0

    @classmethod
    def of(
        cls, description: str, own: Sequence[str], rivals: Sequence[str], bank: np.ndarray, embed: Embed
    ) -> "Profile":
        """The profile of a card: its description, the examples on it, and those on the others'."""
        parts = phrases(description)
        wholes = in_context(description) if parts else []
        return cls(
            _as_asked(parts, PART_FORMS, embed), _as_asked(wholes, WHOLE_FORMS, embed), embed(own), embed(rivals), bank
        )

    def z_scores(self, vectors: np.ndarray) -> np.ndarray:
        """`[texts, phrases]`: likeness to each phrase, in standard deviations above the bank's mean."""
        return _standardised(vectors @ self.parts.T, self._scale_parts)

    def features(self, vectors: np.ndarray) -> np.ndarray:
        """What the logistic function reads, float `[texts, len(FEATURES)]`, for `[texts, width]` vectors."""
        rival = self.rivalry(vectors)
        if len(self.parts):
            z = np.sort(self.z_scores(vectors), axis=1)[:, ::-1]
            best, few = z[:, 0], z[:, :3].mean(axis=1)
            whole = _standardised(vectors @ self.wholes.T, self._scale_wholes).max(axis=1)
        else:
            best = few = whole = np.zeros(len(vectors))
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


def _as_asked(texts: Sequence[str], forms: Sequence[str], embed: Embed) -> np.ndarray:
    """`[texts, width]`: the mean over the forms of each text, of unit length."""
    if not texts:
        return embed([])
    total = np.sum([embed([form.format(text) for text in texts]) for form in forms], axis=0)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True))


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


def _nearest_others(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`[texts]`: mean cosine of the nearest rows that are not the text itself."""
    if not len(rows):
        return np.zeros(len(vectors))
    count = min(NEIGHBOURS + 1, len(rows))
    likeness = np.sort(np.partition(vectors @ rows.T, -count, axis=1)[:, -count:], axis=1)
    itself = likeness[:, -1] > SAME
    without = likeness[:, :-1][:, -NEIGHBOURS:] if count > 1 else likeness * 0.0
    return np.asarray(np.where(itself, without.mean(axis=1), likeness[:, -NEIGHBOURS:].mean(axis=1)))
