"""What callers said of routing decisions: right, wrong, or who should have answered. Never what they asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from sqlalchemy import Engine

_COLUMNS = ("request_id", "tenant", "key_id", "right", "specialist", "created")


class Feedback(Struct, frozen=True):
    """One statement about one request. `specialist` is the right one, where the caller named it."""

    request_id: str
    tenant: str
    key_id: str
    right: bool
    specialist: str | None
    created: float


class FeedbackStore:
    """The table `feedback` of an engine from `open_database`. Rows are added and never changed."""

    def __init__(self, engine: Engine) -> None:
        import sqlalchemy as sa

        self._engine = engine
        self._table = sa.table("feedback", *(sa.column(name) for name in ("seq", *_COLUMNS)))

    def add(self, request_id: str, tenant: str, key_id: str, right: bool, specialist: str | None = None) -> Feedback:
        """Store a statement; it is durable on return."""
        found = Feedback(request_id, tenant, key_id, right, specialist, time.time())
        with self._engine.begin() as connection:
            connection.execute(self._table.insert().values(**{name: getattr(found, name) for name in _COLUMNS}))
        return found

    def latest(self) -> dict[str, Feedback]:
        """The last statement about each request, by request id."""
        with self._engine.connect() as connection:
            rows = connection.execute(self._table.select().order_by(self._table.c.seq)).mappings()
            return {
                row["request_id"]: Feedback(**{**{name: row[name] for name in _COLUMNS}, "right": bool(row["right"])})
                for row in rows
            }
