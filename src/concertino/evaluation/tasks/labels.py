"""A skill that answers with one label of a closed set."""

import re

from concertino.datasets.folder import Row
from concertino.evaluation.metrics import is_right
from concertino.recipe import Metric

_WRAPPING = re.compile(r"^[\s\"'`*_.:\-]+|[\s\"'`*_.:\-]+$")


class LabelTask:
    """Right is any of the row's labels."""

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.labels = labels

    def choices(self, row: Row) -> tuple[str, ...]:
        return self.labels

    def read(self, row: Row, text: str) -> str | None:
        return read_label(self.labels, text)

    def right(self, row: Row, answer: str | None) -> bool:
        return is_right(row, answer, Metric.ACCURACY)


def read_label(labels: tuple[str, ...], text: str) -> str | None:
    """The one label that free text names, read generously: case, quotes and a sentence around it do not matter.

    None where it names none, or several that are not parts of one another.
    """
    plain = {_plain(label): label for label in labels}
    for line in (text, text.strip().partition("\n")[0], text.rpartition(":")[2]):
        if (found := plain.get(_plain(line))) is not None:
            return found
    words = f" {_plain(text)} "
    named = [label for label in plain if f" {label} " in words]
    longest = [label for label in named if not any(label != other and label in other for other in named)]
    return plain[longest[0]] if len(longest) == 1 else None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", _WRAPPING.sub("", text).casefold().replace("_", " ")).split())
