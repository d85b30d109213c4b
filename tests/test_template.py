"""Templates: what a skill reads of a row of fields."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from concertino.datasets.fields import take
from concertino.datasets.prepare import Preparer, RawRow
from concertino.errors import RecipeInvalid
from concertino.recipe import Source
from concertino.recipe_file import load_recipe
from concertino.template import FieldsProblem, fill, id_in, names, problem_with, text_of
from tests.datasets.making import recipe

TABLE = [["", "2019", "2018", ""], ["", "", "", ""], ["Sales", "$ 1,452.4", 56.7, ""], ["Cost", None, 3, ""]]


def test_text_and_lists_stand_where_the_template_names_them() -> None:
    row = {"text": "Is it so?", "contexts": ["Forty mice.", "They ran."], "year": 2019}
    assert fill(row, "{text}\nFound: {contexts}") == "Is it so?\nFound: Forty mice. They ran."
    assert fill(row, "text") == "Is it so?"
    assert names("{text} {contexts} {text}") == ("text", "contexts")


def test_fields_inside_of_others_are_named_by_the_way_to_them() -> None:
    row = {"ticket": {"body": "Hello.", "a.b": {"c": "deep"}}, "turns": [{"text": "Hi."}, {"text": "Bye."}, {"by": 1}]}
    assert fill(row, "{ticket.body} {turns.1.text}") == "Hello. Bye."
    assert fill(row, "turns.text") == "Hi. Bye." and fill(row, "ticket.a.b.c") == "deep"
    assert fill(row | {"ticket.body": "first"}, "ticket.body") == "first"
    assert take(row, Source("a", "ticket.body", "turns.0.text", group="ticket.a.b.c"), False).labels == ("Hi.",)
    for name in ("ticket.none", "turns.7.text", "turns.none", "ticket.body.more", "none.body", "turns.9"):
        with pytest.raises(FieldsProblem, match="is missing; there is ticket, turns"):
            fill(row, name)
    with pytest.raises(FieldsProblem, match=r"name one inside of it, as ticket\.body"):
        fill(row, "ticket")


def test_a_row_with_a_field_inside_of_another_is_not_taken_for_one_with_the_whole_text() -> None:
    assert text_of({"ticket": {"body": "mine"}, "text": "other"}, "ticket.body") == "mine"
    assert text_of({"text": "whole"}, "ticket.body") == "whole"


def test_a_table_is_a_row_a_line_without_its_empty_rows_and_columns() -> None:
    assert fill({"table": TABLE}, "{table}") == "|2019|2018\nSales|$ 1,452.4|56.7\nCost||3"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is null"),
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
    for row, template in (({"contexts": None}, "{text}\n{contexts}"), ({"ticket": {"body": None}}, "{ticket.body}")):
        with pytest.raises(FieldsProblem):
            text_of({"text": "Is it so?", **row}, template)
    with pytest.raises(FieldsProblem, match="'table' is missing"):
        text_of({"text": "Is it so?", "contexts": ["b"]}, "{text}\n{contexts}\n{table}")


def test_a_field_about_another_is_cut_to_what_shares_words_with_it() -> None:
    row = {
        "text": "What were the costs in 2018?",
        "table": [["", "2019", "2018"], ["Sales", "9", "8"], ["Costs", "7", "6"]],
        "paragraphs": ["All amounts are in thousands.", "We sell boats. Costs fell in 2018."],
    }
    template = "{table:about text 25}\n{paragraphs:about text 25}\n{text}"
    assert names(template) == ("table", "text", "paragraphs")
    assert text_of(row, template) == "|2019|2018\nCosts|7|6\nCosts fell in 2018.\nWhat were the costs in 2018?"
    assert fill(row, "{paragraphs:about text 'thousand' 50}") == "All amounts are in thousands. Costs fell in 2018."
    assert (
        fill(row, "{paragraphs:about text 500}") == "All amounts are in thousands. We sell boats. Costs fell in 2018."
    )


@pytest.mark.parametrize(
    ("answer", "derivation", "written"),
    [
        (["2019", "", " 2018"], "", "2019; 2018 thousand"),
        ("4", "a##b##c##d", "4 thousand"),
        (-12.6, "44.1-56.7", "= 44.1-56.7 thousand"),
        (12.6, "44.1-56.7", "12.6 thousand"),
        (7, None, "7 thousand"),
    ],
)
def test_an_answer_is_written_as_parts_or_as_the_calculation_that_gives_it(
    answer: Any, derivation: str | None, written: str
) -> None:
    row = {"answer": answer, "derivation": derivation, "scale": "thousand"}
    assert fill(row, "{answer:by derivation} {scale}") == written
    assert "=" not in fill(row, "{answer:list}")


def test_answers_are_read_by_a_template_too() -> None:
    row = {"text": "By how much?", "answer": 2, "how": "5-3", "scale": "", "kind": "sum"}
    written = take(row, Source("a", label="{answer:by how} {scale}"), free_text=True)
    assert written.answer == "= 5-3"
    assert take(row, Source("a", label="{kind} of {how}"), free_text=False).labels == ("sum of 5-3",)
    with pytest.raises(FieldsProblem, match="'answer' is dict"):
        take(row | {"answer": {}}, Source("a", label="{answer:list}"), free_text=True)


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


def test_a_recipe_that_teaches_calculations_says_that_they_are_calculated(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    start = "name: a/b\ndescription: d\ninstruction: i\nfree_text: true\ntraining: {engine: causal, base: b}\n"
    text = start + "data: {sources: [{path: a.jsonl, label: '{answer:by how}'}]}\n"
    path.write_text(text)
    with pytest.raises(RecipeInvalid, match=r"calculate: the answers of a\.jsonl may be calculations"):
        load_recipe(path)
    path.write_text(text + "calculate: true\n")
    made = load_recipe(path)
    assert made.card(()).calculate
    path.write_text(start + "data: {sources: [{path: a.jsonl}]}\n")
    assert load_recipe(path).digest != made.digest


@pytest.mark.parametrize("name", ["Subject line", "e-mail", "Betreff (kurz)", "no. 2", "message 💬", "it's", "a.b"])
def test_a_field_of_any_name_stands_where_the_template_names_it(name: str) -> None:
    row = {name: "Lost card", "body": "It is gone.", "related words": "card"}
    assert fill(row, f"{{{name}}}: {{body}}") == "Lost card: It is gone."
    assert names(f"{{{name}}}: {{body}}") == (name, "body")
    assert problem_with(f"{{{name}}}: {{body}}") == ""
    assert fill({**row, "parts": ["a card", "a tree"]}, "{parts:about related words 600}") == "a card a tree"
    assert names("{parts:about related words 'and more' 600}") == ("parts", "related words")


@pytest.mark.parametrize(
    "template", ["{}: {text}", "{ }{text}", "{{text}}", '{"q": "{text}"}', "{text", "text}: {text}", "{text:short}"]
)
def test_braces_that_name_no_field_are_refused(tmp_path: Path, template: str) -> None:
    assert "cannot be read" in problem_with(template)
    with pytest.raises(RecipeInvalid, match="cannot be read"):
        load_source(tmp_path, text=template)


@pytest.mark.parametrize("key", ["text", "label", "tests"])
def test_every_template_of_a_source_is_looked_at(tmp_path: Path, key: str) -> None:
    with pytest.raises(RecipeInvalid, match="cannot be read") as refused:
        load_source(tmp_path, **{key: "{a} {b"})
    assert refused.value.param == f"data.sources[0].{key}"


def load_source(folder: Path, **source: str) -> None:
    plain = {
        "name": "a/b", "description": "d", "instruction": "i", "data": {"sources": [{"path": "a.jsonl", **source}]}
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain), "utf-8")
    load_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"id": 7, "ID": 8}, 7),
        ({"ID": "T-1"}, "T-1"),
        ({"Id": 0}, 0),
        ({"ID": 1, "Id": 2}, None),
        ({"id": None, "ID": 3}, None),
        ({"id": True}, None),
        ({"identity": 3}, None),
    ],
)
def test_a_row_has_the_id_that_it_names_so_however_it_is_written(row: dict[str, Any], found: object) -> None:
    assert id_in(row) == found
