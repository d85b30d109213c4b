"""What is in a file of examples: its fields, which of them is the text and which the label, and facts of its rows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from concertino.datasets import normalise
from concertino.datasets.fields import Taken, take
from concertino.datasets.personal import PersonalDataFinder
from concertino.documents import Documents, Problem, Record, suffixes
from concertino.errors import DataRefused
from concertino.recipe import Source
from concertino.template import FieldsProblem, inside

MOST_ROWS = 50_000
"""Rows that are looked at; a longer file is judged by its first ones."""
_MOST_LABELS = 1_000
_CLOSED_SHARE = 0.2
"""Distinct values, as a share of rows, up to which a field is a closed set."""
_SAMPLE = 500
"""Texts whose language is told and in which personal data is looked for."""
_TELLING_LETTERS, _SURE = 20, 0.7
"""Letters of a text, and the probability, from which its language counts."""
_LONGEST = 1_000_000
_DEEPEST, _ITEMS = 6, 3
"""How far fields are looked for inside of others, and in how many items of a list."""
_TEXT_NAMES = ("text", "message", "question", "sentence", "body", "content", "input", "query", "prompt", "description")
_LABEL_NAMES = ("label", "labels", "category", "class", "intent", "answer", "target", "output", "completion")


class Column(Struct, frozen=True):
    """One field over all rows."""

    name: str
    filled: int
    """Rows in which it is there and not empty."""
    distinct: int
    words: float
    """Mean words of a value."""
    numeric: bool
    example: str

    @property
    def described(self) -> str:
        """The field as a person would tell it from the others."""
        return f"{self.name} ({self.distinct} values, {self.words:.0f} words, such as {self.example[:40]!r})"


class Table(Struct, frozen=True):
    """A file as rows of fields."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    unreadable: int
    because: str
    """Why the first of the unreadable rows is one, and where; else empty."""
    more: bool
    """True where the file goes on beyond the rows that were looked at."""
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Raises DataRefused for a field that the file does not have."""
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            known = ", ".join(column.name for column in self.columns)
            raise DataRefused(f"{self.path} has no field {name!r}. Its fields: {known}.", param=name)
        return found


class Facts(Struct, frozen=True):
    """What the rows are like, read by a text field and a label field. Shares lie between 0 and 1."""

    rows: int
    unusable: int
    """Rows without text or label."""
    usable: int
    """Different texts, those with contradictory labels not counted."""
    duplicates: float
    """Share of rows whose text is that of an earlier row."""
    contradictory: float
    """Share of rows whose text occurs with other labels too."""
    closed: bool
    """True where the answers are a closed set of labels."""
    labels: dict[str, int]
    """Label -> rows, the most frequent first; empty where the answers are free text."""
    different: dict[str, int]
    """Label -> different texts, those with contradictory labels not counted."""
    rename: dict[str, str]
    """Spelling of a label -> the more frequent one that differs only in case or blanks."""
    several: int
    """Rows with more than one label."""
    never_alone: tuple[str, ...]
    """Labels that only stand beside others."""
    tokens: tuple[int, int, int]
    """Of a text, about: median, 95th and 99th percentile."""
    answer_tokens: int
    """Of an answer, about: 99th percentile; 0 for labels."""
    languages: dict[str, float] = field(default_factory=dict)
    """ISO 639-1 code -> share of the texts that were looked at; empty where nothing told them."""
    personal: float = 0.0
    """Share of the texts that were looked at in which personal data was found."""


def read_table(path: Path) -> Table:
    """The rows of a file. Raises DataRefused for a file that is missing, has no rows, or is a document."""
    try:
        found = path.is_file()
    except OSError as error:
        raise DataRefused(f"{str(path)[:80]}... cannot be looked for: {error.strerror}.", param="from") from error
    if not found:
        raise DataRefused(f"There is no file {path}.", param="from")
    suffix, known = path.suffix[1:].lower(), suffixes()
    if suffix not in known:
        raise DataRefused(
            f"{path} is of no kind that can be read ({', '.join(known)}). Save it as CSV or JSON lines.", param="from"
        )
    with Documents(_LONGEST) as documents:
        if documents.is_document(path):
            raise DataRefused(
                f"{path} is running text, which has no labels to learn. Put examples into a CSV or jsonl file, one a "
                f"row, with a field for the text and one for its label. To let a specialist quote {path.name}, use "
                "`concertino ingest`.",
                param="from",
            )
        rows: list[dict[str, Any]] = []
        unreadable, because, more = 0, "", False
        for event in documents.read(path):
            if isinstance(event, Record):
                if len(rows) == MOST_ROWS:
                    more = True
                    break
                rows.append(event.fields)
            elif isinstance(event, Problem):
                unreadable += 1
                because = because or (f"line {event.place}: " if event.place else "") + event.because
    if not rows:
        raise DataRefused(f"{path} has no row that can be read ({because or 'it is empty'}).", param="from")
    return Table(path, tuple(rows), unreadable, because, more, tuple(_columns(rows)))


def _columns(rows: Iterable[Mapping[str, Any]]) -> Iterator[Column]:
    values: dict[str, list[str]] = {}
    for row in rows:
        for name, value in _leaves(row):
            shown = _shown(value)
            if shown:
                values.setdefault(name, []).append(shown)
    for name, found in values.items():
        counted = Counter(found)
        words = sum(len(value.split()) * count for value, count in counted.items()) / len(found)
        yield Column(name, len(found), len(counted), words, all(_number(value) for value in counted), found[0])


def _leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The fields of a row with the way to each, also those inside of others, as far as the first items of lists."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict) and depth < _DEEPEST:
        inner = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value) and depth < _DEEPEST:
        inner = enumerate(value[:_ITEMS])
    elif name:
        yield name, value
    for key, item in inner:
        yield from _leaves(item, f"{name}.{key}" if name else str(key), depth + 1)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return "" if value is None else msgspec.json.encode(value).decode()


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def text_candidates(table: Table) -> list[Column]:
    """Fields that could be the text, the likeliest first; one alone where it is clear."""
    found = [
        column
        for column in table.columns
        if not column.numeric and column.words >= 1.5 and column.distinct >= 0.3 * len(table.rows)
    ]
    named = [column for column in found if last(column.name).lower() in _TEXT_NAMES]
    if len(named) == 1:
        return named
    return sorted(found, key=lambda column: -column.words)


def label_candidates(table: Table, text: str) -> list[Column]:
    """Fields that could be the label or the answer, the likeliest first; one alone where it is clear."""
    others = [column for column in table.columns if column.name != text and column.filled >= 0.5 * len(table.rows)]
    named = [column for column in others if last(column.name).lower() in _LABEL_NAMES]
    if len(named) == 1:
        return named
    closed = [column for column in others if is_closed(column) and not (column.numeric and column.distinct > 20)]
    if closed:
        telling = [column for column in closed if column.distinct > 1] or closed
        return sorted(telling, key=lambda column: (column.numeric, column.distinct))
    return [column for column in others if column.words >= 1.5]


def last(name: str) -> str:
    """The name of a field without the way to it."""
    return name.rpartition(".")[2]


def is_closed(column: Column) -> bool:
    """Whether a field's values come from a closed set."""
    return column.distinct <= max(2, min(_MOST_LABELS, _CLOSED_SHARE * column.filled))


