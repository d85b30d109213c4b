"""Which requests are worth a label, and which have one to learn from."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from concertino.audit.read import Entry
from concertino.config import Settings
from concertino.orchestrator.propose import PERSONAL, Labelled, Labels, Why, export, propose
from concertino.orchestrator.recording import content_of
from concertino.policy import Finding
from concertino.policy.identifiers import IdentifierDetector
from concertino.storage.feedback import Feedback
from concertino.types import Message, Request, Role
from tests.teams import echo_team

CLASSES = ("code", "finance", "legal", "medical", "general")


@pytest.fixture
def labels(team_settings: Callable[..., Settings]) -> Labels:
    """Of a team in which counsel serves what the router calls legal."""
    specialists = [card for card in echo_team()["specialists"] if card["name"] != "legal"]
    counsel = {
        "name": "counsel", "description": "Law.", "backend": "echo", "model": "echo", "domains": ["treaties", "legal"],
    }  # fmt: skip
    return Labels(team_settings(specialists=[*specialists, counsel]), CLASSES)


def entry(name: str, first: float = 0.9, second: float = 0.1, tier: str = "linear", **more: Any) -> Entry:
    """One of a single turn, `text`, or without content."""
    text = more.pop("text", None)
    scores = more.pop("scores", {"counsel": first, "finance": second, "code": 0.0})
    return asked(name, *([text] if text is not None else []), tier=tier, scores=scores, **more)


def asked(name: str, *turns: str, **decision: Any) -> Entry:
    """The audit log's entry of a conversation, with its content where there are turns."""
    told = {"specialist": "counsel", "tier": "linear", "scores": {"counsel": 0.9, "finance": 0.1}} | decision
    begin: dict[str, object] = {"decision": told}
    if turns:
        messages = [{"role": "user", "content": turns[0]}]
        for turn in turns[1:]:
            messages += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": turn}]
        begin["content"] = json.dumps([messages, []])
    return Entry(1, name, begin)


def said(name: str, right: bool, specialist: str | None = None) -> Feedback:
    return Feedback(name, "acme", "ops", right, specialist, 0.0)


def test_a_request_with_a_contract_on_its_answer_is_an_example_as_others_are(labels: Labels) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    request = Request((Message(Role.USER, "What is a lien?"),), response_format=format_)
    decision = {"specialist": "counsel", "tier": "linear", "scores": {}}
    kept = Entry(1, "a", {"decision": decision, "content": content_of(request).decode()})
    assert export([kept], {"a": said("a", True)}, labels).rows == (Labelled("What is a lien?", "legal"),)


def test_corrected_come_first_then_wrong_then_the_closest(labels: Labels) -> None:
    entries = [entry("sure"), entry("close", 0.5, 0.45), entry("wrong", 0.8), entry("named", 0.8)]
    feedback = {"wrong": said("wrong", False), "named": said("named", False, "finance")}
    found = propose(entries, feedback, 10, labels)
    assert [item.id for item in found] == ["named", "wrong", "close", "sure"]
    assert [item.why for item in found] == [Why.CORRECTED, Why.WRONG, Why.UNSURE, Why.UNSURE]
    assert (found[0].label, found[2].second) == ("finance", "finance")


def test_what_was_right_pinned_or_without_a_choice_is_left_out(labels: Labels) -> None:
    entries = [entry("right", 0.5, 0.5), entry("pinned", 0.5, 0.5, "pinned"), Entry(2, "refused", {"decision": None})]
    assert propose(entries, {"right": said("right", True)}, 10, labels) == []


@pytest.mark.parametrize("tier", ["several", "pinned", "policy", "language"])
def test_what_was_judged_is_listed_whoever_chose(labels: Labels, tier: str) -> None:
    (found,) = propose([entry("x", tier=tier, scores={"counsel": 1.0})], {"x": said("x", False)}, 10, labels)
    assert (found.why, found.tier) == (Why.WRONG, tier)


def test_a_choice_of_the_language_model_can_be_unsure(labels: Labels) -> None:
    assert [item.id for item in propose([entry("x", tier="language")], {}, 10, labels)] == ["x"]


def test_a_repeated_text_is_proposed_once_and_a_digest_stays_a_digest(labels: Labels) -> None:
    told = [entry("a", 0.5, 0.4, text="Is it binding?"), entry("b", 0.5, 0.3, text="is it  binding?")]
    entries = [*told, entry("c", 0.5, 0)]
    found = propose(entries, {}, 10, labels)
    assert [(item.id, item.text) for item in found] == [("a", "Is it binding?"), ("c", None)]


