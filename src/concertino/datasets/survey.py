"""What the rows of a file of examples are like, read by a text field and a label field."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, field, structs

from concertino.datasets import normalise
from concertino.datasets.fields import Taken, take
from concertino.datasets.personal import PersonalDataFinder
from concertino.datasets.table import Table, is_closed
from concertino.errors import DataRefused
from concertino.recipe import Data, Source
from concertino.template import FieldsProblem, clean, inside

_SAMPLE = 500
"""Texts whose language is told and in which personal data is looked for."""
MOST_CHARACTERS = Data(()).max_characters
_NAME_WORDS = 5
"""Words beyond which what should be a field's name is a text."""
_SENTENCE, _WORDLIKE = 6, 0.8
"""Words of a text in prose at least, and the share of them that are of letters."""
_MARKS = ".,;:!?()\"'„“”«»…।"
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Signs of scripts that do not part words by blanks: Thai, Lao, Tibetan, Burmese, Khmer, Japanese, Chinese."""
_UNSPACED_SENTENCE = 12
"""Such signs in a text in prose at least."""
_TELLING_LETTERS, _SURE = 20, 0.7
"""Letters of a text, and the probability, from which its language counts."""


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
    too_long: int
    """Rows whose text curation drops for its length."""
    values: int
    """Different values of the label field."""
    header: bool
    """Whether the names of the fields look like a row themselves."""
    documents: int
    """How many documents the rows are passages of; 0 for rows of a table."""
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
    answer_median: int = 0
    """Of an answer, about: the median; 0 for labels."""
    prose: float = 0.0
    """Share of the answers that read as sentences; 0 for labels."""
    languages: dict[str, float] = field(default_factory=dict)
    """ISO 639-1 code -> share of the texts that were looked at; empty where nothing told them."""
    personal: float = 0.0
    """Share of the texts that were looked at in which personal data was found."""


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
    written = sorted(about_tokens(row.answer) for row in taken)
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
        too_long=0 if table.documents else sum(len(clean(row.text)) > MOST_CHARACTERS for row in taken),
        values=column.distinct,
        header=label in counts or len(text.split()) > _NAME_WORDS,
        documents=table.documents,
        several=sum(len(row.labels) > 1 for row in taken),
        never_alone=tuple(label for label in counts if label not in alone),
        tokens=(_at(lengths, 0.5), _at(lengths, 0.95), _at(lengths, 0.99)),
        answer_tokens=0 if closed else _at(written, 0.99),
        answer_median=0 if closed else _at(written, 0.5),
        prose=0.0 if closed else sum(is_prose(row.answer) for row in taken) / len(taken),
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


def is_prose(text: str) -> bool:
    """Whether a text reads as a sentence or more, and not as a name, a figure, a command or a line of code."""
    unspaced = len(_UNSPACED.findall(text))
    if unspaced >= _UNSPACED_SENTENCE and unspaced >= _WORDLIKE * sum(not sign.isspace() for sign in text):
        return True
    said = [word.strip(_MARKS) for word in text.split()]
    return len(said) >= _SENTENCE and sum(map(_is_word, said)) >= _WORDLIKE * len(said)


def _is_word(text: str) -> bool:
    """Letters with the signs that stand on them, also with a hyphen or an apostrophe between them."""
    letters = "".join(sign for sign in text if not unicodedata.category(sign).startswith("M"))
    return all(part.isalpha() for part in re.split("[-'’]", letters))


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
