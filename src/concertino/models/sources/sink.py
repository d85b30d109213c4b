"""A part file that is hashed while it is written, so that no byte is read twice."""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Self

from concertino.models.sources.base import Job, SourceFailed, Stage

BLOCK = 1024 * 1024


class Sink:
    """Writes one part file. With `keep`, what an earlier attempt left is hashed and continued."""

    def __init__(self, path: Path, job: Job, stage: Stage, *, keep: bool = False) -> None:
        self._job = job
        self._stage = stage
        self._hash = hashlib.sha256()
        self.done = 0
        self._handle = path.open("r+b" if keep and path.exists() else "w+b")
        if keep:
            while block := self._handle.read(BLOCK):
                self._hash.update(block)
                self.done += len(block)

    def write(self, block: bytes) -> None:
        """Append. Raises SourceFailed when more arrives than the catalogue says, OSError when the disk is full."""
        if self.done + len(block) > self._job.file.bytes:
            raise SourceFailed(f"it sent more than the {self._job.file.bytes} bytes that the catalogue promises")
        self._handle.write(block)
        self._hash.update(block)
        self.done += len(block)
        self._job.report(self._stage, self.done)

    def restart(self) -> None:
        """Forget what was there: the sender cannot go on from where we stopped."""
        self._handle.seek(0)
        self._handle.truncate()
        self._hash = hashlib.sha256()
        self.done = 0

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()
