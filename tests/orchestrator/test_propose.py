"""Which requests are worth a label."""

import json

from concertino.audit.read import Entry
from concertino.orchestrator.propose import Why, propose
from concertino.storage.feedback import Feedback


def entry(name: str, first: float, second: float, tier: str = "linear", text: str | None = None) -> Entry:
    scores = {"legal": first, "finance": second, "code": 0.0}
    begin: dict[str, object] = {"decision": {"specialist": "legal", "tier": tier, "scores": scores}}
    if text is not None:
        begin["content"] = json.dumps([[{"role": "user", "content": text}], []])
    return Entry(1, name, begin)


def said(name: str, right: bool, specialist: str | None = None) -> Feedback:
    return Feedback(name, "acme", "ops", right, specialist, 0.0)


def test_corrected_come_first_then_wrong_then_the_closest() -> None:
    entries = [entry("sure", 0.9, 0.1), entry("close", 0.5, 0.45), entry("wrong", 0.8, 0.1), entry("named", 0.8, 0.1)]
    feedback = {"wrong": said("wrong", False), "named": said("named", False, "finance")}
    found = propose(entries, feedback, 10)
    assert [item.id for item in found] == ["named", "wrong", "close", "sure"]
    assert [item.why for item in found] == [Why.CORRECTED, Why.WRONG, Why.UNSURE, Why.UNSURE]
    assert (found[0].label, found[2].second) == ("finance", "finance")


def test_what_was_right_pinned_or_without_a_choice_is_left_out() -> None:
    entries = [entry("right", 0.5, 0.5), entry("pinned", 0.5, 0.5, "pinned"), Entry(2, "refused", {"decision": None})]
    assert propose(entries, {"right": said("right", True)}, 10) == []


def test_a_repeated_text_is_proposed_once_and_a_digest_stays_a_digest() -> None:
    told = [entry("a", 0.5, 0.4, text="Is it binding?"), entry("b", 0.5, 0.3, text="is it  binding?")]
    entries = [*told, entry("c", 0.5, 0)]
    found = propose(entries, {}, 10)
    assert [(item.id, item.text) for item in found] == [("a", "Is it binding?"), ("c", None)]
