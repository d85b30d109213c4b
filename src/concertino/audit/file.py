"""The SQLite file: one append-only table, a hash chain, and the refusal of anything but appending."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concertino.audit.records import GENESIS, canonical, chain
from concertino.whole_file import sync_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('begin', 'end')),
    body BLOB NOT NULL,
    hash BLOB NOT NULL,
    UNIQUE (request_id, kind)
);
CREATE TRIGGER IF NOT EXISTS records_no_update BEFORE UPDATE ON records
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS records_no_delete BEFORE DELETE ON records
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS records_no_replace BEFORE INSERT ON records
    WHEN EXISTS (SELECT 1 FROM records WHERE seq = NEW.seq)
        OR EXISTS (SELECT 1 FROM records WHERE request_id = NEW.request_id AND kind = NEW.kind)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""
"""INSERT OR REPLACE removes rows without asking a trigger for DELETE, unless a pragma of the connection says so."""
_BUSY_S = 2.0
"""How long to wait for another process that is appending."""


class AppendFile:
    """A connection for one writer thread. Every method raises sqlite3.Error or OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = -1

    def append(self, batch: Sequence[dict[str, Any]]) -> None:
        """All records of a batch in one durable transaction, or none. After an error the next call opens anew."""
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            last = connection.execute("SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1").fetchone()
            seq, previous = last or (0, GENESIS)
            for fields in batch:
                seq += 1
                body = canonical({**fields, "seq": seq})
                previous = chain(previous, body)
                connection.execute(
                    "INSERT INTO records (seq, request_id, kind, body, hash) VALUES (?, ?, ?, ?, ?)",
                    (seq, fields["id"], fields["kind"], body, previous),
                )
            connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            connection.execute("ROLLBACK")
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass  # Closing only gives the file back; what was committed is on disk already.

    def _open(self) -> sqlite3.Connection:
        """The connection, made anew when the file was moved away: else records would go to a file nobody can find."""
        if self._connection is not None and self._identity() != self._inode:
            self.close()
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.executescript(_SCHEMA)
                sync_folder(self._path.parent)
                self._inode = self._identity()
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _identity(self) -> int:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return -1
