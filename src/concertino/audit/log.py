"""The audit log as the gateway uses it: `await begin(...)` before the first byte, `await end(...)` when it is over.

One thread owns the file. It takes everything that waits, writes it in one transaction and one fsync, and only then
tells those who wait, so the event loop never touches the disk and many requests share the cost of a sync.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from pathlib import Path
from typing import Any

from concertino.audit.digest_key import KEY_NAME, load_or_create
from concertino.audit.file import AppendFile
from concertino.audit.records import Begin, Encoder, End
from concertino.errors import AuditUnavailable

_BATCH = 512
_QUEUE = 8192


class _Waiting:
    """One record and whoever awaits it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def settle(self, failure: AuditUnavailable | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle, failure)

    def _settle(self, failure: AuditUnavailable | None) -> None:
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(failure)


class AuditLog:
    """Append-only, hash-chained, durable when a call returns.

    `path` is the SQLite file; several processes may append to one. `key_path` defaults to `audit.key` beside it.
    A disk that does not answer is waited for; whoever cannot wait must not forget that the record may come later.
    """

    def __init__(self, path: Path, *, key_path: Path | None = None, keep_text: bool = False) -> None:
        self.path = path
        self._key_path = key_path or path.parent / KEY_NAME
        self._keep_text = keep_text
        self._encoder: Encoder | None = None
        self._file = AppendFile(path)
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(_QUEUE)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def begin(self, record: Begin) -> None:
        """Returns once the record is on disk. Raises AuditUnavailable: then nothing may be answered."""
        await self._submit(self._encode().begin(record))

    async def end(self, record: End) -> None:
        """Returns once the record is on disk. Raises AuditUnavailable."""
        await self._submit(self._encode().end(record))

    def close(self) -> None:
        """Write what waits, then give the file back. Blocks; call it off the event loop if that matters."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._queue.put(None)
            thread.join()
        self._file.close()

    def _encode(self) -> Encoder:
        # On first use, so that building the log does no I/O and a key that was missing may come later.
        if self._encoder is None:
            self._encoder = Encoder(load_or_create(self._key_path), keep_text=self._keep_text)
        return self._encoder

    async def _submit(self, fields: dict[str, Any]) -> None:
        waiting = _Waiting(fields)
        with self._lock:
            if self._closed:
                raise AuditUnavailable("The audit log is closed because the server is stopping. Ask again shortly.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="concertino-audit", daemon=True)
                self._thread.start()
            try:
                self._queue.put_nowait(waiting)
            except queue.Full:
                raise AuditUnavailable(
                    f"{_QUEUE} records wait for the audit log {self.path}. Its disk is too slow; ask again later."
                ) from None
        await waiting.future

    def _write(self) -> None:
        """The writer thread: a batch, a commit, the news."""
        while True:
            batch, stopping = self._next_batch()
            if batch:
                self._append(batch)
            if stopping:
                return

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        batch = [first]
        while len(batch) < _BATCH:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _append(self, batch: list[_Waiting]) -> None:
        try:
            self._file.append([waiting.fields for waiting in batch])
        except sqlite3.IntegrityError as error:
            if len(batch) > 1:  # one bad record (an id used twice) must not take its neighbours down
                for waiting in batch:
                    self._append([waiting])
                return
            failure = AuditUnavailable(f"The audit log refused a record: {error}. A request id was used twice.")
        except Exception as error:
            # Whatever it was, the thread must live to try again, and those who wait must hear of it.
            failure = AuditUnavailable(
                f"The audit log {self.path} cannot be written: {error}. Free or mend its disk; it is tried again with "
                "the next request."
            )
        else:
            for waiting in batch:
                waiting.settle(None)
            return
        for waiting in batch:
            waiting.settle(failure)
