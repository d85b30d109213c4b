# ruff: noqa: E501 - a pattern reads better unbroken
"""The built-in health detector: does a text speak of somebody's health, as a lexicon and its endings can tell."""

import re
from collections.abc import Iterator, Sequence

from concertino.policy.base import Finding, Kind
from concertino.policy.lexicon import ENDINGS, NOT_MEDICAL, STRONG, WEAK
from concertino.policy.lexicon_european import EUROPEAN, EUROPEAN_ENDINGS
from concertino.policy.text import windows

_WORD = re.compile(r"[a-z0-9ß-ÿœ][a-z0-9ß-ÿœ'/-]*")
_INSURED = re.compile(r"\b(?:assurance|cotisations?|caisses?|branche|régime)[ -]maladie\b")
"""What stands on every French payslip."""
_JOINED = re.compile(r"[-/]")
_BREAKS = str.maketrans("\n\r\t", "   ")
"""A phrase may stand on two lines."""
_TERMS = {**STRONG, "european": EUROPEAN}
_ALL_ENDINGS = (*ENDINGS, *EUROPEAN_ENDINGS)
_LONGEST = 40
"""No medical word is longer; a run of letters that is, is not one."""

_MEASURE = re.compile(
    r"\b\d{2,3}[ ]?/[ ]?\d{2,3}[ ]?mm[ ]?hg|\bbp:?[ ](?:is |of |was )?\d{2,3}/\d{2,3}|\b\d+(?:\.\d+)?[ ]?(?:mg/dl|mmol/l|mmhg|mcg|µg|ng/ml|iu/l|u/l|bpm|mg)\b"
    r"|\b(?:10[0-6]|9[5-9])(?:\.\d)?[ ]?(?:°[ ]?f\b|degrees f)|\b(?:3[5-9]|4[0-2])\.\d[ ]?°[ ]?c\b|\bspo2\b|\bbmi\b"
)
_CODE = re.compile(
    r"\bicd-?(?:9|10|11)?\b|\bsnomed\b|\bcpt code\b|\b[a-tv-z]\d[0-9ab]\.\d{1,4}[a-z]?\b"
    # Diabetes, not the square decimetre, which reads so too.
    r"|\b(?:has|have|had|with|known|hx|hx of|history of|and|type) dm ?2\b"
)


class HealthContextDetector:
    """Conditions, symptoms, drugs, care, laboratory values, anatomy. Findings carry the group, never the word."""

    name = "health"
    kind = Kind.HEALTH

    def __init__(self) -> None:
        self._group: dict[str, str] = {}
        # Phrases by their first word, so that only those are looked for whose first word is there.
        self._phrases: dict[str, list[tuple[str, str]]] = {}
        for group, terms in _TERMS.items():
            for term in terms:
                if " " in term:
                    self._phrases.setdefault(term.split(" ", 1)[0], []).append((term, group))
                else:
                    self._group[term] = group

    def detect(self, text: str) -> Sequence[Finding]:
        findings: set[Finding] = set()
        weak: dict[str, Finding] = {}
        seen: set[str] = set()
        for start, end in windows(text):
            piece = text[start:end].lower().translate(_BREAKS)
            if len(piece) != end - start:  # a few letters change length in lower case; offsets then mean little
                end = start + len(piece)
            if "maladie" in piece:
                piece = _INSURED.sub(lambda match: " " * len(match.group()), piece)
            words = set(_WORD.findall(piece)) - seen
            seen |= words
            findings.update(self._strong(piece, words, start))
            findings.update(_codes(piece, start))
            for word in words:
                root = _root(word, WEAK)
                if root and root not in weak:
                    weak[root] = _at("weak_pair", piece, word, start)
            if len(seen) > 200_000:
                seen.clear()
        if len(weak) >= 2:
            findings.update(list(weak.values())[:8])
        return sorted(findings, key=lambda finding: finding.start)

    def _strong(self, piece: str, words: set[str], offset: int) -> Iterator[Finding]:
        for word in words:
            if len(word) > _LONGEST:
                continue
            root = _root(word, self._group)
            if root:
                yield _at(self._group[root], piece, word, offset)
            else:
                for part in _JOINED.split(word):
                    known = _root(part, self._group)
                    if known:
                        yield _at(self._group[known], piece, word, offset)
                    elif _medical_ending(part):
                        yield _at("term", piece, word, offset)
            for phrase, group in self._phrases.get(word, ()):
                at = _phrase_at(piece, phrase)
                if at >= 0:
                    yield Finding(group, offset + at, offset + at + len(phrase))


def _medical_ending(word: str) -> bool:
    forms = {word, word.removesuffix("s")}
    return len(word) >= 7 and any(form.endswith(_ALL_ENDINGS) for form in forms) and not forms & NOT_MEDICAL


def _root(word: str, known: dict[str, str] | frozenset[str]) -> str | None:
    """The word itself or without its plural or possessive ending, whichever is known."""
    for candidate in (
        word,
        word.removesuffix("'s"),
        word.removesuffix("s"),
        word.removesuffix("es"),
        word.rstrip("'/-"),
    ):
        if candidate in known:
            return candidate
    return None


def _at(kind: str, piece: str, word: str, offset: int) -> Finding:
    at = max(piece.find(word), 0)
    return Finding(kind, offset + at, offset + at + len(word))


def _phrase_at(piece: str, phrase: str) -> int:
    """Where a phrase stands as whole words, a plural allowed; -1 if nowhere."""
    at = piece.find(phrase)
    while at >= 0:
        after = at + len(phrase)
        if piece.startswith("s", after):
            after += 1
        if (at == 0 or not piece[at - 1].isalnum()) and not piece[after : after + 1].isalnum():
            return at
        at = piece.find(phrase, at + len(phrase))
    return -1


def _codes(piece: str, offset: int) -> Iterator[Finding]:
    for kind, pattern in (("measurement", _MEASURE), ("code", _CODE)):
        match = pattern.search(piece)
        if match:
            yield Finding(kind, offset + match.start(), offset + match.end())
