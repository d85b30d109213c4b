"""The generalist is asked in the ways that were promised, and what it writes is read generously."""

import pytest
from msgspec import structs

from concertino.backends.base import Generation
from concertino.datasets.folder import Row
from concertino.evaluation.prompting import (
    CONSTRAINED,
    FEW_SHOT_CONSTRAINED,
    NARROWED,
    ZERO_SHOT,
    ask,
    prompts_for,
)
from concertino.evaluation.running import shortened
from concertino.evaluation.tasks.general import LETTERS, general_rows
from concertino.evaluation.tasks.labels import read_label
from concertino.evaluation.tasks.text import TextTask
from concertino.recipe import Data, Metric, Recipe, Source
from concertino.types import Message, Role

LABELS = ("card_arrival", "card_lost", "top up")
RECIPE = Recipe("finance/intent", "Intents.", "Say the intent.", Data((Source("x.jsonl"),)))
NEIGHBOURS = [Row("1", "nearest", ("card_lost",)), Row("2", "next", ("top up",))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card_lost", "card_lost"),
        (" Card_Lost.\n", "card_lost"),
        ('"card lost"', "card_lost"),
        ("The intent is: card_arrival", "card_arrival"),
        ("card_arrival\nbecause the card has not come", "card_arrival"),
        ("I think the customer wants a top up of the card.", "top up"),
        ("card_lost or card_arrival", None),
        ("No idea.", None),
        ("", None),
    ],
)
def test_a_label_is_read_from_what_was_written_around_it(text: str, expected: str | None) -> None:
    assert read_label(LABELS, text) == expected


def test_a_label_inside_another_does_not_make_two() -> None:
    assert read_label(("yes", "yes and no"), "I say yes and no here") == "yes and no"
    assert read_label(("no", "yes"), "nothing yesterday") is None


def test_more_than_twenty_labels_are_narrowed_down_too() -> None:
    assert NARROWED not in prompts_for(LABELS)
    assert NARROWED in prompts_for([str(number) for number in range(21)])
    assert [prompt.constrained for prompt in prompts_for(())] == [False, False]


def test_the_labels_are_named_even_where_the_recipe_does_not() -> None:
    asked = ask(ZERO_SHOT, RECIPE, LABELS, "m", "text", ())
    assert "card_arrival; card_lost; top up" in asked.generation.messages[0].text
    assert asked.generation.grammar is None
    explicit = structs.replace(RECIPE, instruction="One of {labels}.")
    assert ask(ZERO_SHOT, explicit, LABELS, "m", "text", ()).generation.messages[0].text == (
        "One of card_arrival; card_lost; top up."
    )


def test_examples_stand_before_the_text_with_the_nearest_last() -> None:
    asked = ask(FEW_SHOT_CONSTRAINED, RECIPE, LABELS, "m", "text", NEIGHBOURS)
    assert [message.text for message in asked.generation.messages[1:]] == [
        "next", "top up", "nearest", "card_lost", "text",
    ]  # fmt: skip
    assert asked.choices == LABELS


def test_narrowing_offers_the_neighbours_labels_only() -> None:
    asked = ask(NARROWED, RECIPE, LABELS, "m", "text", NEIGHBOURS)
    assert asked.choices == ("card_lost", "top up")
    assert asked.generation.grammar is not None
    assert "card_arrival" not in asked.generation.grammar


def test_a_prompt_that_is_too_long_loses_examples_first_and_then_the_text_s_middle() -> None:
    generation: Generation | None = ask(
        FEW_SHOT_CONSTRAINED, RECIPE, LABELS, "m", "a" * 500 + "b" * 500, NEIGHBOURS
    ).generation
    lengths = []
    while generation is not None:
        lengths.append((len(generation.messages), len(generation.messages[-1].text)))
        last, generation = generation, shortened(generation)
    assert lengths[:4] == [(6, 1000), (4, 1000), (2, 1000), (2, 505)]
    assert last.messages[-1].text.startswith("aaa")
    assert last.messages[-1].text.endswith("bbb")
    assert shortened(Generation("m", (Message(Role.USER, "short"),))) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ls -l", "ls -l"),
        ("```bash\nls -l\n```", "ls -l"),
        ("$ ls -l", "ls -l"),
        ("`ls -l`", "ls -l"),
        ("Here is the command:\nls -l", None),
        ("", None),
    ],
)
def test_a_command_is_read_from_its_block_and_prose_is_a_format_failure(text: str, expected: str | None) -> None:
    assert TextTask("code/bash", Metric.COMMAND_TEMPLATE).read(Row("1", "t"), text) == expected


def test_the_general_questions_spread_their_answers_over_the_letters() -> None:
    rows = general_rows()
    assert len(rows) == 48
    assert {letter: sum(row.labels == (letter,) for row in rows) for letter in LETTERS} == dict.fromkeys(LETTERS, 12)
    assert CONSTRAINED.constrained
