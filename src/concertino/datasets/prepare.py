"""Records -> rows that may be kept, and reasons why others may not: everything that looks at one row at a time.

A batch in, a batch out, with no state between, so that it can be done by several processes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from concertino.datasets import normalise, quality
from concertino.datasets.fields import Taken, take
from concertino.datasets.folder import Row
from concertino.datasets.language import LanguageCheck
from concertino.datasets.personal import LOOKED, PersonalDataFinder, scrub
from concertino.policy import Finding
from concertino.recipe import PersonalData, Recipe
from concertino.template import FieldsProblem, clean

STEPS = ("read", "fields", "length", "labels", "quality", "language", "personal data")
"""What `Refused.step` may be, in order."""
_GROUPS = 50_000
"""Groups of which it is remembered what personal data their names hold."""
_ESCAPED = re.compile(r"\\[nrtbf]")
"""A blank in JSON, which would hide the beginning of a word."""


class RawRow(Struct, frozen=True):
    """A record with where it is from. `source` is its number in the recipe, `document` its document's path, if any."""

    fields: dict[str, Any]
    source: int
    place: str
    document: str = ""


class Refused(Struct, frozen=True):
    """A record that is no row."""

    step: str
    reason: str
    because: str
    text: str
    source: str


class Prepared(Struct, frozen=True):
    """A row as it will be written, and what it is compared by."""

    line: bytes
    """JSON, with the newline."""
    source: int
    key: int
    """Of the comparable text."""
    labels: int
    """Of the labels, or of the answer."""
    group: int
    """Divided by 2 ** 64 it says where in the split the row is."""
    id: int
    """Of the id, where the record has one; else 0."""
    characters: int


class _Findings(Struct, frozen=True):
    """Personal data in a row, by where it stands."""

    text: Sequence[Finding]
    answer: Sequence[Finding]
    id: Sequence[Finding]
    group: Sequence[Finding]


class Batch(Struct, frozen=True):
    """What became of a batch of records."""

    rows: list[Prepared]
    refused: list[Refused]
    personal: dict[str, int]
    """Kind of personal data -> findings, in rows that were looked at."""
    with_personal: int
    """Rows with at least one finding."""


