"""Where a turn falls apart, and where it must not."""

import time

import pytest

from concertino.orchestrator.segments import LONGEST, segment


def texts(turn: str) -> list[str]:
    return [one.text for one in segment(turn).found]


@pytest.mark.parametrize(
    "turn",
    [
        "What is a lien?",
        "Write a React component that:\n- Fetches data\n- Renders a table\n- Handles errors",
        "A man shot a burglar. Which of these is right?\nA. He is liable.\nB. He is not.\nAnswer with the letter.",
        "My card was declined. Can you help me with this?",
        "Find all files that start with app and end with log and have been modified today",
        "Doctor: How are you?\nPatient: Fine.\nDoctor: What brings you here?\nPatient: My knee.\nDoctor: Since when?",
        "Explain this:\n```python\n# What is a lien?\n# How do I treat a burn?\nprint('Write a poem')\n```",
        "Translate this into French:\nWhat is a lien? How do I treat a burn?",
        "Correct the transcription of an excerpt.\nWhat is a lien? How do I treat a burn?",
        'Translate "What is a lien? How do I treat a burn?" into French.',
        "You are given two questions. Are they the same?\nWhat is a lien?\nHow do I treat a burn?",
        "Write a program that does the following:\n1. Read a file\n2. Explain each line",
        "Answer the following question.\nHow do I compare strings in Java?",
        "",
        "???",
    ],
)
def test_one_request_stays_one(turn: str) -> None:
    assert len(segment(turn).found) < 2


@pytest.mark.parametrize(
    ("turn", "parts"),
    [
        ("What is a lien? And also write a function.", ["What is a lien?", "write a function."]),
        ("what is a lien? how do i treat a burn", ["what is a lien?", "how do i treat a burn"]),
        ("Explain what liens are, and then write a poem about it",
         ["Explain what liens are,", "write a poem about it"]),
        ("I owe 20 dollars. How much is that in euros? What is a tort?",
         ["I owe 20 dollars. How much is that in euros?", "What is a tort?"]),
        ("1) what is a tort 2) write a poem now 3) how do I treat a burn",
         ["what is a tort", "write a poem now", "how do I treat a burn"]),
        ("Which is right?\nA. one\nB. two\n\nOne more thing: what is a lien?",
         ["Which is right?\nA. one\nB. two", "what is a lien?"]),
        ("Translate this:\nWho are you? Why?\n\nAnd also, what is a lien?",
         ["Translate this:\nWho are you? Why?", "what is a lien?"]),
        ("Write a function. It should be fast. Then, on another note: what is a lien?",
         ["Write a function. It should be fast.", "what is a lien?"]),
    ],
)  # fmt: skip
def test_each_thing_that_is_asked_is_a_segment_with_what_belongs_to_it(turn: str, parts: list[str]) -> None:
    assert texts(turn) == parts


def test_a_list_of_tasks_is_told_from_a_list_of_requirements() -> None:
    assert segment("Please help me with these:\n1. What is a tort?\n2. Write a short poem.").listed
    assert segment("- What is a tort?\n- How do I treat a burn?").listed
    assert not segment("Write a program that does this:\n1. Read a file\n2. Count its words").listed
    assert (
        segment("I run a bakery in Texas.\n1. What is a tort?\n2. Write a short poem.").lead
        == "I run a bakery in Texas."
    )


def test_what_leans_on_something_before_it_is_told() -> None:
    found = segment(
        "1. Explain what a tort is\n2. Write a poem about rivers\n3. Then summarise both in a sentence"
    ).found
    assert [(one.leans, one.leans_on_all, one.follows) for one in found] == [
        (False, False, False),
        (False, False, False),
        (True, True, True),
    ]
    alone = segment("Is it legal to record calls in Texas? Is it safe to take aspirin daily?").found
    assert [one.leans for one in alone] == [False, False]


@pytest.mark.parametrize(
    "unit", ["what is a lien? ", "- ask? ", "a, then b; ", "1) write x ", "\n\n- ", "the the ", "```\n"]
)
def test_a_hundred_thousand_characters_cost_nothing_and_the_longest_that_is_read_little(unit: str) -> None:
    began = time.process_time()
    assert segment(unit * (100_000 // len(unit))).found == ()
    assert time.process_time() - began < 0.05
    began = time.process_time()
    segment((unit * LONGEST)[:LONGEST])
    assert time.process_time() - began < 1.5


def test_segments_keep_every_word_of_the_turn() -> None:
    turn = "Hello! I rent a flat. My landlord keeps my deposit. What can I do? Also, write a Python function. Thanks."
    found = segment(turn).found
    assert " ".join(turn[one.start : one.end].strip() for one in found) == turn
