"""What processes may use that run things which nobody has read: parsers of documents, programs of models.

The kernel watches memory, processor time and files (setrlimit(2)), a thread of the parent the wall clock, so that
nothing inside has to cooperate. Standard library only: a limited process imports this with nothing else at hand.
"""

import math
import resource
import threading
from collections.abc import Callable
from typing import NamedTuple


class Limits(NamedTuple):
    """Of one process. None leaves what the parent has."""

    memory: int
    """Bytes of address space."""
    file_bytes: int | None = None
    """Of any file that is written; 0 lets nothing be written to files."""
    open_files: int | None = None
    processes: int | None = None
    """Of this user, threads included; the kernel does not hold root to it."""


def impose(limits: Limits) -> None:
    """Limit this process for good. It leaves no core dump either."""
    wanted = {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: limits.processes,
    }
    for kind, most in wanted.items():
        if most is not None:
            resource.setrlimit(kind, (most, most))


def allow_cpu(seconds: float, *, grace: int | None = None) -> None:
    """Let this process use so many more seconds of processor time, then SIGXCPU; `grace` seconds later SIGKILL."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY if grace is None else soft + grace))


class Deadline:
    """Calls `kill` after so many seconds of wall-clock time, unless the with statement is left before."""

    def __init__(self, seconds: float, kill: Callable[[], None]) -> None:
        self._passed = threading.Event()
        self._kill = kill
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    @property
    def passed(self) -> bool:
        """Whether the time was over."""
        return self._passed.is_set()

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()

    def _pass(self) -> None:
        self._passed.set()
        self._kill()
