"""Threads for detectors, with a deadline that holds even if a detector never returns."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

_WORKERS = 4
_MOST = 32
"""Threads there may be in all. Beyond it calls wait, come too late, and so count as positives."""


class _Job:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.started = False
        self.abandoned = False


class DeadlinePool:
    """Daemon threads: unlike an executor's, they do not hold up the end of the process when a detector hangs."""

    def __init__(self, workers: int = _WORKERS) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wanted = workers
        self._threads = 0
        self._stuck = 0

    async def call(self, function: Callable[[], Any], timeout_s: float) -> Any:
        """The function's result. Raises TimeoutError after `timeout_s` seconds, waiting for a thread included."""
        self._hire()
        job = _Job(function)
        self._jobs.put(job)
        try:
            async with asyncio.timeout(timeout_s):
                return await job.future
        finally:
            with self._lock:
                if not job.future.done() or job.future.cancelled():
                    job.abandoned = True
                    # A thread that is still busy is not counted on; the next call hires another in its place.
                    self._stuck += job.started

    def close(self) -> None:
        """Let the threads go as soon as they are free; one that hangs goes with the process."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _hire(self) -> None:
        while True:
            with self._lock:
                if self._threads - self._stuck >= self._wanted or self._threads >= _MOST:
                    return
                self._threads += 1
            threading.Thread(target=self._work, name="concertino-detector", daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            with self._lock:
                if job.abandoned:
                    continue
                job.started = True
            result: Any = None
            failure: Exception | None = None
            try:
                result = job.function()
            except Exception as error:
                failure = error
            with self._lock:
                job.started = False
                if job.abandoned:
                    # Back from the dead: its place was taken, so it leaves.
                    self._stuck -= 1
                    self._threads -= 1
                    return
            try:
                job.loop.call_soon_threadsafe(_settle, job.future, result, failure)
            except RuntimeError:  # the loop was closed meanwhile; nobody waits
                continue


def _settle(future: asyncio.Future[Any], result: Any, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
