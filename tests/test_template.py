"""Templates: what a skill reads of a row of fields."""

from pathlib import Path
from typing import Any

import pytest

from concertino.datasets.prepare import Preparer, RawRow
from concertino.errors import RecipeInvalid
from concertino.recipe import load_recipe
from concertino.template import FieldsProblem, fill, names, text_of
from tests.datasets.making import recipe

TABLE = [["", "2019", "2018", ""], ["", "", "", ""], ["Sales", "$ 1,452.4", 56.7, ""], ["Cost", None, 3, ""]]


def test_text_and_lists_stand_where_the_template_names_them() -> None:
    row = {"text": "Is it so?", "contexts": ["Forty mice.", "They ran."], "year": 2019}
    assert fill(row, "{text}\nFound: {contexts}") == "Is it so?\nFound: Forty mice. They ran."
    assert fill(row, "text") == "Is it so?"
    assert names("{text} {contexts} {text}") == ("text", "contexts")


def test_a_table_is_a_row_a_line_without_its_empty_rows_and_columns() -> None:
    assert fill({"table": TABLE}, "{table}") == "|2019|2018\nSales|$ 1,452.4|56.7\nCost||3"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is missing; there is t, text"),
        (3, "is int"),
        ([1], "is list"),
        ([["a", ["b"]]], "a cell of the table 't' is list"),
    ],
)
def test_what_is_no_text_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(FieldsProblem, match="'t'") as caught:
        fill({"text": "a", "t": value}, "{text} {t}")
    assert said in caught.value.because


def test_a_row_with_text_alone_holds_the_whole_text() -> None:
    assert text_of({"text": "Is it so?\nThey ran.", "id": 1}, "{text}\n{contexts}") == "Is it so?\nThey ran."
    assert text_of({"text": "as it stands \n"}, "text") == "as it stands \n"
    assert text_of({"text": "a message"}, "message") == "a message"
    with pytest.raises(FieldsProblem, match="'table' is missing"):
        text_of({"text": "Is it so?", "contexts": ["b"]}, "{text}\n{contexts}\n{table}")


def test_serving_reads_a_row_as_curation_does() -> None:
    row = {"text": "Cafe\u0301 or\u200b not? ", "contexts": ["It was.\r\n\r\n\r\n\r\nIt is."], "label": "yes"}
    template = "{text}\n{contexts}"
    made = recipe({"path": "a", "text": template})
    (prepared,) = Preparer(made).prepare([RawRow(row, 0, "a:1")]).rows
    text = text_of(row, made.card(()).template)
    assert text == "Café or not?\nIt was.\n\nIt is."
    assert f'"text":"{text}"'.replace("\n", "\\n").encode() in prepared.line


def test_a_recipe_with_a_template_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: a/b\ndescription: d\ninstruction: i\ndata: {sources: [{path: a.jsonl, text: '{table:loud}'}]}\n"
    )
    with pytest.raises(RecipeInvalid, match=r"data\.sources\[0\]\.text: '\{table:loud\}'"):
        load_recipe(path)
