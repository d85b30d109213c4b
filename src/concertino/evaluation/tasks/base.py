"""The one protocol of a task: what may be answered, how an answer is read, when it is right."""

from typing import Protocol

from concertino.datasets.folder import Row


class Task(Protocol):
    """Turns what a model wrote into an answer, and an answer into right or wrong."""

    name: str

    def choices(self, row: Row) -> tuple[str, ...]:
        """The closed set of answers for a row; empty where the answer is text of the model's own."""
        ...

    def read(self, row: Row, text: str) -> str | None:
        """The answer in what a model wrote freely; None is a format failure, which is not a wrong answer."""
        ...

    def right(self, row: Row, answer: str | None) -> bool: ...
