"""A skill that answers with text of its own, such as a shell command."""

import re

from concertino.datasets.folder import Row
from concertino.evaluation.metrics import is_right
from concertino.recipe import Metric

_FENCE = re.compile(r"```[\w+-]*\n?(.*?)(?:```|$)", re.DOTALL)


class TextTask:
    """Right is what the metric says: the same text, or a command of the same form."""

    def __init__(self, name: str, metric: Metric) -> None:
        self.name = name
        self._metric = metric

    def choices(self, row: Row) -> tuple[str, ...]:
        return ()

    def read(self, row: Row, text: str) -> str | None:
        """The text; of a command, what stands in a code block, without a prompt sign. None for no text or prose."""
        if self._metric is not Metric.COMMAND_TEMPLATE:
            return text.strip() or None
        block = _FENCE.search(text)
        command = (block.group(1) if block else text).strip().removeprefix("$ ").strip("`")
        # One command may go over lines only where a backslash or an open construct says so.
        lines = [line for line in command.split("\n") if line.strip() and not line.lstrip().startswith("#")]
        if not lines or (block is None and len(lines) > 1 and not lines[0].rstrip().endswith("\\")):
            return None
        return "\n".join(lines)

    def right(self, row: Row, answer: str | None) -> bool:
        return is_right(row, answer, self._metric)
