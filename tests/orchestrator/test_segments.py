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
        "Forwarded message:\n> What is a lien? And also write a function.\n> Bye\nWhat should I answer her?",
        "Translate this:\n\nWhat is a lien?\n\nAnd also write a Python function that adds.",
        "If I ask a lawyer 'What is a lien? What's a tort?' and a cook 'How do I fry eggs?', what would they say?",
        "If I ask a lawyer ‘What is a lien? What’s a tort?’ and then leave, what would he say?",
        "Make a quiz: 1. What is a tort? 2. What is a vein? 3. What is a stock? Just format it as HTML.",
        "Can you make a quiz:\n1. What is a tort?\n2. What is a vein?",
        "Please translate these questions into Spanish:\n1. What is a tort?\n2. What is a vein?",
        "Grade these answers. Be strict.\n1. What is a tort? A wrong.\n2. What is a vein? A vessel.",
        "I have to translate these for school.\n1. What is a tort?\n2. What is a vein?",
        "Write a script that computes the rate and the risks of a loan",
        "Write a Python script that calculates the rate and a list of errors for it",
        "Write an app that shows prices, dates, and the symptoms of a stroke",
        "What is the difference between a lien, and a definition of a mortgage",
        "Explain how classes work and an example of it",
        "Write a query, plus an explanation of each step",
        "Compare a will and a contract of sale",
        "What are the symptoms of flu and the usual treatment",
        "Write a parser in Python. Also the list of symptoms must be sorted",
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
        ("Translate this:\n```\nWho are you?\n```\n\nAnd also, what is a lien?",
         ["Translate this:\n```\nWho are you?\n```", "what is a lien?"]),
        ("Translate this:\n> Who are you?\n> Also, why?\n\nAnd also, what is a lien?",
         ["Translate this:\n> Who are you?\n> Also, why?", "what is a lien?"]),
        ("I don't know my lawyers' fees. What is a lien? And why don't they tell me?",
         ["I don't know my lawyers' fees. What is a lien?", "why don't they tell me?"]),
        ("Two things: how do I treat a burn, and how do I exit vim?", ["how do I treat a burn,", "how do I exit vim?"]),
        ("What is a lien? By the way, how do I exit vim?", ["What is a lien?", "how do I exit vim?"]),
        ("a) What is a tort? b) How do I treat a burn?", ["What is a tort?", "How do I treat a burn?"]),
        ("Two questions: (a) what is a stroke, (b) what is a tort?", ["what is a stroke,", "what is a tort?"]),
        ("a) What is a tort?\nb) How do I treat a burn?", ["What is a tort?", "How do I treat a burn?"]),
        ("Make a quiz:\n1. What is a tort?\n2. What is a vein?\n\nAlso, how do I exit vim?",
         ["Make a quiz:\n1. What is a tort?\n2. What is a vein?", "how do I exit vim?"]),
        ("Explain how a binary search works and an example clause for a lease.",
         ["Explain how a binary search works", "an example clause for a lease."]),
        ("A bash one-liner to delete empty folders, plus the legal risks of recording calls.",
         ["A bash one-liner to delete empty folders,", "the legal risks of recording calls."]),
        ("Write a function that reverses a string, and a poem for my grandmother.",
         ["Write a function that reverses a string,", "a poem for my grandmother."]),
        ("Show me a type for a user record along with the signs of a stroke.",
         ["Show me a type for a user record", "the signs of a stroke."]),
        ("How do I cancel a transfer? Also a snippet that debounces a function.",
         ["How do I cancel a transfer?", "a snippet that debounces a function."]),
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


@pytest.mark.parametrize(
    "lead",
    [
        "Please answer in German.",
        "Answer in French.",
        "I need you to be formal:",
        "For me, answer each in German:",
        "I run a bakery in Texas.",
    ],
)
def test_what_leads_a_list_and_says_more_than_that_one_follows_is_kept(lead: str) -> None:
    found = segment(f"{lead}\n1. What is a tort?\n2. Write a short poem.")
    assert found.lead == lead
    assert [one.text for one in found.found] == ["What is a tort?", "Write a short poem."]


