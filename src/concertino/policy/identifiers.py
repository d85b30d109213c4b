"""The built-in identifier detector: who or what a text is about, by patterns with check digits and by cues."""

import re
from collections.abc import Callable, Iterator, Sequence

from concertino.policy.addresses import ADDRESSES
from concertino.policy.base import Finding, Kind
from concertino.policy.exchange import EXCHANGED, find_columns
from concertino.policy.numbers import NUMBERS, find_ibans, find_numeric
from concertino.policy.patterns import Pattern, Window
from concertino.policy.persons import PERSONS, find_named
from concertino.policy.text import windows

# Searched from the @ outwards, which stays linear where a pattern that starts at the local part would not.
_AT = re.compile(r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,6}[A-Za-z]{2,24}(?![\w])")
_LOCAL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}$")
_SPELT = re.compile(
    r"\b[\w.+-]{1,40}[ ]?[(\[][ ]?at[ ]?[)\]][ ]?[\w-]{1,40}[ ]?(?:[(\[][ ]?dot[ ]?[)\]]|\.)[ ]?[a-z]{2,10}\b",
    re.IGNORECASE,
)
_WINDOW = 8_192
"""Small, so that a window often lacks what a pattern needs and is skipped."""
_ENOUGH = 32
"""Findings of one type after which that type is looked for no more: the request is no more identified by them."""


def find_emails(window: Window) -> Iterator[Finding]:
    for match in _AT.finditer(window.text, window.start, window.end):
        local = _LOCAL.search(window.text[max(0, match.start() - 64) : match.start()])
        if local:
            yield Finding("email", match.start() - len(local.group()), match.end())


_PATTERNS: tuple[Pattern, ...] = (
    Pattern("email", _SPELT, ("(at", "( at", "[at", "[ at")),
    *NUMBERS,
    *ADDRESSES,
    *PERSONS,
    *EXCHANGED,
)
_FINDERS: tuple[Callable[[Window], Iterator[Finding]], ...] = (find_emails, find_numeric, find_ibans, find_columns)


class IdentifierDetector:
    """E-mail, telephone, card, IBAN, national and record numbers, dates of birth, addresses and persons, in text and in
    the forms in which records are exchanged."""

    name = "identifiers"
    kind = Kind.IDENTIFIER

    def detect(self, text: str) -> Sequence[Finding]:
        found: dict[str, set[Finding]] = {}

        def keep(findings: Iterator[Finding]) -> None:
            for finding in findings:
                found.setdefault(finding.type, set()).add(finding)

        def wanted(kind: str) -> bool:
            return len(found.get(kind, ())) < _ENOUGH

        for start, end in windows(text, _WINDOW, overlap=256):
            window = Window(text, start, end)
            for finder in _FINDERS:
                keep(finder(window))
            if wanted("person"):
                keep(find_named(window))
            for pattern in _PATTERNS:
                if wanted(pattern.type):
                    keep(pattern.find(window))
        return sorted((finding for kept in found.values() for finding in kept), key=lambda finding: finding.start)
