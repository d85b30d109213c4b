"""The one protocol of a detector, and what it finds."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Kind(StrEnum):
    """What a detector's findings mean. Health data is an identifier and a health context in one request."""

    IDENTIFIER = "identifier"
    HEALTH = "health"


class Finding(Struct, frozen=True, order=True):
    """Where something was found: character offsets into the text given. Never the value, which is what we protect."""

    type: str
    start: int
    end: int


class Detector(Protocol):
    """Looks for one kind of thing in a text.

    Built without arguments from a `concertino.detectors` entry point; called from worker threads, several at once.
    """

    name: str
    kind: Kind

    def detect(self, text: str) -> Sequence[Finding]:
        """Findings in any order. `text` is the whole request, normalised (see `policy.text`); it may be megabytes.

        Raising, or taking longer than `policy.detector_timeout_s`, counts as having found something.
        """
        ...
