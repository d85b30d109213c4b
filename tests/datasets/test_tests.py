"""Rows of programs carry their tests, as they are in the file."""

from pathlib import Path
from typing import Any

from tests.datasets.making import curate, recipe, write

SOURCE = {
    "path": "a.jsonl",
    "text": "prompt",
    "label": "{prompt}{body}",
    "tests": "import program\n{test}\ncheck(program.{name})\n",
}


def problems(**changed: Any) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f'\n\ndef add_{word}(x):\n\t"""Add the length of the word {word} to a number."""\n',
            "body": "\treturn x + len('x')",
            "name": f"add_{word}",
            "test": "\n\nCASES = {1: 2}\n\n\n\n\ndef check(candidate):\n\tassert candidate(1) == 2 \n",
        }
        | changed
        for word in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    ]


def test_tests_and_answers_are_filled_in_from_fields(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", problems())
    made = curate(tmp_path, recipe(SOURCE, free_text=True, near_duplicate=1))
    assert len(made.rows()) == 10
    row = next(row for row in made.rows() if "add_one" in row.text)
    assert row.answer.endswith('number."""\n\treturn x + len(\'x\')')
    assert row.tests.startswith("import program\n\n\nCASES")
    assert "{1: 2}\n\n\n\n\ndef check" in row.tests  # nothing of it is tidied
    assert row.tests.endswith("check(program.add_one)\n")


def test_a_row_whose_tests_are_missing_or_empty_is_removed_and_said(tmp_path: Path) -> None:
    rows = problems()
    del rows[0]["test"]
    rows[1] |= {"test": " \n"}
    write(tmp_path, "a.jsonl", rows)
    made = curate(tmp_path, recipe(SOURCE | {"tests": "test"}, free_text=True, near_duplicate=1))
    assert len(made.rows()) == 8
    assert len(made.because("field missing")) == len(made.because("no tests")) == 1


def test_tests_with_personal_data_are_not_changed_but_left_out(tmp_path: Path) -> None:
    rows = problems()
    rows[0] |= {"test": "def check(candidate):\n    assert candidate('jane.roe@example.com')\n"}
    write(tmp_path, "a.jsonl", rows)
    for policy, left in (("keep", 10), ("scrub", 9), ("drop", 9)):
        made = curate(tmp_path, recipe(SOURCE, free_text=True, near_duplicate=1, personal_data=policy), force=True)
        assert len(made.rows()) == left
        assert not any("[EMAIL]" in row.tests for row in made.rows())
