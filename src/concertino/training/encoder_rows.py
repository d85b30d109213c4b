"""Rows as an encoder is trained on them: token ids and the numbers of their labels, and what is refused of them."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from concertino.backends.encoder.session import clip_text, clip_tokens
from concertino.datasets.folder import Dataset, Part, Row
from concertino.errors import TrainingRefused
from concertino.training.checkpoint import Note
from concertino.training.encoder_loop import Example

HALVED_AT_MOST = 0.5
"""Share of the training rows that may lose more than half of their text; beyond it the recipe is what is wrong."""


class Read(Struct, frozen=True):
    """A part, as far as it is read."""

    examples: list[Example]
    cut: int
    """Rows that are longer than what is read of them."""
    halved: int
    """Those of which more than half is lost."""
    longest: int
    """Tokens."""


def read_part(dataset: Dataset, part: Part, labels: Sequence[str], tokenizer: Any, limit: int) -> Read:
    """The part's rows, `limit` tokens of each. Raises TrainingRefused for a label that is not among `labels`."""
    examples, lengths = [], []
    for row in dataset.rows(part):
        ids = tokenizer.encode(clip_text(row.text)).ids
        lengths.append(len(ids))
        examples.append(Example(clip_tokens(ids, limit), _targets(row, labels)))
    cut = sum(length > limit for length in lengths)
    return Read(examples, cut, sum(length > 2 * limit for length in lengths), max(lengths, default=0))


def _targets(row: Row, labels: Sequence[str]) -> tuple[int, ...]:
    unknown = [label for label in row.labels if label not in labels]
    if unknown:
        raise TrainingRefused(
            f"Row {row.id} ({row.source}) has the label {unknown[0]!r}, which the recipe does not list.", param="labels"
        )
    return tuple(labels.index(label) for label in row.labels)


def check_lengths(read: Read, max_tokens: int, positions: int, note: Note) -> None:
    """Tell of rows that are cut. Raises TrainingRefused where most of the text of most rows would be lost."""
    if not read.cut:
        return
    limit = f"max_tokens {max_tokens}" if max_tokens <= positions else f"the {positions} tokens that the base reads"
    of = f"of {len(read.examples)} rows"
    longest = f"(the longest has {read.longest})"
    if read.halved > HALVED_AT_MOST * len(read.examples):
        raise TrainingRefused(
            f"{read.halved} {of} are more than twice as long as {limit} {longest} and would lose more than half of "
            f"their text. Raise training.max_tokens, to {positions} at most, or cut the texts before, as with "
            "`{paragraphs:about FIELD 600}` (docs/curation.md).",
            param="training.max_tokens",
        )
    note(f"{read.cut} {of} are longer than {limit} {longest}; they lose their middle")
