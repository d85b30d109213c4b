"""How far a training is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

WINDOW_S = 30.0
"""Speed is that of the last half minute, so that it follows what the machine does now."""

Note = Callable[[str], None]


class Progress:
    """Loss, speed and time left of a training of `steps` steps, of which `done` were made by an earlier process.

    `unit` names what is counted (tokens, rows). Use it as a context manager; `note` takes lines where stderr is no
    terminal, and everything said through `say`.
    """

    def __init__(
        self, title: str, steps: int, note: Note, *, unit: str = "tokens", done: int = 0, every_s: float = 15.0
    ) -> None:
        self._title, self._steps, self._unit, self._every = title, steps, unit, every_s
        self._note = note
        self._begun, self._done_before, self._step = time.monotonic(), done, done
        self._said = self._begun
        self._marks: deque[tuple[float, int]] = deque([(self._begun, 0)])
        self._amount = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[now]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._title, total=self._steps, completed=self._step, now="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, step: int, loss: float, amount: int) -> None:
        """After a step: the loss, and how much of the unit the step read."""
        now = time.monotonic()
        self._step = step
        self._amount += amount
        self._marks.append((now, self._amount))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=step, now=self._now(loss))
        elif now - self._said >= self._every or step == self._steps:
            self._said = now
            self._note(f"{self._title}: step {step} of {self._steps}, {self._now(loss)}")

    def say(self, sentence: str) -> None:
        """A sentence that stays: above the bar, or through `note`."""
        if self._bar is None:
            self._note(sentence)
            return
        from rich.text import Text

        self._bar.console.print(Text(sentence))

    @property
    def speed(self) -> float:
        """Units a second over the last half minute."""
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / max(last - first, 1e-9)

    @property
    def left_s(self) -> float:
        """Seconds to go, at the pace of this process so far."""
        made = self._step - self._done_before
        return (time.monotonic() - self._begun) / max(made, 1) * (self._steps - self._step)

    def _now(self, loss: float) -> str:
        return f"loss {loss:.4f}, {self.speed:.0f} {self._unit}/s, {clock(self.left_s)} left"


def clock(seconds: float) -> str:
    """Seconds as people say them: `0:42`, `12:05`, `1:02:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
