"""A skill that answers in prose, which is graded: how near it comes to the row's answer, and not whether it is it."""

from concertino.datasets.folder import Row
from concertino.datasets.prose import grade
from concertino.recipe import Metric


class ProseTask:
    """An answer has a score, 0 to 1. It is right from `right_score` on; 0: nobody says from where, and none is."""

    def __init__(self, name: str, metric: Metric, right_score: float = 0.0) -> None:
        self.name = name
        self.right_score = right_score
        self._metric = metric

    def choices(self, row: Row) -> tuple[str, ...]:
        return ()

    def read(self, row: Row, text: str) -> str | None:
        """The text; None where there is none."""
        return text.strip() or None

    def score(self, row: Row, answer: str | None) -> float:
        """How near an answer comes to the row's; a format failure has 0."""
        return grade(self._metric, answer, row.answer)

    def right(self, row: Row, answer: str | None) -> bool:
        return 0 < self.right_score <= self.score(row, answer)
