"""Personal data in rows: found by the detector that guards requests, counted by kind, replaced by the kind's name.

The detector costs far more for each call than for each character, so texts are put to it many at a time, with
something between them that no pattern reaches across; only texts in which it then finds something are read alone.
"""

from bisect import bisect_right
from collections.abc import Sequence

from concertino.policy import Finding
from concertino.policy.identifiers import IdentifierDetector

_BETWEEN = " \x1e\n\n\n"
_TOGETHER = 7_500
"""Characters: with the detector's window of 8,192 it looks at most texts once."""
LOOKED = 2_500
"""Characters of a text that `head` wants."""
_REACH = 500
"""Of them the last, in which what is found may not be found whole."""
_MANY = 32
"""Findings of a kind after which the detector stops looking for that kind."""


class PersonalDataFinder:
    """Finds personal data in texts, as non-overlapping spans."""

    def __init__(self) -> None:
        self._detector = IdentifierDetector()

    def find_all(self, texts: Sequence[str]) -> dict[int, list[Finding]]:
        """Place in `texts` -> what was found there; texts without findings are left out."""
        suspects: list[int] = []
        at = 0
        while at < len(texts):
            starts, size, end = list[int](), 0, at
            while end < len(texts) and (size < _TOGETHER or end == at):
                starts.append(size)
                size += len(texts[end]) + len(_BETWEEN)
                end += 1
            found = self._detector.detect(_BETWEEN.join(texts[at:end]))
            if len(found) >= _MANY:
                suspects += range(at, end)
            else:
                suspects += sorted({at + bisect_right(starts, finding.start) - 1 for finding in found})
            at = end
        return {place: spans for place in suspects if (spans := self.find(texts[place]))}

    def find(self, text: str) -> list[Finding]:
        """What one text holds; findings that overlap become one, of the longest one's kind."""
        merged: list[tuple[Finding, int]] = []
        for finding in sorted(self._spans(text), key=lambda finding: (finding.start, finding.end, finding.type)):
            length = finding.end - finding.start
            if merged and finding.start < merged[-1][0].end:
                last, longest = merged.pop()
                kind = finding.type if length > longest else last.type
                merged.append((Finding(kind, last.start, max(last.end, finding.end)), max(length, longest)))
            else:
                merged.append((finding, length))
        return [finding for finding, _ in merged]

    def head(self, text: str, longest: int) -> str:
        """The first characters of a text, cut after what was found is replaced: a cut finding is none any more."""
        end = LOOKED - _REACH
        found = [finding for finding in self.find(text[:LOOKED]) if finding.start < end]
        return scrub(text[:end], found)[:longest]

    def _spans(self, text: str) -> set[Finding]:
        """All findings, however many of a kind: since the detector stops after some, what it found is blotted out."""
        spans: set[Finding] = set()
        while True:
            found = self._detector.detect(text)
            spans.update(found)
            if len(found) < _MANY:
                return spans
            for each in found:
                text = text[: each.start] + "\x1e" * (each.end - each.start) + text[each.end :]


def scrub(text: str, findings: Sequence[Finding]) -> str:
    """The text with each finding replaced by its kind, such as `[EMAIL]`."""
    pieces: list[str] = []
    at = 0
    for finding in findings:
        pieces += (text[at : finding.start], f"[{finding.type.upper()}]")
        at = finding.end
    return "".join((*pieces, text[at:]))