@pytest.mark.parametrize(
    "lead", ["Please help me with these:", "I have two questions:", "Hello! Can you answer the following?", "Todo:"]
)
def test_what_only_announces_a_list_is_dropped(lead: str) -> None:
    found = segment(f"{lead}\n1. What is a tort?\n2. Write a short poem.")
    assert (found.lead, found.listed, len(found.found)) == ("", True, 2)


def test_an_order_before_a_list_is_not_lost() -> None:
    found = segment("Please write a poem about rain.\n1. What is a tort?\n2. How do I exit vim?")
    assert found.found[0].text == "Please write a poem about rain."
    assert not found.listed


@pytest.mark.parametrize(
    "middle",
    ["Fix this:\n```python\nx = = 1\n```", "Explain this code: x = 1", "What does this do?\n```\nx = 1\n```"],
)
def test_what_brings_its_own_material_leans_on_nothing(middle: str) -> None:
    found = segment(f"1. What is a tort?\n2. {middle}\n3. What is a stock?").found
    assert [one.leans for one in found] == [False, False, False]
    assert segment("1. What is a tort?\n2. Then fix this").found[1].leans


@pytest.mark.parametrize(
    ("last", "leans"),
    [
        ("Tell me which one I should learn first.", True),
        ("Can I take unpaid leave to care for him?", True),
        ("Is she allowed to drive?", True),
        ("What about in Texas?", True),
        ("Please show the formula.", True),
        ("Show me the formula for a circle.", False),
        ("Can my boss fire me if he is angry?", False),
        ("Which one of the planets is largest?", False),
        ("Which one is older, Rome or Athens?", False),
    ],
)
def test_persons_and_results_that_are_named_before_are_leant_on(last: str, leans: bool) -> None:
    assert segment(f"What is a tort? {last}").found[1].leans is leans


@pytest.mark.parametrize(
    ("turn", "context"),
    [
        ("My flat is damp. What is a lien? Can I withhold rent?", "My flat is damp."),
        ("My flat is damp. What is a lien? By the way, how do I exit vim?", ""),
        ("My flat is damp. What is a lien? What is a mortgage?", ""),
        ("My flat is damp. What is a lien? Can I withhold it?", ""),
        ("Tom has a cat. What is a lien? Can I withhold rent?", ""),
        ("Hello there! What is a lien? Can I withhold rent?", ""),
        ("Please answer in German. What is a lien? Write a Python function.", "Please answer in German."),
        ("Answer in German. My flat is damp. What is a lien? One more thing: can I exit vim?", "Answer in German."),
    ],
)
def test_terms_and_the_asker_s_own_case_go_with_later_segments_that_need_them(turn: str, context: str) -> None:
    assert [one.context for one in segment(turn).found] == ["", context]


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
    "unit",
    [
        "what is a lien? ",
        "- ask? ",
        "a, then b; ",
        "1) write x ",
        "\n\n- ",
        "the the ",
        "```\n",
        "and a list of x ",
        "and ",
        "and also ",
        " ",
        "\t",
        "?",
        "please ",
    ],
)
def test_a_hundred_thousand_characters_cost_nothing_and_the_longest_that_is_read_little(unit: str) -> None:
    began = time.process_time()
    assert segment(unit * (100_000 // len(unit))).found == ()
    assert time.process_time() - began < 0.05
    began = time.process_time()
    segment(("Write a poem. " + unit * LONGEST)[:LONGEST])
    assert time.process_time() - began < 1.0


def test_what_segments_are_given_from_before_others_stays_small() -> None:
    found = segment("I am old. " * 200 + "What is my lien? " * 500).found
    assert len(found) == 500
    assert 0 < sum(len(one.context) for one in found) < 24 * 1_000


def test_segments_keep_every_word_of_the_turn() -> None:
    turn = "Hello! I rent a flat. My landlord keeps my deposit. What can I do? Also, write a Python function. Thanks."
    found = segment(turn).found
    assert " ".join(turn[one.start : one.end].strip() for one in found) == turn
