"""In conversation a specialist answers from its sources, says when there are none, and says when it was not meant."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from concertino.audit.log import AuditLog
from concertino.audit.read import AuditReader
from concertino.backends.echo import EchoBackend
from concertino.config import Settings, build, load
from concertino.errors import ConfigurationError
from concertino.knowledge.index import index_path
from concertino.knowledge.lookup import Found
from concertino.knowledge.passages import Passage
from concertino.knowledge.search import Hit
from concertino.orchestrator.decider import Decider, specialist_facts
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.service import Service
from concertino.policy.rules import Policy
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics
from concertino.types import Message, Ranking, Request, Role
from tests.knowledge.corpus import ALL, GOUT, embed_words, put
from tests.teams import echo_team

QUESTION = "why is my big toe red and swollen?"
ADVICE = "Ask a doctor."


class Fixed:
    """A router that always says the same."""

    def __init__(self, domain: str | None, confidence: float) -> None:
        self.domain, self.confidence = domain, confidence

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        scores = dict.fromkeys(("general", "code", "legal", "finance", "medical"), 0.01)
        return [Ranking(scores, self.confidence, self.domain, "fixed")] * len(conversations)


Make = Callable[..., Service]


@pytest.fixture
async def make(team_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Service] = []

    def service(
        knowledge: str = "required",
        scope: str = "strict",
        domain: str | None = None,
        confidence: float = 0.99,
        **more: Any,
    ) -> Service:
        raw = echo_team(embeddings=[], **more)
        for card in raw["specialists"]:
            card["scope"] = scope
            if card["name"] == "medical":
                card |= {"knowledge": knowledge, "advice": ADVICE}
        settings = team_settings(**raw)
        pool = Pool(settings, Path, lambda card: f"sha256:{card.name}")
        policy = Policy(settings.policy, specialist_facts(pool))
        log = AuditLog(tmp_path / "audit.db", key_path=tmp_path / "audit.key")
        made.append(
            Service(
                settings, pool, Decider(settings, pool, policy, Fixed(domain, confidence)), Recorder(log), Metrics()
            )
        )
        return made[-1]

    yield service
    for one in made:
        await one.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def asked(*texts: str, model: str = "medical", system: str = "", **more: Any) -> Request:
    """User and assistant in turn, the last a user."""
    turns = [Message((Role.USER, Role.ASSISTANT)[place % 2], text) for place, text in enumerate(texts)]
    return Request((*((Message(Role.SYSTEM, system),) if system else ()), *turns), model=model, **more)


async def test_a_required_answer_is_quoted_and_cited_and_no_model_adds_a_word(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    answer = await make().answer(asked(QUESTION))
    quoted = [line[2:] for line in answer.text.splitlines() if line.startswith("> ")]
    assert quoted
    assert all(line.removesuffix(" [1]") in GOUT.text for line in quoted)
    assert "[1] What is (are) Gout ? (https://example.org/gout, health.jsonl line 1)" in answer.text
    assert answer.text.endswith(ADVICE)
    assert QUESTION not in answer.text  # what the echo would have said
    assert answer.usage.total_tokens == 0


async def test_a_required_answer_without_a_source_says_so_and_recalls_nothing(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    answer = await make().answer(asked("can scorpions bite through leather boots?"))
    assert answer.text.startswith("No source on this was found among the files ingested for `medical`")
    assert answer.text.endswith(ADVICE)
    assert "scorpions" not in answer.text


async def test_without_an_index_the_first_answer_says_how_to_make_one(make: Make) -> None:
    service = make()
    first = (await service.answer(asked(QUESTION))).text
    assert "`concertino ingest medical FILES`" in first
    assert first.endswith(QUESTION)
    second = await service.answer(asked(QUESTION, first, "and at night, why is it worse?"))
    assert second.text == "and at night, why is it worse?"


async def test_optional_sources_are_put_before_the_model_and_named_after_it(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    answer = await make("optional").answer(asked(QUESTION))
    body, _, sources = answer.text.rpartition("\n\nSources:\n")
    assert GOUT.text in body  # the echo says what it was asked
    assert body.endswith(f"Question: {QUESTION}")
    assert "https://example.org/gout" in sources


async def test_optional_without_a_source_says_that_it_is_from_memory(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    answer = await make("optional").answer(asked("can scorpions bite through leather boots?"))
    assert "from memory" in answer.text
    assert answer.text.endswith("can scorpions bite through leather boots?")


async def test_where_nothing_is_ingested_optional_sources_change_nothing(make: Make) -> None:
    assert (await make("optional").answer(asked(QUESTION))).text == QUESTION


async def test_off_ignores_the_index(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    assert (await make("off").answer(asked(QUESTION))).text == QUESTION


async def test_the_stream_is_the_answer_in_pieces(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    service = make()
    whole = (await service.answer(asked(QUESTION))).text
    async with service.answering(asked(QUESTION)) as run:
        chunks = [chunk async for chunk in run.chunks()]
    assert "".join(chunk.text for chunk in chunks) == whole
    assert len(chunks) > 10
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert chunks[-1].finish_reason == "stop"


async def test_the_audit_log_has_the_ids_of_the_sources_and_not_their_text(
    make: Make, home: Path, tmp_path: Path
) -> None:
    put(home, "medical", *ALL)
    answer = await make().answer(asked(QUESTION))
    end = AuditReader(tmp_path / "audit.db").show(answer.id).end
    assert end is not None
    assert end["sources"] == [GOUT.id]
    assert "uric" not in str(end)


async def test_a_system_message_of_the_callers_is_obeyed_by_a_model_that_reads_the_sources(
    make: Make, home: Path
) -> None:
    put(home, "medical", *ALL)
    answer = await make().answer(asked(QUESTION, system="Answer in French."))
    assert f"Question: {QUESTION}" in answer.text
    assert "Sources:\n[1] What is (are) Gout ?" in answer.text
    nothing = await make().answer(asked("can scorpions bite through leather boots?", system="Answer in French."))
    assert nothing.text.startswith("No source")


async def test_skills_and_answers_under_a_contract_are_left_alone(make: Make, home: Path) -> None:
    put(home, "legal", *ALL)
    put(home, "medical", *ALL)
    service = make(domain="finance")
    assert (await service.answer(asked(f"{QUESTION} yes", model="legal/overruling"))).text == "yes"
    formatted = asked(QUESTION, response_format={"type": "text"})
    assert "Sources:" in (await make().answer(formatted)).text


async def test_material_is_answered_from_itself(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    note = "gout " * 90
    assert (await make().answer(asked(note))).text == note


async def test_a_follow_up_is_looked_up_with_what_it_is_about(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    answer = await make().answer(asked("What is asthma?", "An illness.", "and how is it treated?"))
    assert "https://example.org/asthma" in answer.text


async def test_a_damaged_index_fails_the_question_and_says_what_to_do(make: Make, home: Path) -> None:
    put(home, "medical", *ALL)
    index_path(home, "medical").write_bytes(b"no")
    with pytest.raises(ConfigurationError, match="--replace"):
        await make().answer(asked(QUESTION))


@pytest.mark.parametrize(("tags", "embedded"), [(["phi"], 1), ([], 0)])
async def test_health_data_reaches_the_embedding_model_only_if_it_is_tagged(
    make: Make, home: Path, monkeypatch: pytest.MonkeyPatch, tags: list[str], embedded: int
) -> None:
    put(home, "medical", *ALL, embed=embed_words)
    texts: list[str] = []

    async def embed(self: EchoBackend, model: str, given: Sequence[str]) -> Any:
        texts.extend(given)
        raise AssertionError

    monkeypatch.setattr(EchoBackend, "embed", embed)
    service = make()
    service.pool.settings = build(
        echo_team(embeddings=[{"model": "words", "backend": "echo", "compliance": tags}]), "a test"
    )
    request = asked("Patient Jane Doe, born 12 March 1961, MRN 4711-0815, was diagnosed with gout. Why?")
    if embedded:
        with pytest.raises(AssertionError):
            await service.answer(request)
    else:
        await service.answer(request)
    assert len(texts) == embedded


PATIENT = Passage(
    "Discharge letter: gout",
    "Jane Doe, born 12 March 1961, MRN 4711-0815, was treated for gout of the big toe, which was red and swollen.",
    "letters.txt",
    "paragraph 1",
)


@pytest.mark.parametrize("system", ["", "Answer in French."])
async def test_a_passage_with_health_data_reaches_no_model_that_is_not_tagged_for_it(
    make: Make, home: Path, tmp_path: Path, system: str
) -> None:
    put(home, "legal", PATIENT, *ALL)
    answer = await make("optional").answer(asked(QUESTION, model="legal", system=system))
    assert GOUT.text in answer.text  # the echo says what it was given
    assert "Jane" not in answer.text
    end = AuditReader(tmp_path / "audit.db").show(answer.id).end
    assert end is not None and end["sources"] == [GOUT.id]


async def test_where_a_model_may_see_no_passage_it_says_so_and_answers_without(make: Make, home: Path) -> None:
    put(home, "legal", PATIENT)
    answer = await make("optional").answer(asked(QUESTION, model="legal"))
    assert answer.text.startswith("Sources on this were found, but `legal` may not see what they say")
    assert answer.text.endswith(f"from memory.\n\n{QUESTION}")


async def test_passages_that_may_all_be_seen_are_read_once_with_the_conversation_and_not_once_each(
    make: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home, "legal", *ALL)
    read: list[int] = []
    evaluate = Policy.evaluate

    async def counted(policy: Policy, request: Request, *more: Any, **named: Any) -> Any:
        read.append(len(request.messages))
        return await evaluate(policy, request, *more, **named)

    monkeypatch.setattr(Policy, "evaluate", counted)
    service = make("optional")
    hits = tuple(Hit(passage, 1.0, 1.0, 1.0) for passage in ALL)
    monkeypatch.setattr("concertino.orchestrator.grounding.look_up", lambda *_: Found(QUESTION, hits))
    await service.answer(asked(QUESTION, model="legal"))
    assert read == [1, 1 + len(ALL)]


async def test_passages_that_are_health_data_only_together_are_not_given_together(make: Make, home: Path) -> None:
    who = Passage("A big toe", "The big toe of Jane Doe, MRN 4711-0815, is red at night.", "a.txt", "")
    put(home, "legal", GOUT, who)
    answer = await make("optional").answer(asked("why is the big toe red at night?", model="legal"))
    assert ("Jane" in answer.text) != (GOUT.text in answer.text)


async def test_a_specialist_that_is_tagged_for_health_data_is_given_passages_that_hold_it(
    make: Make, home: Path
) -> None:
    put(home, "medical", PATIENT)
    assert PATIENT.text in (await make("optional").answer(asked(QUESTION))).text


async def test_a_question_for_another_is_only_told_so(make: Make) -> None:
    answer = await make(domain="finance").answer(asked("how do I open a savings account?", model="legal"))
    assert answer.text == (
        "This looks like a question for `finance`; ask model `finance` or `auto`. Ask `legal` again if you mean it."
    )
    assert answer.specialist == "legal"
    assert answer.decision.referral is not None
    assert "reads like finance (0.99)" in answer.decision.reason


async def test_where_the_router_is_less_sure_it_is_noted_before_the_answer(make: Make) -> None:
    text = "how do I open a savings account?"
    answer = await make(domain="finance", confidence=0.9).answer(asked(text, model="legal"))
    assert answer.text == f"This looks like a question for `finance`; ask model `finance` or `auto`.\n\n{text}"
    noted = await make(domain="finance", scope="note").answer(asked(text, model="legal"))
    assert noted.text == answer.text


NOT_JUDGED: dict[str, dict[str, Any]] = {
    "a follow-up": {"texts": ("what is a tort?", "A wrong.", "how do I open a savings account?")},
    "a short turn": {"texts": ("savings account fees",)},
    "a system message": {"system": "You are a pirate."},
    "a skill": {"model": "legal/overruling", "texts": ("yes how do I open an account",)},
    "the generalist": {"model": "general"},
    "the specialist itself": {"model": "finance"},
}


@pytest.mark.parametrize("case", NOT_JUDGED)
async def test_nobody_is_turned_away_for(make: Make, case: str) -> None:
    given = {"texts": ("how do I open a savings account?",), "model": "legal", **NOT_JUDGED[case]}
    decision = await make(domain="finance").decide(asked(*given.pop("texts"), **given))
    assert decision.referral is None


async def test_nobody_is_referred_where_the_card_says_off_or_the_router_is_unsure(make: Make) -> None:
    request = asked("how do I open a savings account?", model="legal")
    assert (await make(domain="finance", scope="off").decide(request)).referral is None
    assert (await make(domain="finance", confidence=0.7).decide(request)).referral is None
    assert (await make(domain=None).decide(request)).referral is None


async def test_general_questions_need_more_confidence(make: Make) -> None:
    request = asked("what is the capital of France?", model="legal")
    sure, less = (
        await make(domain="general").decide(request),
        await make(domain="general", confidence=0.96).decide(request),
    )
    assert sure.referral is not None
    assert less.referral is not None
    assert (sure.referral.instead, less.referral.instead) == (True, False)


async def test_a_specialist_that_the_caller_may_not_use_is_not_recommended(make: Make) -> None:
    request = asked("how do I open a savings account?", model="legal")
    service = make(domain="finance", policy={"tenants": {"default": ["legal", "general"]}})
    assert (await service.decide(request)).referral is None


def test_the_built_in_medical_specialist_answers_from_sources_only() -> None:
    cards = {card.name: card for card in load().specialists}
    assert cards["medical"].knowledge == "required"
    assert "doctor" in cards["medical"].advice
    assert {name for name, card in cards.items() if card.scope == "strict"} == {"code", "legal", "finance", "medical"}


@pytest.mark.parametrize(("key", "value"), [("knowledge", "always"), ("scope", "maybe")])
def test_a_setting_that_means_nothing_is_refused(key: str, value: str) -> None:
    raw = echo_team()
    raw["specialists"][0][key] = value
    with pytest.raises(ConfigurationError, match=f"specialists.general.{key}"):
        build(raw, "a test")