class Preparer:
    """Looks at rows as a recipe says."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._data = recipe.data
        self._spelt = {clean(label): label for label in recipe.labels}
        self._finder = PersonalDataFinder()
        self._language = LanguageCheck(recipe.data.language) if recipe.data.language else None
        self._encoder = msgspec.json.Encoder()
        self._in_group = lru_cache(_GROUPS)(self._finder.find)

    def prepare(self, raws: Sequence[RawRow]) -> Batch:
        """Rows in their order, and those refused."""
        refused: list[Refused] = []
        taken: list[tuple[RawRow, Taken]] = []
        for raw in raws:
            looked = self._look(raw)
            if isinstance(looked, Refused):
                refused.append(looked)
            else:
                taken.append((raw, looked))
        rows: list[Prepared] = []
        kinds: Counter[str] = Counter()
        personal = self._finder.find_all([each.text for _, each in taken])
        answers = self._finder.find_all([each.answer for _, each in taken]) if self._recipe.free_text else {}
        ids = self._finder.find_all([each.id for _, each in taken])
        with_personal = 0
        for place, (raw, each) in enumerate(taken):
            found = _Findings(
                personal.get(place, []),
                answers.get(place, []),
                ids.get(place, []),
                self._in_group(each.group) if self._data.sources[raw.source].group else [],
            )
            kinds.update(finding.type for finding in (*found.text, *found.answer, *found.id, *found.group))
            with_personal += any((found.text, found.answer, found.id, found.group))
            outcome = self._protect(raw, each, found)
            if isinstance(outcome, Refused):
                refused.append(outcome)
            else:
                rows.append(self._prepared(raw, outcome))
        return Batch(rows, refused, dict(kinds), with_personal)

    def _look(self, raw: RawRow) -> Taken | Refused:
        source, data = self._data.sources[raw.source], self._data
        try:
            taken = take(raw.fields, source, self._recipe.free_text, raw.document)
        except FieldsProblem as problem:
            sample = _ESCAPED.sub(" ", msgspec.json.encode(raw.fields).decode())
            return self._refused(raw, "fields", problem.reason, problem.because, sample)
        text = clean(taken.text)
        if not text:
            return self._refused(raw, "length", "empty text", "nothing is left of the text", taken.text)
        if len(text) < data.min_characters:
            because = f"{len(text)} characters, fewer than {data.min_characters}"
            return self._refused(raw, "length", "too short", because, text)
        if len(text) > data.max_characters:
            because = f"{len(text)} characters, more than {data.max_characters}"
            return self._refused(raw, "length", "too long", because, text)
        unknown = sorted(set(taken.labels) - self._spelt.keys()) if self._spelt else []
        if unknown:
            return self._refused(raw, "labels", "label not in the recipe", f"label {unknown[0]!r}", text)
        junk = quality.poor(text)
        if junk:
            return self._refused(raw, "quality", *junk, text)
        foreign = self._language.foreign(text) if self._language else ""
        if foreign:
            because = f"it is in {foreign!r}, not in {data.language!r}"
            return self._refused(raw, "language", "another language", because, text)
        labels = tuple(sorted(self._spelt[label] for label in taken.labels)) if self._spelt else taken.labels
        return msgspec.structs.replace(taken, text=text, labels=labels, answer=clean(taken.answer))

    def _protect(self, raw: RawRow, taken: Taken, found: "_Findings") -> Taken | Refused:
        policy = self._data.personal_data
        if policy is PersonalData.KEEP:
            return taken
        if taken.tests and (in_tests := self._finder.find(taken.tests)):
            because = f"its tests hold {', '.join(sorted({each.type for each in in_tests}))}, and must not be changed"
            return self._refused(raw, "personal data", "personal data in tests", because, taken.text)
        if policy is PersonalData.DROP and (found.text or found.answer):
            because = f"it holds {', '.join(sorted({each.type for each in (*found.text, *found.answer)}))}"
            return self._refused(raw, "personal data", "personal data", because, taken.text)
        return msgspec.structs.replace(
            taken,
            text=scrub(taken.text, found.text),
            answer=scrub(taken.answer, found.answer),
            id=self._pseudonym(taken.id) if found.id else taken.id,
            group=self._pseudonym(taken.group) if found.group else taken.group,
        )

    def _pseudonym(self, name: str) -> str:
        return sha256(f"{self._data.split.seed}\0{name}".encode("utf-8", "replace")).hexdigest()[:16]

    def _refused(self, raw: RawRow, step: str, reason: str, because: str, text: str) -> Refused:
        """As it was read: whoever shows it must look for personal data first."""
        return Refused(step, reason, because[:LOOKED], text[:LOOKED].encode("utf-8", "replace").decode(), raw.place)

    def _prepared(self, raw: RawRow, taken: Taken) -> Prepared:
        compared = normalise.comparable(taken.text)
        key = normalise.key(compared)
        place = sha256((self._data.split.seed + (taken.group or compared)).encode("utf-8", "replace")).digest()
        row = Row(
            id=taken.id or sha256(f"{raw.place}\0{taken.text}".encode()).hexdigest()[:16],
            text=taken.text,
            labels=taken.labels,
            answer=taken.answer,
            tests=taken.tests,
            group=taken.group or f"{key:016x}",
            source=raw.place,
        )
        labels = normalise.key("\0".join(taken.labels) or taken.answer)
        given = normalise.key(taken.id) if taken.id else 0
        line = self._encoder.encode(row) + b"\n"
        group = int.from_bytes(place[:8], "big")
        return Prepared(line, raw.source, key, labels, group, given, len(taken.text))
