"""A team's examples: what is left out is counted and shown, and the division is the same each time."""

from pathlib import Path

import pytest

from concertino.errors import DataRefused
from concertino.training.routing.examples import (
    FOLDS,
    Example,
    Fields,
    check_labels,
    folds,
    held_out,
    read_examples,
)
from tests.training.routing.own_examples import example_rows, write_rows


def rows_of(count: int, label: str | None = "a") -> list[Example]:
    return [Example(f"{label} text {number}", label, label or "oos", str(number)) for number in range(count)]


def test_what_cannot_be_learned_from_is_counted_and_shown(tmp_path: Path) -> None:
    rows = example_rows()
    bad: list[dict[str, str]] = [
        {"text": "  ", "label": "clinic"},
        {"text": "whose am I", "label": ""},
        {"text": "My KNEE hurts since yesterday!", "label": "clinic"},
        {"text": "a fever clause", "label": "clinic"},
        {"text": "A fever clause?", "label": "contracts"},
    ]
    path = write_rows(tmp_path / "mine.jsonl", rows + bad)
    with path.open("a") as file:
        file.write("{broken\n")
    found = read_examples(path, Fields())
    assert len(found.rows) == len(rows)
    said = [str(trouble) for trouble in found.troubles]
    assert said[0].startswith("1 rows cannot be read: line 102")
    assert said[1:3] == ["1 rows have no text: line 97", "1 rows have no label: line 98 'whose am I'"]
    assert said[3] == (
        "1 texts stand with two labels and are left out: 'a fever clause' is clinic (line 100) and contracts (line 101)"
    )
    assert said[4] == "1 rows repeat an earlier one: line 99 'My KNEE hurts since yesterday!'"


def test_a_csv_with_other_names_is_read_and_nobodys_rows_are_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("q,team,topic\nsort a list,dev,lists\nhello,nobody,\n", "utf-8")
    found = read_examples(path, Fields("q", "team", "topic", "nobody"))
    assert [(row.label, row.fine) for row in found.rows] == [("dev", "lists"), (None, "nobody")]
    assert found.domains == ("dev",)


def test_a_field_that_no_row_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", example_rows())
    with pytest.raises(DataRefused, match=r"no field 'domain'. Its fields: text, label, kind"):
        read_examples(path, Fields(label="domain"))
    with pytest.raises(DataRefused, match="no file"):
        read_examples(tmp_path / "none.jsonl", Fields())
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataRefused, match="no row to learn from"):
        read_examples(tmp_path / "empty.jsonl", Fields())


def test_a_domain_with_too_few_rows_is_named(tmp_path: Path) -> None:
    rows = [*example_rows(), {"text": "cut my hair", "label": "clinik"}]
    with pytest.raises(DataRefused, match="'clinik' has 1"):
        check_labels(read_examples(write_rows(tmp_path / "mine.jsonl", rows), Fields()))
    alone = [row for row in example_rows() if row["label"] in ("clinic", "oos")]
    with pytest.raises(DataRefused, match="a router needs two"):
        check_labels(read_examples(write_rows(tmp_path / "one.jsonl", alone), Fields()))


def test_the_division_is_the_same_in_any_order_and_even_within_each_label() -> None:
    rows = [*rows_of(1000), *rows_of(40, None)]
    kept, test = held_out(rows)
    assert len(test) == 150 + 6
    assert {row.key for row in kept}.isdisjoint(row.key for row in test)
    assert {row.key for row in held_out(rows[::-1])[1]} == {row.key for row in test}
    assert held_out(rows_of(999)) == (rows_of(999), [])
    fold = folds(rows)
    assert [fold[:1000].count(number) for number in range(FOLDS)] == [200] * FOLDS
    assert [fold[1000:].count(number) for number in range(FOLDS)] == [8] * FOLDS
    assert folds(rows[::-1])[::-1] == fold


def test_rows_that_stand_in_the_test_file_too_are_taken_out_of_the_examples(tmp_path: Path) -> None:
    found = read_examples(write_rows(tmp_path / "mine.jsonl", example_rows()), Fields())
    fewer = found.without({found.rows[0].key}, "rows stand in test.jsonl too")
    assert len(fewer.rows) == len(found.rows) - 1
    assert "how do I sort a list in python" in str(fewer.troubles[-1])


def test_a_domain_whose_rows_all_contradict_is_refused_by_name(tmp_path: Path) -> None:
    rows = example_rows()
    rows += [row | {"label": "clinic"} for row in rows if row["label"] == "contracts"]
    found = read_examples(write_rows(tmp_path / "mine.jsonl", rows), Fields())
    assert found.emptied == {"contracts": 24}
    assert "1 domains have no row left: 'contracts' (24 rows)" in map(str, found.troubles)
    with pytest.raises(DataRefused, match=r"none of the rows is left of 'contracts' \(24\).* 24 texts stand with two"):
        check_labels(found)


def test_texts_without_letters_teach_nothing(tmp_path: Path) -> None:
    strange = [{"text": text, "label": "clinic"} for text in ("\U0001f600", "?!", "- -")]
    found = read_examples(write_rows(tmp_path / "mine.jsonl", [*example_rows(), *strange]), Fields())
    assert len(found.rows) == 96
    assert any(str(trouble).startswith("3 rows have no letter or digit") for trouble in found.troubles)
    with pytest.raises(DataRefused, match="3 rows have no letter or digit"):
        read_examples(write_rows(tmp_path / "strange.jsonl", strange), Fields())
