"""The parts of a compound request as runs of their own: who is asked, with which words, and who may not be any more."""

from collections.abc import Sequence

from msgspec import UNSET, Struct, structs

from concertino.config import Settings
from concertino.errors import PolicyRefused
from concertino.orchestrator.costs import Spending
from concertino.orchestrator.grounding import Grounder
from concertino.orchestrator.plan_check import LONGEST_GIVEN
from concertino.orchestrator.run import Run
from concertino.policy.rules import Policy
from concertino.specialists.pool import Pool, Target
from concertino.types import Decision, Message, Principal, Request, Role, SubTask, Tier, Verdict


class Answered(Struct, frozen=True):
    """A part that has an answer, as later parts and the composed answer are given it."""

    task: SubTask
    specialist: str
    text: str


class PartRuns:
    """Makes the runs of one request's parts. Every one stays within the verdict on the whole request.

    What a part is given from other parts can only narrow it: policy reads those answers together with the request,
    and whoever may not see that is not asked.
    """

    def __init__(
        self,
        id: str,
        request: Request,
        principal: Principal,
        verdict: Verdict,
        pool: Pool,
        policy: Policy,
        grounder: Grounder,
        settings: Settings,
        spending: Spending,
    ) -> None:
        self._id = id
        self._request = request
        self._principal = principal
        self._verdict = verdict
        self.pool = pool
        self._policy = policy
        self._grounder = grounder
        self.default = settings.router.default
        self.spending = spending

    async def part(self, task: SubTask, given: Sequence[Answered], most_tokens: int) -> Run:
        """The run of one part, not yet opened. Raises PolicyRefused where nobody may see what it is given."""
        messages = [*self._request.messages[:-1]]
        for one in given:
            messages += [
                Message(Role.USER, one.task.text),
                Message(Role.ASSISTANT, one.text[:LONGEST_GIVEN]),
            ]
        messages.append(Message(Role.USER, task.text))
        verdict = await self._within(given)
        name, reason = task.specialist, task.reason
        if name not in verdict.eligible:
            if self.default not in verdict.eligible:
                raise self._policy.refuse(verdict) if not verdict.eligible else self._barred(name, verdict)
            reason = f"{reason} {name} may not see what this part builds on, so {self.default} answers.".strip()
            name = self.default
        run = self._run(name, messages, verdict, task.confidence, reason, most_tokens)
        run.target = await self._grounder.ground(run.target, run.request, run.decision, self.pool, self._principal)
        return run

    async def composition(self, messages: Sequence[Message], given: Sequence[Answered], most_tokens: int) -> Run:
        """The run that makes one answer of several. Raises PolicyRefused where the default may not see them."""
        verdict = await self._within(given)
        self._policy.check(verdict, self.default)
        return self._run(self.default, messages, verdict, 1.0, "It composes the answer.", most_tokens)

    async def _within(self, given: Sequence[Answered]) -> Verdict:
        """The verdict on the whole request, without those who may not see the answers that are given."""
        if not given:
            return self._verdict
        seen = structs.replace(
            self._request,
            messages=(*self._request.messages, *(Message(Role.ASSISTANT, one.text) for one in given)),
        )
        verdict = await self._policy.evaluate(seen, self._principal)
        excluded = {**verdict.excluded, **self._verdict.excluded}
        eligible = tuple(name for name in self._verdict.eligible if name not in excluded)
        return Verdict(eligible, excluded, verdict.facts)

    def _barred(self, name: str, verdict: Verdict) -> PolicyRefused:
        why = verdict.excluded.get(name, "")
        return PolicyRefused(f"{name} may not see what this part builds on. {why}".strip())

    def _run(
        self,
        name: str,
        messages: Sequence[Message],
        verdict: Verdict,
        confidence: float,
        reason: str,
        most_tokens: int,
    ) -> Run:
        assert name in self._verdict.eligible, "a part left the verdict on its request"
        card = self.pool.get(name).card
        asked = self._request.sampling.max_tokens
        most = min(most_tokens, card.max_tokens if asked is UNSET else asked)
        sampling = structs.replace(self._request.sampling, max_tokens=most)
        request = structs.replace(self._request, messages=tuple(messages), sampling=sampling)
        decision = Decision(name, confidence, Tier.SEVERAL, reason, None, {name: confidence}, verdict)
        other = self.default in verdict.eligible and self.default != name
        fallbacks = [Target(self.pool.get(self.default))] if other else []
        return Run(self._id, request, decision, Target(self.pool.get(name)), fallbacks, spending=self.spending)
