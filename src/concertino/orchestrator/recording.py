"""What the audit log is told of a request: one record before the first byte leaves, one when it is over."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

import msgspec

from concertino.audit.log import AuditLog
from concertino.audit.records import Begin, End
from concertino.errors import AuditUnavailable
from concertino.orchestrator.grounding import sources_of
from concertino.orchestrator.run import Run
from concertino.orchestrator.workflow import Workflow
from concertino.types import Decision, Outcome, Principal, Request, Verdict

_PATIENCE_S = 5.0
"""For a disk that does not answer."""
_TRIED_FOR_S = 60.0
"""How long a closing record is kept for a log that cannot be written."""
_PAUSE_S = 1.0
_AT_EXIT_S = 10.0
"""The same, from when the process is to end."""

log = logging.getLogger("concertino.orchestrator")


def content_of(request: Request) -> bytes:
    """All words of a request, as its record has them: `[messages, tools]`, and where it has other fields that hold
    words, a third item with those."""
    others = {
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
        "stop": request.sampling.stop,
        "extra": request.extra,
    }
    given = {name: value for name, value in others.items() if value}
    return msgspec.json.encode([request.messages, request.tools, *([given] if given else [])])


class Recorder:
    """Writes both records. `healthy` is false from a failed write until the next that succeeds.

    A record that was begun is closed, whatever becomes of the request: what is left to write when nobody waits for it
    any more is written in the background, and `close` waits for it.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._log = audit
        self.healthy = True
        self._behind: set[asyncio.Future[None]] = set()
        self._until: float | None = None
        """When the last try is made, once the process is to end."""

    async def begin(
        self,
        request_id: str,
        principal: Principal,
        request: Request,
        decision: Decision | None,
        model_hashes: dict[str, str],
        verdict: Verdict | None = None,
        names: frozenset[str] = frozenset(),
    ) -> None:
        """Returns once the record is durable; whoever called must then call `end`, and before it awaits anything else
        be ready for an exception. When this raises, nothing is left open.

        `names` are those that `model` may have. Raises AuditUnavailable: then nothing may be answered.
        """
        content = content_of(request)
        record = Begin(
            request_id, principal, request.model, content, decision, verdict, model_hashes=model_hashes, names=names
        )
        writing = asyncio.ensure_future(self._log.begin(record))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.shield(writing)
            self.healthy = True
        except AuditUnavailable:
            self.healthy = False
            raise
        except TimeoutError:
            self.healthy = False
            self._in_background(self._end_unanswered(writing, request_id, Outcome.REFUSED, AuditUnavailable.code))
            raise AuditUnavailable(
                f"The disk of the audit log {self._log.path} did not answer within {_PATIENCE_S:g} s. Check the disk."
            ) from None
        except asyncio.CancelledError:
            self._in_background(self._end_unanswered(writing, request_id, Outcome.CANCELLED, None))
            raise

    async def end(
        self, request_id: str, outcome: Outcome, code: str, duration_s: float, run: Run | Workflow | None = None
    ) -> None:
        """How it ended, with what it cost if a run was made.

        Returns once the record is durable, or cannot be written yet: then it is tried again in the background, since
        the answer is given. It is written though the caller is cancelled.
        """
        record = End(request_id, outcome, error_code=code or None, duration_s=duration_s)
        if run is not None:
            answer = run.answer()
            record = End(
                request_id,
                outcome,
                usage=run.usage,
                finish_reason=run.finish_reason,
                error_code=code or None,
                duration_s=duration_s,
                first_token_s=run.first_token_s,
                answered_by=run.answered_by,
                sources=run.sources if isinstance(run, Workflow) else sources_of(run.target),
                parts=answer.parts,
                output=msgspec.json.encode([answer.text, answer.tool_calls]),
            )
        tried = asyncio.Event()
        self._in_background(self._write_end(record, tried))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await tried.wait()

    async def close(self) -> None:
        """Write what waits, for some seconds. The log's own thread is joined, so this is kept off the event loop."""
        self._until = time.monotonic() + _AT_EXIT_S
        if self._behind:
            await asyncio.wait(self._behind, timeout=_AT_EXIT_S + _PATIENCE_S)
        await asyncio.to_thread(self._log.close)
        if self._behind:  # they see that it is closed, and say what is lost
            await asyncio.wait(self._behind, timeout=2 * _PAUSE_S)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _end_unanswered(
        self, writing: "asyncio.Future[None]", request_id: str, outcome: Outcome, code: str | None
    ) -> None:
        """Close a record that was on its way to the disk when its request was given up, if it gets there."""
        with contextlib.suppress(AuditUnavailable):
            await writing
            await self._write_end(End(request_id, outcome, error_code=code), asyncio.Event())

    async def _write_end(self, record: End, tried: asyncio.Event) -> None:
        """Until it is written or the time is up. `tried` is set after the first try."""
        give_up = time.monotonic() + _TRIED_FOR_S
        while True:
            try:
                await self._log.end(record)
                self.healthy = True
                return
            except AuditUnavailable as error:
                self.healthy = False
                if time.monotonic() >= min(give_up, self._until or give_up):
                    log.error("The closing record of request %s was not written: %s", record.id, error.message)
                    return
            finally:
                tried.set()
            await asyncio.sleep(_PAUSE_S)