DOSE, LOOP = "what is the dose of ibuprofen for a child", "write a bash loop over all files"


def test_follow_ups_of_two_conversations_are_two_requests(labels: Labels) -> None:
    entries = [
        asked("a", DOSE, "Now shorter", earlier=["medical"]), asked("b", LOOP, "Now shorter", earlier=["code"]),
    ]  # fmt: skip
    feedback = {"a": said("a", False, "code"), "b": said("b", False, "finance")}
    assert len(propose(entries, feedback, 10, labels)) == 2
    assert export(entries, feedback, labels).rows == (
        Labelled(f"{DOSE}\nNow shorter", "code"), Labelled(f"{LOOP}\nNow shorter", "finance"),
    )  # fmt: skip


def test_a_later_turn_stands_with_those_on_its_subject(labels: Labels) -> None:
    turns = (DOSE, LOOP, "make it recursive", "How do I open a savings account?")
    earlier = ["medical", "code", "code"]
    entries = [
        asked("kept", *turns[:3], earlier=earlier[:2], specialist="code", domain="code"),
        asked("new", *turns, earlier=earlier),
    ]
    found = export(entries, {"kept": said("kept", True), "new": said("new", False, "finance")}, labels)
    assert found.rows == (Labelled(f"{LOOP}\nmake it recursive", "code"), Labelled(turns[-1], "finance"))


def test_the_label_is_a_domain_that_the_specialist_serves(labels: Labels) -> None:
    entries = [entry("a", text="Is it binding?", domain="treaties"), entry("b", text="Whose rent?", domain="code")]
    found = export(entries, {"a": said("a", True), "b": said("b", True)}, labels)
    assert [row.label for row in found.rows] == ["treaties", "legal"], "the router's own word, else one that it knows"


def test_what_is_the_defaults_for_want_of_another_is_nobodys(team_settings: Callable[..., Settings]) -> None:
    assert Labels(team_settings(), CLASSES).of("general") == "general"
    assert Labels(team_settings(), ("code", "medical")).of("general") == "oos"
    assert Labels(team_settings(), ("code", "medical")).of("legal") == "legal", "a domain to be learned"
    assert Labels(team_settings()).of("general") == "general"
    assert Labels(team_settings()).of("nobody here") is None


def test_what_teaches_nothing_is_counted(labels: Labels) -> None:
    names = ("right", "again", "wrong", "digest", "several", "gone", "emoji", "named")
    texts = dict.fromkeys(names, "Is it binding?") | {"emoji": "\U0001f600", "digest": None, "named": "Sort a list"}
    divided: dict[str, Any] = {"specialist": "several", "tier": "several"}
    entries = [entry(name, text=texts[name], **(divided if name == "several" else {})) for name in names]
    feedback = {name: said(name, True) for name in (*names, "old")}
    feedback |= {
        "wrong": said("wrong", False), "gone": said("gone", False, "x"), "named": said("named", False, "code"),
    }  # fmt: skip
    found = export(entries, feedback, labels)
    assert found.rows == (Labelled("Is it binding?", "legal"), Labelled("Sort a list", "code"))
    assert (found.confirmed, found.corrected) == (1, 1)
    assert found.left_out == {
        "repeat another one": 1,
        "were called wrong, and nobody was named": 1,
        "have no text in the audit log (audit.keep_text)": 1,
        "were divided among several specialists": 1,
        "are of a specialist that is not in the team": 1,
        "have no words": 1,
        "are older than the requests that were looked at (--among)": 1,
    }


def test_what_is_personal_or_health_data_is_exported_only_when_that_is_asked_for(labels: Labels) -> None:
    facts = {"verdict": {"facts": {"health_data": True}}}
    entries = [
        asked("plain", "What is a lien?"),
        asked("mail", "What is a lien, asks jane.roe@example.org"),
        asked("earlier", "My SSN is 078-05-1120", "Is that binding?"),
        asked("health", "And is that serious?", **facts),
    ]
    feedback = {one.id: said(one.id, True) for one in entries}
    found = export(entries, feedback, labels, [IdentifierDetector()])
    assert [row.text for row in found.rows] == ["What is a lien?"]
    assert found.left_out == {PERSONAL: 3}
    assert len(export(entries, feedback, labels).rows) == 4


def test_a_detector_that_fails_clears_no_text(labels: Labels) -> None:
    class Failing(IdentifierDetector):
        def detect(self, text: str) -> list[Finding]:
            raise RuntimeError

    kept = [asked("plain", "What is a lien?")]
    assert export(kept, {"plain": said("plain", True)}, labels, [Failing()]).left_out == {PERSONAL: 1}
