"""Questions of general knowledge, four choices each: what tuning should not have cost."""

from importlib import resources

import msgspec
from msgspec import Struct

from concertino.datasets.folder import Row

LETTERS = ("A", "B", "C", "D")
INSTRUCTION = "Answer the question with the letter of the right choice."


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    question: str
    choices: tuple[str, str, str, str]
    answer: str


class GeneralTask:
    """Right is the letter."""

    name = "general"

    def choices(self, row: Row) -> tuple[str, ...]:
        return LETTERS

    def read(self, row: Row, text: str) -> str | None:
        return text if text in LETTERS else None

    def right(self, row: Row, answer: str | None) -> bool:
        return answer in row.labels


def general_rows() -> list[Row]:
    """The questions that come with Concertino, as rows."""
    raw = resources.files(__package__).joinpath("general_questions.jsonl").read_bytes()
    decoder, rows = msgspec.json.Decoder(Question), []
    for number, line in enumerate(raw.split(b"\n")):
        if line.strip():
            asked = decoder.decode(line)
            listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, asked.choices, strict=True))
            rows.append(Row(f"general-{number}", f"{asked.question}\n{listed}", (asked.answer,)))
    return rows
