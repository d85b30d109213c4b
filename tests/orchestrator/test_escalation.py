"""A skill that is not sure enough hands its text to the router's default specialist, once, and says so."""

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from concertino.audit.log import AuditLog
from concertino.audit.read import AuditReader
from concertino.backends.base import BackendContext, Capability, Generation
from concertino.backends.echo import EchoBackend
from concertino.config import Settings
from concertino.errors import BackendError
from concertino.orchestrator.decider import make_decider
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.service import Service
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics
from concertino.types import Chunk, FinishReason, Message, Request, Role, Sampling, TokenLogprob, TopLogprob, Usage
from tests.orchestrator.test_service import HEALTH
from tests.teams import echo_team


class Sure(EchoBackend):
    """An engine that answers `answer`, as sure as it is told to be, and counts what it was asked."""

    def __init__(
        self, answer: str, confidence: float, fails: bool = False, scope: float | None = None, says: bool = True
    ) -> None:
        super().__init__(BackendContext("sure", {}, (), Path))
        self.answer, self.confidence, self.fails, self.scope, self.says = answer, confidence, fails, scope, says
        self.asked: list[Generation] = []

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        self.asked.append(generation)
        if self.fails:
            raise BackendError("broke")
        other = "no" if self.answer == "yes" else "yes"
        top = tuple(TopLogprob(*pair) for pair in ((self.answer, math.log(self.confidence)), (other, -9.0)))
        steps = (TokenLogprob(self.answer, math.log(self.confidence), top),)
        yield Chunk(self.answer, steps, confidence=self.confidence if self.says else None, scope=self.scope)
        yield Chunk(finish_reason=FinishReason.STOP, usage=Usage(10, 1))


Make = Callable[..., Service]


@pytest.fixture
async def make(team_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Service] = []

    def build(legal: Sure, general: EchoBackend, **skill: Any) -> Service:
        raw = echo_team()
        raw["backends"] |= {"legal": {"type": "echo"}, "general": {"type": "echo"}}
        raw["specialists"][0]["backend"] = "general"
        raw["specialists"][2]["backend"] = "legal"
        raw["specialists"][2]["compliance"] = ["on_prem", "phi"]
        raw["specialists"][2]["skills"][0] |= {"threshold": 0.8, "on_low_confidence": "escalate"} | skill
        settings = team_settings(backends=raw["backends"], specialists=raw["specialists"])
        pool = Pool(settings, Path, lambda card: f"sha256:{card.name}")
        for name, backend in (("legal", legal), ("general", general)):
            pool.backends[name] = backend
            pool._specialists[name] = structs.replace(pool.get(name), backend=backend)
        log = AuditLog(tmp_path / "audit.db", key_path=tmp_path / "audit.key")
        made.append(Service(settings, pool, make_decider(settings, pool), Recorder(log), Metrics()))
        return made[-1]

    yield build
    for service in made:
        await service.close()


def asked(text: str = "Smith stands.", **sampling: Any) -> Request:
    return Request((Message(Role.USER, text),), "legal/overruling", sampling=Sampling(**sampling))


async def test_a_calculation_is_done_before_it_is_sent(make: Make) -> None:
    skill: dict[str, Any] = {"labels": [], "threshold": None, "on_low_confidence": "abstain", "calculate": True}
    service = make(Sure("= (3-2)/2*100 percent", 0.9), Sure("no", 0.9), **skill)
    async with service.answering(asked()) as run:
        chunks = [chunk async for chunk in run.chunks()]
    assert "".join(chunk.text for chunk in chunks) == run.answer().text == "50 percent"
    assert chunks[-1].finish_reason is FinishReason.STOP and run.usage == Usage(10, 1)
    plain = make(Sure("= (3-2)/2*100 percent", 0.9), Sure("no", 0.9), **skill | {"calculate": False})
    assert (await plain.answer(asked())).text == "= (3-2)/2*100 percent"


FREE: dict[str, Any] = {"labels": [], "threshold": None, "text_temperature": 2.0}


async def test_a_calculated_answer_keeps_the_confidence_of_what_the_model_wrote(make: Make) -> None:
    service = make(Sure("= (3-2)/2*100 percent", 0.81, says=False), Sure("no", 0.9), **FREE | {"calculate": True})
    answer = await service.answer(asked())
    assert (answer.text, answer.abstained, answer.logprobs) == ("50 percent", False, ())
    assert answer.confidence == pytest.approx(0.9)


async def test_free_text_below_its_threshold_is_escalated_and_calculated_too(make: Make) -> None:
    skill = FREE | {"threshold": 0.95, "calculate": True}
    answer = await make(Sure("1", 0.81, says=False), Sure("= 2+2", 0.5, says=False), **skill).answer(asked())
    assert (answer.text, answer.escalated, answer.confidence) == ("4", "general", None)
    assert "confidence of overruling is 0.90, below 0.95, so general answers" in answer.decision.reason


async def test_a_text_below_the_scope_s_threshold_is_escalated_or_abstained_from(make: Make) -> None:
    limited = FREE | {"scope_threshold": 0.4}
    answer = await make(Sure("yes", 0.81, scope=0.3, says=False), Sure("no", 0.5), **limited).answer(asked())
    assert answer.escalated == "general" and not answer.abstained
    assert "With 0.30 the text is hardly one for overruling, so general answers" in answer.decision.reason
    limited |= {"on_low_confidence": "abstain"}
    answer = await make(Sure("yes", 0.81, scope=0.3, says=False), Sure("no", 0.5), **limited).answer(asked())
    assert (answer.text, answer.abstained, answer.scope) == ("yes", True, 0.3)
    assert answer.confidence == pytest.approx(0.9 * 0.3 / 0.5)
    inside = await make(Sure("yes", 0.81, scope=0.45, says=False), Sure("no", 0.5), **limited).answer(asked())
    assert (inside.abstained, inside.scope) == (False, 0.45)
    unknown = await make(Sure("yes", 0.81, says=False), Sure("no", 0.5), **limited).answer(asked())
    assert unknown.abstained and unknown.scope is None


