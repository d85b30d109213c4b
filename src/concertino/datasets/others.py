"""Texts from beside the recipe's rows: evaluation sets to keep clear of, and texts that the skill is not for."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.datasets import normalise
from concertino.datasets.contamination import LONG, EvaluationSet
from concertino.datasets.folder import Row
from concertino.datasets.personal import PersonalDataFinder, scrub
from concertino.datasets.tally import Tally
from concertino.documents import Documents, Problem, Record, find_files
from concertino.errors import DataRefused
from concertino.recipe import PersonalData
from concertino.template import TEXT, FieldsProblem, clean, fill

BACKGROUND = 3_000
"""Background texts that are kept, over all paths."""
_BATCH = 500
_SHARES = (("train", 0.6), ("calibration", 0.8), ("test", 1.0))


class OtherFile(Struct, frozen=True):
    """A file named by `path` or `path#field`."""

    path: str
    file: Path
    entry: str
    field: str


def named_files(data_dir: Path, entries: Sequence[str], note: Callable[[str], None]) -> list[OtherFile]:
    """The files of `path` and `path#field` entries; `note` is told of those that are not read."""
    found: list[OtherFile] = []
    for entry in entries:
        path, _, field = entry.partition("#")
        found += [
            OtherFile(file.relative_to(data_dir).as_posix(), file, entry, field)
            for file in find_files(data_dir, path, note)
        ]
    return found


class Guard(Struct, frozen=True):
    """What a recipe says of personal data, for texts that are no rows."""

    policy: PersonalData
    finder: PersonalDataFinder

    def look(self, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
        """(place, text, text without personal data) of (place, text); without looking where it is kept anyway."""
        rest = iter(texts)
        while batch := list(islice(rest, _BATCH)):
            keep = self.policy is PersonalData.KEEP
            found = {} if keep else self.finder.find_all([text for _, text in batch])
            for number, (place, text) in enumerate(batch):
                yield place, text, scrub(text, found[number]) if number in found else text


class _Reading:
    """Counts what is read of a file."""

    def __init__(self, each: OtherFile, longest: int) -> None:
        self._each = each
        self._longest = longest
        self._unread = 0
        self._lacking = 0
        self._because = ""
        self.records = 0
        self.texts = 0

    def placed(self) -> Iterator[tuple[str, str]]:
        """(place, clean text) of each record that has the field."""
        with Documents(self._longest) as documents:
            for event in documents.read(self._each.file):
                if isinstance(event, Problem):
                    self._unread += 1
                    self._because = self._because or event.because
                elif isinstance(event, Record):
                    self.records += 1
                    try:
                        text = clean(fill(event.fields, self._named))
                    except FieldsProblem as problem:
                        self._lacking += 1
                        self._because = self._because or problem.because
                        continue
                    if text:
                        self.texts += 1
                        yield event.place, text

    @property
    def _named(self) -> str:
        return self._each.field or TEXT

    def check(self, tally: Tally, not_done: str) -> None:
        """Raises DataRefused where no text was read; warns of what could not be."""
        path = self._each.path
        if not self.records:
            raise DataRefused(f"{path} has no row that can be read: {self._because or 'it is empty'}.")
        if not self.texts:
            because = f" ({self._because})" if self._because else ", only empty ones"
            raise DataRefused(f"{path} has no field {self._named!r} with text{because}; name it as in {path}#question.")
        if self._unread or self._lacking:
            tally.warn(
                f"`{path}`: {self._unread} lines or files could not be read and {self._lacking} rows have no text in "
                f"{self._named!r} (for one: {self._because}). They were not {not_done}."
            )


def evaluation_sets(
    files: Sequence[OtherFile], longest: int, guard: Guard, tally: Tally
) -> tuple[list[EvaluationSet], dict[str, int]]:
    """(a set a file, rows read by entry). Their texts are cleaned and scrubbed as rows are, or copies would differ.

    Raises DataRefused where a file has no texts, since nothing would be kept clear of.
    """
    sets: list[EvaluationSet] = []
    records: dict[str, int] = {}
    for each in files:
        reading = _Reading(each, longest)
        also: list[str] = []
        passages = () if each.field else _passages(each, longest, guard)
        sets.append(EvaluationSet(each.path, _texts(reading, guard, also), chain(passages, also)))
        reading.check(tally, "compared")
        records[each.entry] = reading.records
    return sets, records


def _texts(reading: _Reading, guard: Guard, also: list[str]) -> Iterator[str]:
    """The texts without personal data; those that had some go into `also`."""
    for _, text, safe in guard.look(reading.placed()):
        if safe != text:
            also.append(text)
        yield safe


def _passages(each: OtherFile, longest: int, guard: Guard) -> Iterator[str]:
    """Long strings of the other fields: contexts and answers, which must not be learnt either."""
    for _, text, safe in guard.look(("", clean(text)) for text in _long_strings(each, longest)):
        yield text
        if safe != text:
            yield safe


def _long_strings(each: OtherFile, longest: int) -> Iterator[str]:
    with Documents(longest) as documents:
        for event in documents.read(each.file):
            if isinstance(event, Record):
                for name, value in event.fields.items():
                    for string in value if isinstance(value, list) else [value]:
                        if name != TEXT and isinstance(string, str) and string.count(" ") >= LONG - 1:
                            yield string


class Background(Struct):
    """Texts that the skill is not for."""

    rows: list[Row]
    drawn: dict[str, int]
    """Path -> rows from it."""
    records: dict[str, int]
    """Entry -> rows read."""
    personal: int
    """Texts that held personal data, where the recipe does not keep it."""


def background(
    files: Sequence[OtherFile], own: np.ndarray, longest: int, seed: str, guard: Guard, tally: Tally
) -> Background:
    """Texts whose key is among `own` are left out, and each text is taken once.

    Which texts are drawn depends on a hash of each text alone, so a text added to a file displaces at most one other.
    Every entry gives alike; what one lacks the others make up for. Raises DataRefused for a file without texts.
    """
    taken = set[int]()
    drawn: dict[str, list[tuple[int, Row]]] = {}
    records: dict[str, int] = {}
    personal = 0
    for each in files:
        heap = drawn.setdefault(each.entry, [])
        reading = _Reading(each, longest)
        for place, raw, text in guard.look(reading.placed()):
            personal += raw != text
            if raw != text and guard.policy is PersonalData.DROP:
                continue
            key = normalise.key(normalise.comparable(text))
            at = np.searchsorted(own, np.uint64(key))
            if len(text) > longest or key in taken or (at < len(own) and int(own[at]) == key):
                continue
            rank = -int.from_bytes(sha256(f"{seed}{key:016x}".encode()).digest()[:8], "big")
            if len(heap) < BACKGROUND or rank > heap[0][0]:
                row = Row(id=f"{key:016x}", text=text, group=_part(key, seed), source=f"{each.path}:{place}")
                taken.add(key)
                if len(heap) < BACKGROUND:
                    heapq.heappush(heap, (rank, row))
                else:
                    heapq.heapreplace(heap, (rank, row))
        reading.check(tally, "drawn")
        records[each.entry] = reading.records
    rows: list[Row] = []
    left = BACKGROUND
    ordered = sorted(drawn.values(), key=len)
    for number, heap in enumerate(ordered):
        quota = min(len(heap), left // (len(ordered) - number))
        rows += [row for _, row in sorted(heap, reverse=True, key=lambda ranked: ranked[0])[:quota]]
        left -= quota
    rows.sort(key=lambda row: row.id)
    counts = {each.path: 0 for each in files}
    for row in rows:
        counts[row.source.rpartition(":")[0]] += 1
    return Background(rows, counts, records, personal)


def _part(key: int, seed: str) -> str:
    share = int.from_bytes(sha256(f"{seed}background{key:016x}".encode()).digest()[:8], "big") / 2.0**64
    return next(name for name, bound in _SHARES if share < bound)
