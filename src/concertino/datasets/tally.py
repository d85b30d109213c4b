"""What happened to the rows: counts before and after each step, removals by reason, and examples of them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from concertino.datasets.personal import PersonalDataFinder, scrub

EXAMPLES = 50
"""Removed rows that are kept for each reason."""
_LONGEST = 300
_NOT_SHOWN = "(not shown, since personal data in it could not be found)"
_COUNTS = "curation.json"


class Removed(Struct, frozen=True):
    """A row that was removed, as `removed.jsonl` has it."""

    reason: str
    text: str
    source: str
    because: str


class Step(Struct, frozen=True):
    """A step of curation. `before - after` is what it removed."""

    name: str
    before: int
    after: int


class Curation(Struct, frozen=True):
    """`curation.json`: the counts of the data sheet, for programs."""

    steps: tuple[Step, ...]
    reasons: dict[str, int]
    warnings: tuple[str, ...]


class Tally:
    """Counts and examples, gathered while rows go by."""

    def __init__(self, finder: PersonalDataFinder | None = None) -> None:
        """`finder` where no personal data may be told."""
        self._finder = finder
        self.steps: list[Step] = []
        self.reasons: Counter[str] = Counter()
        self.warnings: list[str] = []
        self._examples: dict[str, list[Removed]] = {}

    def remove(self, reason: str, text: str, source: str, because: str) -> None:
        """Count a removal, and keep it as an example while there are few."""
        self.reasons[reason] += 1
        if self.wants(reason):
            removed = Removed(reason, self._shown(text), source, self._shown(because))
            self._examples.setdefault(reason, []).append(removed)

    def unread(self, reason: str, sample: str, source: str, because: str) -> None:
        """Count what could not be read. No personal data can be found in it, cut and escaped as it may be."""
        self.remove(reason, sample if self._finder is None or not sample else _NOT_SHOWN, source, because)

    def wants(self, reason: str) -> bool:
        """Is another example of this reason wanted?"""
        return len(self._examples.get(reason, ())) < EXAMPLES

    def count(self, reason: str, rows: int) -> None:
        """Count removals without examples."""
        self.reasons[reason] += rows

    def warn(self, sentence: str) -> None:
        """Something that a person should look at first."""
        self.warnings.append(sentence if self._finder is None else scrub(sentence, self._finder.find(sentence)))

    def _shown(self, text: str) -> str:
        return text[:_LONGEST] if self._finder is None else self._finder.head(text, _LONGEST)

    def step(self, name: str, before: int, after: int) -> None:
        self.steps.append(Step(name, before, after))

    def examples(self) -> Iterator[Removed]:
        """All examples, by reason."""
        for reason in sorted(self._examples):
            yield from self._examples[reason]

    def example(self, reason: str) -> Removed | None:
        """The first example of a reason."""
        return next(iter(self._examples.get(reason, ())), None)

    def write(self, folder: Path) -> None:
        """Write `removed.jsonl` and `curation.json`."""
        encoder = msgspec.json.Encoder()
        with (folder / "removed.jsonl").open("wb") as file:
            file.writelines(encoder.encode(each) + b"\n" for each in self.examples())
        counts = Curation(tuple(self.steps), dict(self.reasons.most_common()), tuple(self.warnings))
        (folder / _COUNTS).write_bytes(msgspec.json.format(encoder.encode(counts), indent=1) + b"\n")


def read_counts(folder: Path) -> Curation:
    """The counts of a dataset that `curate` wrote."""
    return msgspec.json.decode((folder / _COUNTS).read_bytes(), type=Curation)