async def test_a_skill_whose_answers_have_no_confidence_escalates_what_is_out_of_its_scope(make: Make) -> None:
    limited = FREE | {"threshold": None, "text_temperature": None, "scope_threshold": 0.4}
    answer = await make(Sure("yes", 0.81, scope=0.3, says=False), Sure("no", 0.5), **limited).answer(asked())
    assert answer.escalated == "general"
    inside = await make(Sure("yes", 0.81, scope=0.45, says=False), Sure("no", 0.5), **limited).answer(asked())
    assert (inside.escalated, inside.text) == (None, "yes")


async def test_below_the_threshold_the_default_answers_under_the_same_contract(make: Make, tmp_path: Path) -> None:
    general = Sure("no", 0.9)
    answer = await make(Sure("yes", 0.6), general).answer(asked())
    assert (answer.text, answer.specialist, answer.escalated, answer.abstained) == ("no", "general", "general", False)
    assert answer.confidence == pytest.approx(0.9)
    assert "confidence of overruling is 0.60, below 0.80, so general answers" in answer.decision.reason
    assert answer.decision.specialist == "legal"
    assert answer.usage == Usage(20, 2)
    assert general.asked[0].grammar == 'root ::= "yes" | "no"'
    assert general.asked[0].messages[0].text == "Answer yes or no."
    entry = AuditReader(tmp_path / "audit.db").show(answer.id)
    assert entry.begin["model_hashes"] == {"legal": "sha256:legal", "general": "sha256:general"}
    assert entry.end is not None
    assert entry.end["answered_by"] == "general"


async def test_a_sure_answer_is_not_escalated(make: Make) -> None:
    general = Sure("no", 0.9)
    answer = await make(Sure("yes", 0.85), general).answer(asked())
    assert (answer.text, answer.specialist, answer.escalated, answer.abstained) == ("yes", "legal", None, False)
    assert answer.usage == Usage(10, 1)
    assert general.asked == []


async def test_a_stream_holds_the_first_answer_back(make: Make) -> None:
    service = make(Sure("yes", 0.6), Sure("no", 0.9))
    async with service.answering(asked()) as run:
        assert "so general answers" in run.decision.reason  # known before the first byte
        chunks = [chunk async for chunk in run.chunks()]
    assert "".join(chunk.text for chunk in chunks) == "no"


async def test_without_escalation_the_answer_is_marked_abstained(make: Make) -> None:
    general = Sure("no", 0.9)
    answer = await make(Sure("yes", 0.6), general, on_low_confidence="abstain").answer(asked())
    assert (answer.text, answer.specialist, answer.escalated, answer.abstained) == ("yes", "legal", None, True)
    assert general.asked == []


async def test_a_default_that_may_not_see_the_text_is_not_asked(make: Make) -> None:
    general = Sure("no", 0.9)
    answer = await make(Sure("yes", 0.6), general).answer(asked(HEALTH))
    assert (answer.text, answer.escalated, answer.abstained) == ("yes", None, True)
    assert general.asked == []


@pytest.mark.parametrize("why", ["fails", "cannot"])
async def test_a_default_that_cannot_answer_leaves_the_answer_abstained(make: Make, why: str) -> None:
    general = Sure("no", 0.9, fails=why == "fails")
    if why == "cannot":
        general.capabilities = frozenset({Capability.EMBED})
    answer = await make(Sure("yes", 0.6), general).answer(asked())
    assert (answer.text, answer.specialist, answer.escalated, answer.abstained) == ("yes", "legal", None, True)


async def test_it_goes_one_way_and_once(make: Make) -> None:
    legal, general = Sure("yes", 0.6), Sure("no", 0.51)
    answer = await make(legal, general).answer(asked())
    assert (answer.text, answer.abstained) == ("no", False)
    assert (len(legal.asked), len(general.asked)) == (1, 1)


async def test_log_probabilities_are_shown_to_those_who_asked(make: Make) -> None:
    service = make(Sure("yes", 0.9), Sure("no", 0.9))
    for wanted in (False, True):
        async with service.answering(asked(logprobs=wanted, top_logprobs=2 if wanted else 0)) as run:
            chunks = [chunk async for chunk in run.chunks()]
        assert any(chunk.logprobs for chunk in chunks) is wanted
        assert bool(run.answer().logprobs) is wanted
        assert run.answer().confidence == pytest.approx(0.9)


@pytest.mark.parametrize("most", [0, 1, 2])
async def test_as_many_rivals_are_shown_as_were_asked_for(make: Make, most: int) -> None:
    service = make(Sure("yes", 0.9, says=False), Sure("no", 0.9))
    async with service.answering(asked(logprobs=True, top_logprobs=most)) as run:
        chunks = [chunk async for chunk in run.chunks()]
        told = [step for chunk in chunks for step in chunk.logprobs]
    assert [len(step.top) for step in told] == [len(step.top) for step in run.answer().logprobs] == [most]
    assert run.answer().confidence == pytest.approx(0.99986, abs=1e-5)  # by all that the engine listed
