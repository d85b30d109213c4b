"""A thread for the calls to a database: one after another, and never waited for longer than is worth it."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_Queue = queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


class SerialThread:
    """Runs what it is given in order. A daemon: a database that does not answer cannot keep the process from ending,
    as it would the thread of an executor, which the interpreter waits for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: _Queue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._late: Future[Any] | None = None
        """A call that was given up waiting for; while it lasts nobody waits for another."""

    async def call(
        self,
        work: Callable[[], T],
        patience_s: float,
        *,
        given_up: Callable[[T], object] | None = None,
        must: bool = False,
    ) -> T:
        """The result of `work`. Raises what it raises, and TimeoutError after `patience_s`, or at once where a call
        before it is late already.

        What was begun in vain, because it is late or the caller was cancelled, is carried out all the same when its
        turn comes, and `given_up` then undoes what it brought. Behind a late call only what `must` be done is begun.
        """
        if self._late is not None and not self._late.done():
            if must:
                self.submit(work)
            raise TimeoutError
        future = self.submit(work)
        result = asyncio.wrap_future(future)
        result.add_done_callback(_heard)
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.shield(result)
        except TimeoutError:
            if future.done():
                return future.result()
            self._late = future
            self._undo(future, given_up)
            raise
        except asyncio.CancelledError:
            self._undo(future, given_up)
            raise

    def _undo(self, future: "Future[T]", given_up: Callable[[T], object] | None) -> None:
        """Once it is done, undo what it brought."""
        if given_up is not None:
            future.add_done_callback(
                lambda done: self.submit(lambda: given_up(done.result())) if done.exception() is None else None
            )

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Carry out `work` after what was given before it, without anybody waiting."""
        if self._thread is None:
            self._thread = threading.Thread(target=_run, args=(self._work,), name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._work.put((future, work))
        return future

    def close(self, patience_s: float) -> bool:
        """Wait for what was given; False if that took longer, and the rest goes with the process."""
        thread, work = self._thread, self._work
        self._thread, self._work, self._late = None, queue.SimpleQueue(), None
        if thread is None:
            return True
        work.put(None)
        thread.join(patience_s)
        return not thread.is_alive()


def _run(given: _Queue) -> None:
    while (each := given.get()) is not None:
        future, work = each
        try:
            result = work()
        except BaseException as error:
            # Whoever waits is told, in its own thread.
            with suppress(RuntimeError):  # its loop is gone
                future.set_exception(error)
        else:
            with suppress(RuntimeError):
                future.set_result(result)


def _heard(result: "asyncio.Future[Any]") -> None:
    """Take note of a failure for which nobody waits any more."""
    if not result.cancelled():
        result.exception()
