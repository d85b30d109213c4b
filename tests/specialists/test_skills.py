"""Skills: the constraint on an answer, and the confidence that its log-probabilities carry."""

import math

import pytest
from msgspec import UNSET

from concertino.backends.base import Capability
from concertino.config import SkillCard, SpecialistCard
from concertino.errors import UnsupportedParameter
from concertino.specialists.skills import (
    confidence_of,
    label_confidence,
    label_grammar,
    skill_generation,
    text_confidence,
)
from concertino.types import TokenLogprob, TopLogprob

CARD = SpecialistCard("legal", "Law.", "local", "base", adapter="a.gguf")
SKILL = SkillCard("overruling", "d", "Answer one of: {labels}.", labels=("yes", "no"))


def step(token: str, **rivals: float) -> TokenLogprob:
    """A token and its rivals, given as probabilities."""
    top = tuple(TopLogprob(name, math.log(p)) for name, p in rivals.items())
    return TokenLogprob(token, math.log(rivals[token]), top)


def test_only_tokens_that_lead_to_a_label_count() -> None:
    # "maybe" is likeliest, but no label begins with it: yes is 0.3 of 0.3 + 0.1.
    assert label_confidence(("yes", "no"), [step("yes", maybe=0.6, yes=0.3, no=0.1)]) == pytest.approx(0.75)


def test_the_confidence_of_a_long_label_is_the_product_of_its_choices() -> None:
    labels = ("card lost", "card late", "fee")
    tokens = [step("card", card=0.5, fee=0.5), step(" lo", **{" lo": 0.2, " la": 0.6, "x": 0.2}), step("st", st=1.0)]
    assert label_confidence(labels, tokens) == pytest.approx(0.5 * 0.25)


def test_a_label_that_is_certain_after_its_first_token_is_not_charged_for_the_rest() -> None:
    labels = ("governing law", "insurance")
    tokens = [step("gov", gov=0.9, ins=0.1), step("erning", erning=0.01, ernor=0.99)]
    assert label_confidence(labels, tokens) == pytest.approx(0.9)


def test_a_label_that_the_model_would_rather_not_say_has_little_confidence() -> None:
    labels = ("payment", "liability", "term")
    rather = {f"word {number}": 0.02 for number in range(39)} | {"This": 0.2, "l": 0.0001}
    top = tuple(TopLogprob(name, math.log(p)) for name, p in rather.items() if name != "l")
    forced = [TokenLogprob("l", math.log(0.0001), top)]
    assert label_confidence(labels, forced) == pytest.approx(0.0001 / (0.0001 + 2 * 0.0001))
    sure = [TokenLogprob("l", math.log(0.0001), (TopLogprob("This", math.log(0.9)), TopLogprob("l", math.log(0.0001))))]
    assert label_confidence(labels, sure) == pytest.approx(1 / 3)
    assert label_confidence(labels, [step("l", l=1.0)]) == 1.0  # nothing is left for the others
    # Where every label is listed nothing is added, and a start that two labels share is listed for both.
    shared = [step("pay", pay=0.6, l=0.3, te=0.1)]
    assert label_confidence((*labels, "payroll"), shared) is not None
    assert label_confidence(labels, shared) == pytest.approx(0.6)


@pytest.mark.parametrize("nothing", [-3.4028234663852886e38, -math.inf, -800.0])
def test_a_label_that_the_model_gives_no_probability_at_all_is_a_guess(nothing: float) -> None:
    forced = [TokenLogprob("yes", nothing, (TopLogprob("perhaps", 0.0),))]
    assert label_confidence(("yes", "no"), forced) == pytest.approx(1.0)
    forced = [TokenLogprob("yes", nothing, (TopLogprob("perhaps", math.log(0.5)),))]
    assert label_confidence(("yes", "no"), forced) == pytest.approx(0.5)
    assert text_confidence(forced) == 0.0


def test_without_log_probabilities_there_is_no_confidence() -> None:
    assert label_confidence(("yes", "no"), []) is None


def test_the_grammar_quotes_what_a_label_may_hold() -> None:
    assert label_grammar(('say "hi"', "a\\b", "two\nlines")) == r'root ::= "say \"hi\"" | "a\\b" | "two\nlines"'


def test_a_skill_is_greedy_constrained_and_uses_the_card_s_adapter() -> None:
    can = frozenset({Capability.GRAMMAR, Capability.LOGPROBS})
    generation = skill_generation(CARD, SKILL, "Smith is overruled.", can)
    assert generation.grammar == 'root ::= "yes" | "no"'
    assert generation.messages[0].text == "Answer one of: yes; no."
    assert generation.messages[1].text == "Smith is overruled."
    assert generation.sampling.temperature == 0.0
    assert generation.sampling.logprobs
    assert generation.adapter == "a.gguf"


def test_an_engine_without_grammars_is_given_a_schema_and_one_without_either_is_refused() -> None:
    by_schema = skill_generation(CARD, SKILL, "x", frozenset({Capability.JSON_SCHEMA}))
    assert by_schema.response_format is not None
    assert by_schema.response_format["json_schema"]["schema"] == {"type": "string", "enum": ["yes", "no"]}
    with pytest.raises(UnsupportedParameter, match="cannot constrain"):
        skill_generation(CARD, SKILL, "x", frozenset())


def test_a_skill_with_beams_is_searched_for_and_refused_where_nobody_can_search() -> None:
    can = frozenset({Capability.BEAMS, Capability.LOGPROBS})
    searched = SkillCard("bash", "d", "Answer.", beams=4, text_temperature=2.0)
    assert skill_generation(CARD, searched, "x", can).beams == 4
    assert skill_generation(CARD, SkillCard("bash", "d", "Answer."), "x", can).beams is UNSET
    with pytest.raises(UnsupportedParameter, match="backend 'local' cannot search"):
        skill_generation(CARD, searched, "x", frozenset({Capability.LOGPROBS}))


def test_the_confidence_of_free_text_is_its_probability_by_its_temperature() -> None:
    tokens = [step("ls", ls=0.5), step(" -l", **{" -l": 0.5})]
    assert text_confidence(tokens) == pytest.approx(0.25)
    free = SkillCard("bash", "d", "Answer.", text_temperature=2.0)
    assert confidence_of(free, tokens) == pytest.approx(0.5)
    assert confidence_of(free, []) is None


@pytest.mark.parametrize(
    ("skill", "asked"),
    [
        (SkillCard("bash", "d", "Answer.", text_temperature=2.0), True),
        (SkillCard("bash", "d", "Answer."), False),
        (SkillCard("bash", "d", "Answer.", json_schema={"type": "object"}, text_temperature=2.0), False),
    ],
)
def test_only_free_text_whose_confidence_was_measured_asks_for_it(skill: SkillCard, asked: bool) -> None:
    can = frozenset({Capability.JSON_SCHEMA, Capability.LOGPROBS})
    sampling = skill_generation(CARD, skill, "x", can).sampling
    assert (sampling.logprobs, sampling.top_logprobs) == (asked, int(asked))  # llama.cpp gives none without a rival
    assert (confidence_of(skill, [step("ls", ls=0.5)]) is not None) is asked
    assert not skill_generation(CARD, skill, "x", can - {Capability.LOGPROBS}).sampling.logprobs
