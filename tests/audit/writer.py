"""A process that appends to an audit log and says on stdout what was acknowledged. Run by the crash tests."""

import asyncio
import sys
from pathlib import Path

from concertino.audit import AuditLog, Begin, End
from concertino.errors import AuditUnavailable
from concertino.types import Outcome, Principal


async def one(log: AuditLog, request_id: str) -> None:
    try:
        await log.begin(Begin(request_id, Principal(), "auto", b"hello " * 40))
        print(f"begin {request_id}", flush=True)
        await log.end(End(request_id, Outcome.COMPLETED, output=b"world " * 40))
        print(f"end {request_id}", flush=True)
    except AuditUnavailable as error:
        print(f"refused {request_id} {error.message}", flush=True)


async def main(path: str, prefix: str, count: int, at_once: int) -> None:
    log = AuditLog(Path(path))
    for start in range(0, count, at_once):
        await asyncio.gather(*(one(log, f"{prefix}{number}") for number in range(start, start + at_once)))
    log.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
