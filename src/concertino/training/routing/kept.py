"""Which texts of the examples lie beside a router: its folder goes to other machines, and texts may tell of persons."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from concertino.datasets.personal import PersonalDataFinder
from concertino.policy.text import normalise
from concertino.router.fitted import MOST_EXAMPLES


class Keep(StrEnum):
    """What is kept of the texts that a router is fitted on, for `concertino router explain`."""

    NONE = "none"
    IMPERSONAL = "impersonal"
    """Those in which no identifier of a person is found. Health data is one beside a health context."""
    ALL = "all"


Rows = Sequence[tuple[str, str]]


def kept_texts(rows: Rows, keep: Keep, note: Callable[[str], None]) -> Rows:
    """The texts with their labels, less those that are not to be kept; `note` is told how many those are."""
    # What is too long altogether is not written, so there is no need to look at it.
    if keep is not Keep.IMPERSONAL or sum(len(text) for text, _ in rows) > MOST_EXAMPLES:
        return () if keep is Keep.NONE else rows
    found = PersonalDataFinder().find_all([normalise(text) for text, _ in rows])
    if found:
        note(
            f"{len(found)} of {len(rows)} texts identify somebody and are not laid beside the router (--personal does)"
        )
    return [row for place, row in enumerate(rows) if place not in found]
