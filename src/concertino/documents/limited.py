"""Parsers of complex formats run in a process of their own: 512 MB of memory and 10 seconds for each document.

One child reads document after document, so that a folder of ten thousand pages does not start Python ten thousand
times; it is replaced when it dies, and after `_DOCUMENTS` documents, since parsers leak. The wall clock is watched from
outside, processor time and memory by the kernel (setrlimit), so that no parser has to cooperate.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import msgspec

from concertino.documents.base import Event, Problem
from concertino.limits import Deadline

SECONDS = 10
MEMORY = 512 * 1024 * 1024
"""Bytes of address space."""
_OUTPUT = 64 * 1024 * 1024
"""Bytes of text after which a document is held to be hostile."""
_DOCUMENTS = 200
END, LAST = b"end\n", b"last\n"
"""What the child says after a document; LAST where it will read no other one."""

_decoder = msgspec.json.Decoder(Event)


def _collect(stdout: IO[bytes], events: list[Event]) -> bytes:
    """Read events until the child says END or LAST, which is returned; nothing where it dies, or says too much."""
    size = 0
    while line := stdout.readline():
        if line in (END, LAST):
            return line
        size += len(line)
        if size > _OUTPUT:
            events.clear()
            return b""
        events.append(_decoder.decode(line))
    return b""


class LimitedReader:
    """Reads documents in a limited child. Close it, or use it in a with statement."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._child: subprocess.Popen[bytes] | None = None
        self._documents = 0

    def __enter__(self) -> "LimitedReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child = None

    def read(self, path: Path, suffix: str) -> list[Event]:
        """What the reader of `suffix` finds in the file. What kills the child becomes a Problem, the last one.

        All of it, not a stream: the clock runs for the reader and must not run for whoever reads from it.
        """
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        events: list[Event] = []
        with Deadline(self._seconds, child.kill) as deadline:
            try:
                child.stdin.write(msgspec.json.encode((suffix, os.fsencode(path.absolute()))) + b"\n")
                child.stdin.flush()
                ended = _collect(child.stdout, events)
            except BrokenPipeError:
                ended = b""
        self._documents += 1
        if not ended:
            child.kill()
            events.append(self._problem(deadline.passed, child.wait()))
        if ended != END or self._documents >= _DOCUMENTS:
            self.close()
        return events

    def _problem(self, late: bool, status: int) -> Problem:
        import signal

        if late or status == -signal.SIGXCPU:
            return Problem("took too long", f"it was not read within {self._seconds:g} s, and its reader was stopped")
        because = f"its reader ended with status {status}; the document is damaged or hostile"
        return Problem("reader died", because)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        self._documents = 0
        limits = (str(self._seconds), str(self._memory))
        # One thread a library: each thread's stack and arena would count against the address space.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "concertino.documents.child", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        return self._child
