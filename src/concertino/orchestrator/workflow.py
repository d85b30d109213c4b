"""Several specialists answering one request: the parts at once, the answer in order, what failed told in it.

A Workflow has the face of a Run, so that the gateway, the audit log and the clients treat both alike.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec import UNSET, Struct

from concertino.config import WorkflowSettings
from concertino.errors import BackendError, BackendTimeout, ConcertinoError
from concertino.orchestrator import costs, workflow_text
from concertino.orchestrator.compound import SEVERAL, given_to
from concertino.orchestrator.costs import Spending
from concertino.orchestrator.grounding import sources_of
from concertino.orchestrator.model_plan import Planned, late
from concertino.orchestrator.part_runs import Answered, PartRuns
from concertino.orchestrator.part_work import PartWork
from concertino.orchestrator.plan_check import PLAN_SHARE
from concertino.orchestrator.run import Run
from concertino.specialists.pool import Pool
from concertino.storage.budgets import Cost
from concertino.types import Answer, Chunk, Decision, FinishReason, Part, PartState, Request, SubTask, Usage

Planner = Callable[[Decision], Awaitable[Planned]]


class _News(Struct, frozen=True):
    """A part has more text, or, with `report`, another state."""

    report: Part | None = None


class Workflow:
    """A compound answer on its way. `open` it, then read `chunks` to the end, and `close` it in any case.

    With `plan` the generalist divides the request anew when the workflow is opened; where it finds one thing in it, the
    answer is one specialist's, without a heading or a note. Parts that do not wait for another
    run at once, `concurrency` of them. When the deadline comes, what is not done is late. Raises the first failure
    where no part has an answer.
    """

    def __init__(
        self,
        id: str,
        request: Request,
        decision: Decision,
        runs: PartRuns,
        settings: WorkflowSettings,
        deadline_s: float,
        plan: Planner | None = None,
    ) -> None:
        self.id = id
        self.request = request
        self.decision = decision
        self.first_token_s: float | None = None
        self.finish_reason: FinishReason | None = None
        self.complete = False
        self.text = ""
        self._runs = runs
        self._settings = settings
        self._plan = plan
        self._extra = Usage()
        """For the plan, and for the composition."""
        self._works: list[PartWork] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._news: asyncio.Queue[_News] = asyncio.Queue()
        self._early: deque[_News] = deque()
        """News from before the first text."""
        self._turn = asyncio.Semaphore(settings.concurrency)
        self._current = 0
        self._started = time.monotonic()
        self._deadline_s = deadline_s
        self._deadline = 0.0

    @property
    def spending(self) -> Spending:
        """What its generations took, those of parts that failed too."""
        return self._runs.spending

    def most(self, pool: Pool) -> Cost:
        """The most that this can take, whoever answers in the end."""
        return costs.most_of_parts(pool, self.request, self.decision, self._settings, self._runs.default)

    def leave_alone(self) -> bool:
        """As a Run has it: nobody can be given up here."""
        return False

    @property
    def answered_by(self) -> str:
        """`several`, and `answer().parts` tells who gave what; or who answers alone."""
        return self._works[0].specialist if self._alone else SEVERAL

    @property
    def _alone(self) -> bool:
        """The plan found one thing in the request."""
        return self.decision.plan is None

    @property
    def usage(self) -> Usage:
        """Of all parts, the plan and the composition."""
        return sum((work.usage for work in self._works), self._extra)

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the passages behind the parts."""
        return tuple(dict.fromkeys(source for work in self._works for source in work.sources))

    @property
    def model_hashes(self) -> dict[str, str]:
        """The weights that may answer, by specialist: with a plan still to be made, those of all who are eligible."""
        plan = self.decision.plan
        names = self.decision.verdict.eligible if self._plan or plan is None else plan.specialists
        return {name: self._runs.pool.get(name).model_hash for name in names}

    @property
    def model_hash(self) -> str:
        """The weights behind the answer: one hash where all parts share them, else a hash of them all."""
        hashes = sorted(set(self.model_hashes.values()))
        return hashes[0] if len(hashes) == 1 else "sha256:" + hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    async def open(self) -> None:
        """Plan, begin, and wait for the first text of any part. Raises the first failure when all parts failed."""
        self._deadline = asyncio.get_running_loop().time() + self._deadline_s
        if self._plan is not None:
            most_s = PLAN_SHARE * self._deadline_s
            try:
                async with asyncio.timeout(most_s):
                    planned = await self._plan(self.decision)
            except TimeoutError:
                planned = late(self.decision, most_s, Usage())
            self.decision, self._extra = planned.decision, planned.usage
        decision, turn = self.decision, self.request.messages[-1].text
        alone = SubTask(1, turn, decision.specialist, (), decision.confidence, decision.reason)
        tasks = decision.plan.tasks if decision.plan else (alone,)
        titles = workflow_text.titles([task.text for task in tasks])
        self._works = [PartWork(task, title) for task, title in zip(tasks, titles, strict=True)]
        self._tasks = [asyncio.ensure_future(self._work(work)) for work in self._works]
        while not any(work.text or work.state is PartState.COMPLETED for work in self._works) and not self._all_over:
            self._early.append(await self._next())
        self._raise_if_nothing_came()

    @property
    def _all_over(self) -> bool:
        return all(work.is_over for work in self._works)

    def _raise_if_nothing_came(self) -> None:
        """What was written when the deadline came is an answer too; what a failure broke off is none."""
        useful = any(
            work.state is PartState.COMPLETED or (work.state is PartState.LATE and work.text) for work in self._works
        )
        if self._all_over and not useful:
            raise next(work.failure for work in self._works if work.failure is not None)

    async def _next(self) -> _News:
        """The next news. A part that ended by a fault of ours ends the whole answer."""
        if not self._news.empty():
            return self._news.get_nowait()
        getting = asyncio.ensure_future(self._news.get())
        try:
            while not getting.done():
                running = [task for task in self._tasks if not task.done()]
                await asyncio.wait({getting, *running}, return_when=asyncio.FIRST_COMPLETED)
                for task in self._tasks:
                    if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                        raise fault
            return getting.result()
        finally:
            getting.cancel()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The answer in the order of its parts, and a chunk with `part` whenever one begins or ends.

        Raises the first failure when every part failed, or broke off.
        """
        async for chunk in self._chunks():
            if chunk.text and self.first_token_s is None:
                self.first_token_s = time.monotonic() - self._started
            self.text += chunk.text
            if chunk.finish_reason is not None:
                self.finish_reason = chunk.finish_reason
            yield chunk
        self.complete = True

    async def _chunks(self) -> AsyncIterator[Chunk]:
        in_parts = self._alone or self._settings.answer == "parts"
        while self._early or not self._news.empty() or not self._all_over:
            news = self._early.popleft() if self._early else await self._next()
            if news.report is not None and not self._alone:
                yield Chunk(part=news.report)
            for text in self._advance() if in_parts else ():
                yield Chunk(text=text)
        self._raise_if_nothing_came()
        if not in_parts:
            async for text in self._composed():
                yield Chunk(text=text)
        if not self._alone:
            yield Chunk(text=self._closing())
        cut = any(work.cut for work in self._works)
        yield Chunk(finish_reason=FinishReason.LENGTH if cut else FinishReason.STOP, usage=self.usage)

    def _advance(self) -> list[str]:
        """What can be sent now: the text of the part whose turn it is, and of those after it that are over."""
        pieces: list[str] = []
        while self._current < len(self._works):
            work = self._works[self._current]
            over = work.is_over
            if not work.headed and not self._alone and (work.text or over):
                work.headed = True
                pieces.append(workflow_text.heading(work.report(), work.title))
            if work.shown < len(work.text):
                pieces.append(work.text[work.shown :])
                work.shown = len(work.text)
            if not over:
                break
            if not self._alone or work.why:
                pieces.append(workflow_text.ending(work.report(), work.text, work.why, cut=work.cut))
            self._current += 1
        return pieces

    async def _composed(self) -> AsyncIterator[str]:
        """One answer by the generalist, and after it each part whose code it lacks; the parts as they are where it may
        not, or cannot, write it."""
        whole = PartWork(SubTask(0, "", SEVERAL))
        self._tasks.append(asyncio.ensure_future(self._compose(whole)))
        while True:
            if whole.shown < len(whole.text):
                fresh, whole.shown = whole.text[whole.shown :], len(whole.text)
                yield fresh
            elif whole.is_over:
                break
            else:
                await self._next()
        if whole.state is PartState.COMPLETED:
            yield "\n\n"
            for work in self._works:
                if workflow_text.lacks_code(whole.text, work.text):
                    report = work.report()
                    yield workflow_text.heading(report, work.title) + work.text
                    yield workflow_text.ending(report, work.text, work.why, cut=work.cut)
            return
        if whole.text:
            yield "\n\n*Broken off; the answers of the parts follow.*\n\n"
        for text in self._advance():
            yield text

    async def _compose(self, whole: PartWork) -> None:
        useful = (PartState.COMPLETED, PartState.LATE)
        given = [Answered(work.task, work.specialist, work.text) for work in self._works if work.state in useful]
        turn = self.request.messages[-1].text
        messages = workflow_text.composition(turn, [(one.task.text, one.text) for one in given])
        try:
            async with asyncio.timeout_at(self._deadline):
                run = await self._runs.composition(messages, given, self._left())
                await self._read(whole, run)
            unusable = run.finish_reason is FinishReason.LENGTH or not whole.text.strip()
            whole.state = PartState.FAILED if unusable else PartState.COMPLETED
        except (ConcertinoError, TimeoutError):
            whole.state = PartState.FAILED  # nothing is lost: the parts are there
        finally:
            self._extra += whole.usage
        self._news.put_nowait(_News())

    def _closing(self) -> str:
        assert self.decision.plan is not None
        reasons = {work.task.id: work.why for work in self._works if work.why}
        reports = [work.report() for work in self._works]
        instead = {work.task.id: work.instead for work in self._works if work.instead}
        return workflow_text.closing(reports, reasons, self.decision.plan.left_out, instead)

    async def _work(self, work: PartWork) -> None:
        """One part, from its turn to its end. What fails is kept with the part; only cancellation leaves."""
        try:
            async with asyncio.timeout_at(self._deadline):
                given = await self._given(work)
                if given is None:
                    return
                async with self._turn:
                    self._tell(work, PartState.RUNNING)
                    await self._answer(work, given)
            self._tell(work, PartState.COMPLETED)
        except TimeoutError:
            self._fail(work, PartState.LATE, self._late())
        except ConcertinoError as error:
            self._fail(work, PartState.FAILED, error)
        finally:
            work.over.set()

    async def _given(self, work: PartWork) -> list[Answered] | None:
        """The answers that a part builds on; None where one is missing."""
        given = []
        for id in work.task.depends_on:
            other = next(other for other in self._works if other.task.id == id)
            await other.over.wait()
            if other.state is not PartState.COMPLETED:
                error = BackendError(f"It builds on part {id}, which has no answer.")
                self._fail(work, PartState.SKIPPED, error)
                return None
            given.append(Answered(other.task, other.specialist, other.text))
        return given

    async def _answer(self, work: PartWork, given: Sequence[Answered]) -> None:
        run = await self._runs.part(work.task, given, self._share())
        work.specialist = run.answered_by
        await self._read(work, run)
        work.cut = run.finish_reason is FinishReason.LENGTH

    async def _read(self, work: PartWork, run: Run) -> None:
        """Everything that a run says, as it comes."""
        try:
            await run.open()
            self._note_who(work, run.decision)
            async for chunk in run.chunks():
                work.text += chunk.text
                if chunk.text:
                    self._news.put_nowait(_News())
        finally:
            try:
                await run.close()
            finally:
                work.usage = run.usage
                work.sources = sources_of(run.target)

    def _note_who(self, work: PartWork, decision: Decision) -> None:
        """Who answers a part; if that is not whom the plan says, the decision tells why, as a Run's does."""
        work.specialist, task = decision.specialist, work.task
        if work.specialist != task.specialist and task.specialist != SEVERAL:
            work.instead = decision.reason.removeprefix(task.reason).strip()
            self.decision = given_to(self.decision, task.id, work.specialist, decision.reason, work.instead)

    def _tell(self, work: PartWork, state: PartState) -> None:
        work.state = state
        self._news.put_nowait(_News(work.report()))

    def _fail(self, work: PartWork, state: PartState, error: ConcertinoError) -> None:
        work.failure, work.why = error, error.message
        self._tell(work, state)

    def _late(self) -> BackendTimeout:
        return BackendTimeout(f"It was not done within the {self._deadline_s:g} s that the whole request has.")

    def _share(self) -> int:
        """Tokens that one part may write; half of all are kept for a composition, which says everything again."""
        shares = len(self._works) * (2 if self._settings.answer == "composed" and not self._alone else 1)
        return max(1, self._most() // shares)

    def _most(self) -> int:
        asked = self.request.sampling.max_tokens
        return self._settings.max_tokens if asked is UNSET else min(asked, self._settings.max_tokens)

    def _left(self) -> int:
        return max(1, self._most() - sum(work.usage.completion_tokens for work in self._works))

    async def close(self) -> None:
        """Stop every part that still runs, and wait until each has let its engine go; none is then left unfinished."""
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for work, task in zip(self._works, self._tasks, strict=False):  # a composition is no part
                work.settle(task)

    def answer(self) -> Answer:
        """The finished answer; call it after `chunks` has ended."""
        return Answer(
            id=self.id,
            text=self.text,
            specialist=self.answered_by,
            decision=self.decision,
            usage=self.usage,
            finish_reason=self.finish_reason or FinishReason.STOP,
            parts=() if self._alone else tuple(work.report() for work in self._works),
        )
