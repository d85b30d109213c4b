"""Who asked, what was decided, how it ended: an append-only, hash-chained log."""

from concertino.audit.log import AuditLog
from concertino.audit.read import AuditReader, ChainState, Entry, Verification
from concertino.audit.records import Begin, End

__all__ = ["AuditLog", "AuditReader", "Begin", "ChainState", "End", "Entry", "Verification"]