def find_facts(table: Table, text: str, label: str) -> Facts:
    """Count what a recipe depends on. Raises DataRefused where nothing could be learnt."""
    column = table.column(label)
    table.column(text)
    for option, name in (("text", text), ("label", label)):
        if "{" in name:
            raise DataRefused(
                f"The field {name!r} has a brace in its name, which a recipe would read as a template. Rename it in "
                f"{table.path}.",
                param=option,
            )
    closed = is_closed(column) or any(isinstance(inside(row, label), list) for row in table.rows)
    if closed and column.distinct < 2:
        raise DataRefused(
            f"All rows of {table.path} have the {label} {column.example!r}: there is nothing to tell apart. "
            "Add rows with other labels, or name another field with --label.",
            param="label",
        )
    if column.numeric and not closed:
        raise DataRefused(
            f"{label!r} has {column.distinct} different numbers. A skill answers with a label or with text; it cannot "
            "predict a number. Name another field with --label, or put the numbers into ranges.",
            param="label",
        )
    source = Source(table.path.name, text, label)
    taken, problems = _taken(table, source, free_text=not closed)
    if not taken:
        raise DataRefused(
            f"No row of {table.path} can be used by {text!r} and {label!r}. Of the first, {problems[0]}.", param="text"
        )
    rename = _spellings(taken)
    if rename:
        taken, problems = _taken(table, structs.replace(source, rename=rename), free_text=False)
    answers: dict[int, set[tuple[str, ...]]] = {}
    counts: Counter[str] = Counter()
    keys = [normalise.key(normalise.comparable(row.text)) for row in taken]
    for key, row in zip(keys, taken, strict=True):
        answers.setdefault(key, set()).add(row.labels or (row.answer,))
        counts.update(row.labels)
    contradictory = {key for key, given in answers.items() if closed and len(given) > 1}
    if len(contradictory) == len(answers):
        raise DataRefused(
            f"Every text of {table.path} stands with several values of {label!r}, so nothing says which is right. Name "
            "another field with --label, or give each text the labels that are right for it.",
            param="label",
        )
    sure = [labels for key, given in answers.items() if key not in contradictory for labels in given if closed]
    different = Counter(label for labels in sure for label in labels)
    alone = {row.labels[0] for row in taken if len(row.labels) == 1}
    lengths = sorted(about_tokens(row.text) for row in taken)
    sample = [row.text for row in taken[:: max(1, len(taken) // _SAMPLE)]][:_SAMPLE]
    return Facts(
        rows=len(table.rows),
        unusable=len(problems),
        usable=len(answers) - len(contradictory),
        duplicates=1 - len(answers) / len(taken),
        contradictory=sum(key in contradictory for key in keys) / len(taken),
        closed=closed,
        labels=dict(counts.most_common()),
        different={label: different[label] for label, _ in counts.most_common()},
        rename=rename,
        several=sum(len(row.labels) > 1 for row in taken),
        never_alone=tuple(label for label in counts if label not in alone),
        tokens=(_at(lengths, 0.5), _at(lengths, 0.95), _at(lengths, 0.99)),
        answer_tokens=0 if closed else _at(sorted(about_tokens(row.answer) for row in taken), 0.99),
        languages=_languages(sample),
        personal=len(PersonalDataFinder().find_all(sample)) / len(sample),
    )


def _taken(table: Table, source: Source, free_text: bool) -> tuple[list[Taken], list[str]]:
    """The rows that can be used, and of each of the others why not."""
    taken: list[Taken] = []
    problems: list[str] = []
    for row in table.rows:
        try:
            found = take(row, source, free_text)
        except FieldsProblem as problem:
            problems.append(problem.because)
            continue
        if found.text.strip():
            taken.append(found)
        else:
            problems.append(f"field {source.text!r} is empty")
    return taken, problems


def _spellings(taken: Iterable[Taken]) -> dict[str, str]:
    """Labels that differ from a more frequent one in case or blanks only -> that one."""
    counts = Counter(label for row in taken for label in row.labels)
    first: dict[str, str] = {}
    for label, _ in counts.most_common():
        first.setdefault(" ".join(label.casefold().split()), label)
    chosen = {label: first[" ".join(label.casefold().split())] for label in counts}
    return {label: other for label, other in chosen.items() if label != other}


def about_tokens(text: str) -> int:
    """A text's tokens, about: no tokenizer is asked, and too many is the better mistake."""
    return max(len(text) // 4, round(1.3 * len(normalise.words(text)))) + 2


def _at(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _languages(texts: Iterable[str]) -> dict[str, float]:
    """Shares of the languages of texts long enough to tell; empty without py3langid."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        return {}
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found: Counter[str] = Counter()
    for text in texts:
        if sum(map(str.isalpha, text)) >= _TELLING_LETTERS:
            code, probability = identifier.classify(text[:2000])
            if probability >= _SURE:
                found[str(code)] += 1
    return {code: count / found.total() for code, count in found.most_common()}
