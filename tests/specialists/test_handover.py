"""What the next specialist is given of a conversation that others began."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from concertino.config import Settings, SpecialistCard
from concertino.specialists.handover import exchanges, fitting, left_out, marked, shortened
from concertino.specialists.pool import Pool, Target
from concertino.specialists.prompts import generation_for
from concertino.types import FunctionCall, Message, Request, Role, ToolCall


def user(text: str) -> Message:
    return Message(Role.USER, text)


def assistant(text: str) -> Message:
    return Message(Role.ASSISTANT, text)


TALK = (user("A bug."), assistant("Mend it."), user("A lease."), assistant("End it."), user("Why?"))


def card(context_tokens: int = 4096) -> SpecialistCard:
    return SpecialistCard("legal", "Law.", "echo", "echo", context_tokens=context_tokens, max_tokens=100)


def test_answers_of_others_name_who_gave_them_and_own_ones_do_not() -> None:
    texts = [message.text for message in marked(TALK, ("code", "legal"), "legal")]
    assert texts == ["A bug.", "(code:) Mend it.", "A lease.", "End it.", "Why?"]


def test_without_knowledge_of_the_earlier_turns_nothing_is_marked() -> None:
    assert marked(TALK, (), "legal") == TALK


def test_tool_calls_stay_as_they_are() -> None:
    call = Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", FunctionCall("f", "{}")),))
    loop = (user("A bug."), call, Message(Role.TOOL, "done", tool_call_id="1"), assistant("Mended."), user("And now?"))
    assert marked(loop, ("code",), "legal")[:3] == loop[:3]
    assert exchanges(loop) == [[0, 1, 2, 3], [4]]


def long_talk(exchanges: int) -> list[Message]:
    messages = []
    for number in range(exchanges):
        messages += [user(f"Question {number} " + "x" * 100), assistant("y" * 100)]
    return [*messages, user("Why?")]


def test_what_fits_is_left_alone() -> None:
    assert left_out(TALK, card()) == 0
    assert shortened(TALK, 0) == TALK


def test_a_long_history_is_shortened_from_its_beginning_with_a_note() -> None:
    messages = [Message(Role.SYSTEM, "Be brief."), *long_talk(300)]
    gone = left_out(messages, card(1000))
    kept = shortened(messages, gone)
    assert sum(len(message.text) for message in kept) <= 900 * 3
    assert kept[0].text == f"Be brief.\n({gone} earlier exchanges of this conversation left out for length.)"
    assert kept[1].role is Role.USER
    assert kept[-1].text == "Why?"


def as_qwen_counts(messages: Sequence[Message], tokens_per_character: float) -> float:
    """With five tokens of ChatML around a message."""
    return sum(5 + len(message.text) * tokens_per_character for message in messages)


CHINESE = "请解释一下合同中赔偿条款的含义，以及违约责任如何承担。" * 3
DENSE = "x[i]=a[j]*(b&0xff)^(c<<3);for(;;){if(!p->q)break;p=p->n;}++k;"


@pytest.mark.parametrize(
    ("count", "question", "answer", "tokens_per_character"),
    [
        (85, CHINESE[:75], CHINESE[:75], 16 / 27),  # Qwen 2.5 reads 27 characters of it as 16 tokens
        (100, DENSE, DENSE, 35 / 61),  # and 61 of this as 35
        (3000, "ok", "no", 1 / 2),
    ],
    ids=["Chinese", "dense code", "tiny turns"],
)
def test_a_history_that_is_no_english_prose_is_shortened_until_it_fits(
    count: int, question: str, answer: str, tokens_per_character: float
) -> None:
    messages = [turn for _ in range(count) for turn in (user(question), assistant(answer))] + [user("Why?")]
    kept = shortened(messages, left_out(messages, card()))
    assert as_qwen_counts(messages, tokens_per_character) > 4096
    assert as_qwen_counts(kept, tokens_per_character) + 20 <= 4096 - 100
    assert as_qwen_counts(kept, tokens_per_character) > 4096 / 5, "it is no more than it must"


def test_what_tools_take_is_left_free() -> None:
    messages = tuple(long_talk(40))
    tool = {"type": "function", "function": {"name": "f", "description": "word " * 1500}}
    assert fitting(Request(messages), card(4096)) < fitting(Request(messages, tools=(tool,)), card(4096))


def test_the_kept_part_begins_at_the_same_place_for_many_turns() -> None:
    starts = [left_out(long_talk(count), card(1000)) for count in range(60, 120)]
    assert starts == sorted(starts)
    assert len(set(starts)) <= len(starts) / 4


def test_the_last_exchange_always_stays() -> None:
    messages = [*long_talk(3), assistant("z"), user("x" * 100_000)]
    assert left_out(messages, card(1000)) == len(exchanges(messages)) - 1


def test_an_answer_longer_than_the_context_leaves_half_for_the_conversation() -> None:
    assert left_out(long_talk(3), card(1000), max_tokens=100_000) == 0


@pytest.mark.parametrize(("model", "told"), [("auto", "(code:) Mend it."), ("legal", "Mend it.")])
def test_only_auto_changes_what_was_sent(team_settings: Callable[..., Settings], model: str, told: str) -> None:
    pool = Pool(team_settings(), Path, lambda card: "")
    generation = generation_for(Target(pool.get("legal")), Request(TALK, model), ("code", "legal"))
    assert generation.messages[1].text == told
