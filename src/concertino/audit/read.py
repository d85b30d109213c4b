"""Reading the audit log: the last requests, one request, and whether the chain holds. Never writes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from concertino.audit.records import GENESIS, chain
from concertino.errors import AuditUnavailable, InvalidRequest, NotFound


class Entry(Struct, frozen=True):
    """Both halves of one request as they were stored; `end` is None while it runs, or for ever after a crash."""

    seq: int
    id: str
    begin: dict[str, Any]
    end: dict[str, Any] | None = None

    @property
    def outcome(self) -> str:
        return str(self.end["outcome"]) if self.end else "unfinished"


class ChainState(StrEnum):
    INTACT = "intact"
    BROKEN = "broken"


class Verification(Struct, frozen=True):
    """What `verify` found. `head` is the last good hash: compare it with one you noted earlier."""

    state: ChainState
    records: int
    head: str
    unfinished: int = 0
    bad_seq: int | None = None
    reason: str | None = None


class AuditReader:
    """Reads beside any number of writers. Raises NotFound without a log, AuditUnavailable when it is unreadable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tail(self, n: int = 20, *, after: int = 0) -> list[Entry]:
        """The last `n` requests begun after record `after`, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT b.seq, b.request_id, b.body, e.body FROM records b LEFT JOIN records e "
                "ON e.request_id = b.request_id AND e.kind = 'end' WHERE b.kind = 'begin' AND b.seq > ? "
                "ORDER BY b.seq DESC LIMIT ?",
                (after, n),
            ).fetchall()
        return [_entry(*row) for row in reversed(rows)]

    def show(self, request_id: str) -> Entry:
        """One request by its id or a beginning of it that no other shares. Raises NotFound, InvalidRequest."""
        with self._connection() as connection:
            found = connection.execute(
                "SELECT DISTINCT request_id FROM records WHERE kind = 'begin' AND substr(request_id, 1, ?) = ? LIMIT 5",
                (len(request_id), request_id),
            ).fetchall()
            ids = [row[0] for row in found]
            if request_id not in ids and len(ids) != 1:
                if not ids or not request_id:
                    raise NotFound(f"No request {request_id!r} in {self._path}. `concertino audit tail` lists them.")
                raise InvalidRequest(
                    f"{request_id!r} begins several ids: {', '.join(ids)}. Give more of it.", param="id"
                )
            wanted = request_id if request_id in ids else ids[0]
            halves = dict(
                connection.execute("SELECT kind, body FROM records WHERE request_id = ?", (wanted,)).fetchall()
            )
            seq = connection.execute(
                "SELECT seq FROM records WHERE request_id = ? AND kind = 'begin'", (wanted,)
            ).fetchone()[0]
        return _entry(seq, wanted, halves["begin"], halves.get("end"))

    def verify(self) -> Verification:
        """Recompute the whole chain. Detects change, insertion, removal and reordering, but not a cut-off end."""
        previous, expected, open_ids = GENESIS, 0, set[str]()
        try:
            with self._connection() as connection:
                for seq, request_id, kind, body, stored in connection.execute(
                    "SELECT seq, request_id, kind, body, hash FROM records ORDER BY seq"
                ):
                    expected += 1
                    reason = _fault(expected, seq, request_id, kind, body)
                    if reason is None and chain(previous, body) != stored:
                        reason = "its hash does not follow from its bytes and the record before it"
                    if reason:
                        return Verification(
                            ChainState.BROKEN, expected - 1, previous.hex(), len(open_ids), expected, reason
                        )
                    previous = stored
                    (open_ids.add if kind == "begin" else open_ids.discard)(request_id)
        except AuditUnavailable as error:
            return Verification(
                ChainState.BROKEN, expected, previous.hex(), len(open_ids), expected + 1, f"unreadable: {error.message}"
            )
        return Verification(ChainState.INTACT, expected, previous.hex(), len(open_ids))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self._path.exists():
            raise NotFound(f"There is no audit log at {self._path}. It is made with the first request; check --config.")
        uri = self._path.absolute().as_uri()
        try:
            # Without a write-ahead log nobody writes, and `immutable` lets a copy on a read-only disk be read.
            quiet = not self._path.with_name(self._path.name + "-wal").exists()
            with closing(sqlite3.connect(f"{uri}?mode=ro{'&immutable=1' if quiet else ''}", uri=True)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise AuditUnavailable(
                f"The audit log {self._path} cannot be read: {error}. Restore it from a copy."
            ) from error


def _fault(expected: int, seq: int, request_id: Any, kind: Any, body: Any) -> str | None:
    """What is wrong with a record by itself, if anything."""
    if seq != expected:
        return f"record {expected} is missing; the next there is {seq}"
    if not isinstance(body, bytes):  # SQLite lets a column hold anything
        return "its bytes are not a record"
    try:
        fields = msgspec.json.decode(body)
        same = fields["seq"] == seq and fields["id"] == request_id and fields["kind"] == kind
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
        return "its bytes are not a record"
    return None if same else "its columns and its bytes disagree"


def _entry(seq: int, request_id: str, begin: bytes, end: bytes | None) -> Entry:
    try:
        return Entry(seq, request_id, msgspec.json.decode(begin), msgspec.json.decode(end) if end else None)
    except msgspec.DecodeError as error:
        raise AuditUnavailable(
            f"Record {seq} of the audit log is damaged: {error}. `concertino audit verify` says where it begins."
        ) from error
