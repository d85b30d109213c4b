"""What the audit log is told of a request: one record before the first byte leaves, one when it is over."""

import asyncio

import msgspec

from concertino.audit.log import AuditLog
from concertino.audit.records import Begin, End
from concertino.errors import AuditUnavailable
from concertino.orchestrator.grounding import sources_of
from concertino.orchestrator.run import Run
from concertino.orchestrator.workflow import Workflow
from concertino.types import Decision, Outcome, Principal, Request


class Recorder:
    """Writes both records. `healthy` is false from a failed write until the next that succeeds."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self.healthy = True

    async def begin(
        self,
        request_id: str,
        principal: Principal,
        request: Request,
        decision: Decision | None,
        model_hashes: dict[str, str],
    ) -> None:
        """Returns once the record is durable. Raises AuditUnavailable: then nothing may be answered."""
        content = msgspec.json.encode([request.messages, request.tools])
        record = Begin(request_id, principal, request.model, content, decision, model_hashes=model_hashes)
        try:
            await self._log.begin(record)
            self.healthy = True
        except AuditUnavailable:
            self.healthy = False
            raise

    async def end(
        self, request_id: str, outcome: Outcome, code: str, duration_s: float, run: Run | Workflow | None = None
    ) -> None:
        """How it ended, with what it cost if a run was made. Shielded: a cancelled request is recorded too."""
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
        try:
            await asyncio.shield(self._log.end(record))
            self.healthy = True
        except AuditUnavailable:
            self.healthy = False
            raise

    async def close(self) -> None:
        """Write what waits. The log's own thread is joined, so this is kept off the event loop."""
        await asyncio.to_thread(self._log.close)
