"""A team's own labelled examples: which rows can be learned from, which cannot and why, and how they are divided."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, structs

from concertino.datasets.rows import FileRow, read_rows
from concertino.errors import DataRefused
from concertino.training.routing.overlap import normalised

OUT_OF_SCOPE = "oos"
"""The label of rows that are nobody's, unless another one is named."""
NOBODY = "nobody"
"""What such a row is called where labels are shown."""
FEWEST = 5
"""Rows of a domain at least: with fewer, nothing could be held out of it."""
FOLDS = 5
TEST_SHARE = 0.15
TEST_FROM = 1000
"""From so many rows on a part is kept apart for the end."""
_SHOWN = 3
_EMPTIED = "domains have no row left"
_NO_WORDS = "rows have no letter or digit in their text"


class Example(Struct, frozen=True):
    """`label` is None for a row that is nobody's; `fine` is the finer label, or `label` where there is none."""

    text: str
    label: str | None
    fine: str
    place: str
    """Where in its file."""

    @property
    def key(self) -> str:
        """Equal for texts that differ in case, blanks or punctuation only."""
        return normalised(self.text) or self.text.strip()


class Trouble(Struct, frozen=True):
    """Rows of a file that were left out, or texts: how many, why, and the first of them."""

    why: str
    count: int
    samples: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.count} {self.why}: " + "; ".join(self.samples) + ("; ..." if self.count > len(self.samples) else "")
        )


class Examples(Struct, frozen=True):
    """What can be used of a file. `finer` says that its rows carry finer labels."""

    name: str
    rows: tuple[Example, ...]
    troubles: tuple[Trouble, ...]
    sha256: str
    finer: bool
    emptied: dict[str, int] = {}
    """Domains none of whose rows can be used -> how many there were."""

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({row.label for row in self.rows if row.label is not None}))

    def without(self, keys: Collection[str], why: str) -> "Examples":
        """The same, less the rows with these keys, which are reported."""
        gone = [row for row in self.rows if row.key in keys]
        if not gone:
            return self
        kept = tuple(row for row in self.rows if row.key not in keys)
        emptied = self.emptied | _emptied(gone, kept)
        return structs.replace(self, rows=kept, troubles=(*self.troubles, _trouble(why, gone)), emptied=emptied)


class Fields(Struct, frozen=True):
    """Which fields of a row say what."""

    text: str = "text"
    label: str = "label"
    fine: str | None = None
    out_of_scope: str = OUT_OF_SCOPE


def read_examples(path: Path, fields: Fields) -> Examples:
    """Read a file of rows (jsonl, csv, or what a reader is installed for). What cannot be used is left out and counted:
    rows that cannot be read, without text, without a letter or digit in it, without label, repeated, and texts that
    stand with two labels.

    Raises DataRefused for a file that is missing, has no rows, or lacks a field in every row.
    """
    rows: list[Example] = []
    bad: defaultdict[str, list[Example]] = defaultdict(list)
    unread: list[str] = []
    seen: Counter[str] = Counter()
    for row in read_rows(path, "examples"):
        if row.problem:
            unread.append(f"line {row.place}: {row.problem}")
        else:
            seen.update(row.fields.keys())
            _sort_in(row, fields, rows, bad)
    for name in (fields.text, fields.label, *([fields.fine] if fields.fine else [])):
        if seen and name not in seen:
            known = ", ".join(seen)
            raise DataRefused(
                f"{path} has no field {name!r}. Its fields: {known}. Name them with --text, --label and --fine.",
                param="examples",
            )
    kept, repeated, contradictory = _settle(rows)
    troubles = [_trouble(why, found) for why, found in bad.items() if found]
    if unread:
        troubles.insert(0, Trouble("rows cannot be read", len(unread), tuple(unread[:_SHOWN])))
    if contradictory:
        troubles.append(_contradictions(contradictory))
    if repeated:
        troubles.append(_trouble("rows repeat an earlier one", repeated))
    gone = [row for row in (*contradictory, *bad[_NO_WORDS]) if row.label is not None]
    if emptied := _emptied(gone, kept):
        named = tuple(f"{label!r} ({count} rows)" for label, count in emptied.items())
        troubles.append(Trouble(_EMPTIED, len(named), named))
    if not kept:
        said = "; ".join(map(str, troubles)) or "it is empty"
        raise DataRefused(f"{path} has no row to learn from ({said}).", param="examples")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Examples(path.name, tuple(kept), tuple(troubles), sha256, fields.fine is not None, emptied)


