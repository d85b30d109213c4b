"""One part of a compound request on its way: what it has so far, and how it ended."""

import asyncio

from concertino.errors import ConcertinoError
from concertino.types import Part, PartState, SubTask, Usage

_UNFINISHED = (PartState.WAITING, PartState.RUNNING)


class PartWork:
    """What a Workflow knows of one of its parts."""

    def __init__(self, task: SubTask, title: str = "") -> None:
        self.task, self.title = task, title
        self.specialist = task.specialist
        self.state = PartState.WAITING
        self.text = ""
        self.usage = Usage()
        self.sources: tuple[str, ...] = ()
        self.cut = False
        self.failure: ConcertinoError | None = None
        self.why = ""
        self.instead = ""
        """Why somebody else answers than the plan said."""
        self.over = asyncio.Event()
        self.shown = 0
        """Characters of its text that were sent."""
        self.headed = False

    @property
    def is_over(self) -> bool:
        return self.state not in _UNFINISHED

    def settle(self, task: asyncio.Task[None]) -> None:
        """Say how a part ended that nobody waits for any more: by a fault of ours, or since all of it was stopped."""
        if self.is_over:
            return
        if task.done() and not task.cancelled() and task.exception() is not None:
            self.failure = ConcertinoError("Something failed here.")
            self.state = PartState.FAILED
        else:
            self.state = PartState.CANCELLED

    def report(self) -> Part:
        code = self.failure.code if self.failure else None
        return Part(self.task.id, self.specialist, self.task.text, self.state, self.usage, code)
