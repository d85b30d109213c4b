"""The question inside a prompt template, and how a router reads it."""

import json
import time

import pytest

from concertino.router.linear import LinearRouter
from concertino.router.wrapping import lone_question, question_in

ASKED = "what are early signs of preeclampsia?"


@pytest.mark.parametrize(
    "wrapped",
    [
        f"Q: Who wrote Hamlet?\nA: Shakespeare.\n\nQ: {ASKED}\nA:",
        f"<rules>Return JSON.</rules>\n<user_query>\n{ASKED}\n</user_query>\n<format>JSON</format>",
        json.dumps({"task": "answer", "style": {"tone": "dry"}, "input": ASKED}),
        json.dumps({"request": {"user": {"id": 7}, "question": ASKED}, "options": {}}),
        f"Context:\n[1] The lessee shall pay. [2] The lessor may inspect.\n\nQuestion: {ASKED}\nAnswer:",
        f"Below is an instruction.\n\n### Instruction:\n{ASKED}\n\n### Response:",
        f"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n",
        f"**Role:** assistant\n**Question:** {ASKED}\n**Tone:** dry",
        f"## User question\n{ASKED}\n\n## Output\n",
    ],
)
def test_the_question_is_found_in_its_wrapping(wrapped: str) -> None:
    assert question_in(wrapped) == ASKED


@pytest.mark.parametrize(
    "text",
    [
        "", "?", ASKED, "{", '{"a": 1}', '{"question": 5}', "<question></question>",
        "Question:\nAnswer:", "why is this JSON invalid?\n\n{\"a\": 1,}", "SELECT * FROM t WHERE question = 'x'",
        "Note: bring milk. Also: eggs", "question " * 30_000,
    ],
)  # fmt: skip
def test_what_is_not_wrapped_is_left_as_it_is(text: str) -> None:
    assert question_in(text) is None


def test_the_one_paragraph_that_asks_is_found() -> None:
    said = "Be brief, be friendly, and use plain words.\n\n"
    assert lone_question(f"{said}{ASKED}\n\nEnd with a closing sentence.") == ASKED
    assert lone_question(f"Hi,\nplease look at this:\n\n> {ASKED}\n\nThanks") == ASKED
    assert lone_question(f"{ASKED}\n\nAnd why?") is None  # two ask
    assert lone_question(ASKED) is None and lone_question(said * 3) is None


def test_a_text_made_to_be_slow_is_not() -> None:
    began = time.monotonic()
    for hostile in ("<question>" * 8_000, "Q: \n" * 30_000, "[INST]" * 20_000, '{"a":' * 20_000, "#" * 100_000):
        question_in(hostile)
        lone_question(hostile)
    assert time.monotonic() - began < 5


@pytest.fixture(scope="module")
def router() -> LinearRouter:
    return LinearRouter()


def named(router: LinearRouter, text: str) -> str | None:
    row = router.probabilities([text])[0]
    return router.domains[int(row.argmax())] if row.max() >= router.threshold else None


def test_a_question_counts_more_than_what_wraps_it(router: LinearRouter) -> None:
    around = "<format>Return a JSON object with the keys answer and confidence.</format>\n<question>{}</question>"
    assert named(router, around.format(ASKED)) == "medical"
    assert named(router, around.format("who won the 1998 world cup?")) == "general"
    assert named(router, around.format("why is my SQL join returning duplicate rows?")) == "code"


def test_one_that_refers_to_its_context_is_read_with_it(router: LinearRouter) -> None:
    context = "Context: [1] The lessee shall indemnify the lessor. [2] This agreement renews each year.\n\nQuestion: {}"
    assert named(router, context.format("does it renew automatically?")) == "legal"
    ill = "I have had a headache for three days and light hurts my eyes.\n\nIs that normal?"
    assert named(router, ill) == "medical"


def test_a_text_scores_the_same_alone_and_in_company(router: LinearRouter) -> None:
    texts = [f"Q: Who wrote Hamlet?\nA: Shakespeare.\n\nQ: {ASKED}\nA:", ASKED, "hello"]
    together = router.probabilities(texts)
    for place, text in enumerate(texts):
        assert (router.probabilities([text])[0] == together[place]).all()