def _sort_in(event: FileRow, fields: Fields, rows: list[Example], bad: defaultdict[str, list[Example]]) -> None:
    text, label = event.fields.get(fields.text), _label(event.fields.get(fields.label))
    if not isinstance(text, str) or not text.strip():
        bad["rows have no text"].append(Example("", label, label, event.place))
    elif not label:
        bad["rows have no label"].append(Example(text, None, "", event.place))
    else:
        domain = None if label == fields.out_of_scope else label
        fine = _label(event.fields.get(fields.fine)) if fields.fine else ""
        into = rows if normalised(text) else bad[_NO_WORDS]
        into.append(Example(text, domain, fine or label, event.place))


def _emptied(gone: Sequence[Example], kept: Sequence[Example]) -> dict[str, int]:
    left = {row.label for row in kept}
    return dict(sorted(Counter(row.label for row in gone if row.label is not None and row.label not in left).items()))


def _label(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int) else ""


def _settle(rows: Sequence[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    """Each text once; those that repeat one; those whose text stands with two labels."""
    by_key: defaultdict[str, list[Example]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    kept, repeated, contradictory = [], [], []
    for same in by_key.values():
        if len({row.label for row in same}) > 1:
            contradictory += same
        else:
            kept.append(same[0])
            repeated += same[1:]
    return kept, repeated, contradictory


def _trouble(why: str, rows: Sequence[Example]) -> Trouble:
    samples = (f"line {row.place}" + (f" {row.text[:60]!r}" if row.text else "") for row in rows[:_SHOWN])
    return Trouble(why, len(rows), tuple(samples))


def _contradictions(rows: Sequence[Example]) -> Trouble:
    by_key: defaultdict[str, list[Example]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    samples = (
        f"{same[0].text[:60]!r} is "
        + " and ".join(
            f"{row.label or 'nobody'} (line {row.place})" for row in {row.label: row for row in same}.values()
        )
        for same in list(by_key.values())[:_SHOWN]
    )
    return Trouble("texts stand with two labels and are left out", len(by_key), tuple(samples))


def check_labels(examples: Examples) -> None:
    """Raises DataRefused for a domain that has lost all its rows, fewer than two domains, or a domain with fewer than
    `FEWEST` rows."""
    counts = Counter(row.label for row in examples.rows if row.label is not None)
    why = "".join(f" {str(trouble).rstrip('.')}." for trouble in examples.troubles if trouble.why != _EMPTIED)
    if examples.emptied:
        said = ", ".join(f"{label!r} ({count})" for label, count in examples.emptied.items())
        raise DataRefused(
            f"{examples.name}: none of the rows is left of {said}. Take the domain out, or mend its rows.{why}",
            param="examples",
        )
    if len(counts) < 2:
        named = f"{len(counts)} domain{'' if len(counts) == 1 else 's'}" + (f" ({', '.join(counts)})" if counts else "")
        raise DataRefused(f"{examples.name} has {named}; a router needs two.{why}", param="examples")
    few = {label: count for label, count in sorted(counts.items()) if count < FEWEST}
    if few:
        said = ", ".join(f"{label!r} has {count}" for label, count in few.items())
        raise DataRefused(
            f"{examples.name}: every domain needs {FEWEST} different texts, and {said}. "
            f"Add some, correct the label, or take the rows out.{why}",
            param="examples",
        )


def held_out(rows: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Rows to fit on and rows for the end: of each label the `TEST_SHARE` whose texts' hashes come first, if the file
    has `TEST_FROM` rows."""
    if len(rows) < TEST_FROM:
        return list(rows), []
    test = {row.key for same in _by_label(rows) for row in same[: int(len(same) * TEST_SHARE)]}
    return [row for row in rows if row.key not in test], [row for row in rows if row.key in test]


def folds(rows: Sequence[Example]) -> list[int]:
    """The fold of each row, 0 to `FOLDS` less 1, by its text's hash, as even as can be within each label."""
    place = {row.key: number % FOLDS for same in _by_label(rows) for number, row in enumerate(same)}
    return [place[row.key] for row in rows]


def _by_label(rows: Sequence[Example]) -> Iterator[list[Example]]:
    by_label: defaultdict[str | None, list[Example]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    for same in by_label.values():
        yield sorted(same, key=lambda row: hashlib.sha256(row.key.encode("utf-8", "replace")).digest())
