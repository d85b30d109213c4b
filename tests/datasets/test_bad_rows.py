"""Rows that no model should learn from: each is refused or reported, with a count and an example."""

from pathlib import Path
from typing import Any

import pytest

from concertino.datasets import quality
from concertino.errors import DataRefused, RecipeInvalid

from .making import curate, recipe, rows, sentences, write

JSONL = {"path": "a.jsonl"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": "a"}, "field missing"),
        ({"text": None, "label": "a"}, "field missing"),
        ({"text": 7, "label": "a"}, "field not text"),
        ({"text": ["x", 7], "label": "a"}, "field not text"),
        ({"text": "x y"}, "field missing"),
        ({"text": "x y", "label": ""}, "no label"),
        ({"text": "x y", "label": []}, "no label"),
        ({"text": "x y", "label": {"a": 1}}, "label not text"),
        ({"text": "x y", "label": 0.5}, "label not text"),
        ({"text": " \u200b\n", "label": "a"}, "empty text"),
        ({"text": "x", "label": "a"}, "too short"),
        ({"text": "long " * 100, "label": "a"}, "too long"),
        ({"text": "x y", "label": "z"}, "label not in the recipe"),
        ({"text": "12 + 30", "label": "a"}, "no letters"),
        ({"text": "\\o/ <<>> {} -- ;;", "label": "a"}, "mostly symbols"),
        ({"text": "yessssssssssssssssssssss", "label": "a"}, "repeated characters"),
        ({"text": "buy now " * 20, "label": "a"}, "repeated words"),
        ({"text": "buy\nbuy\nbuy\nsell", "label": "a"}, "repeated lines"),
        ({"text": "ab\ufffd\ufffdcd ef", "label": "a"}, "undecodable"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    write(tmp_path, "a.jsonl", [*rows(40), row])
    made = curate(tmp_path, recipe(JSONL, labels=("a", "b"), min_characters=2, max_characters=200))
    assert made.counts.reasons == {reason: 1}
    assert made.removed[0].source == "a.jsonl:41"
    assert len(made.rows()) == 40


def test_a_template_joins_fields_and_lists_and_needs_all_of_them(tmp_path: Path) -> None:
    good = [{"q": row["text"], "c": ["one", "two"], "label": "a"} for row in rows(40)]
    write(tmp_path, "a.jsonl", [*good, {"q": "no contexts", "label": "a"}])
    made = curate(tmp_path, recipe({**JSONL, "text": "{q}\n{c}"}))
    assert all(row.text.endswith("\none two") for row in made.rows())
    assert made.counts.reasons == {"field missing": 1}


def test_labels_of_a_file_with_other_names_become_those_of_the_skill(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(40, ("up", "down", "still")))
    made = curate(tmp_path, recipe({"path": "a.jsonl", "rename": {"up": "good", "down": "up"}}))
    first = {row.text: row.labels for row in made.rows()}
    expected = ("good", "up", "still")
    assert first == {text: (expected[n % 3],) for n, text in enumerate(sentences(40))}
    assert made.dataset.labels == ("good", "still", "up")


def test_a_label_seen_once_is_dropped_and_named(tmp_path: Path) -> None:
    both = {"text": "two of them", "label": ["a", "twice?"]}
    write(tmp_path, "a.jsonl", [*rows(40), {"text": "only me", "label": "once"}, both])
    made = curate(tmp_path, recipe(JSONL))
    assert set(made.dataset.labels) == {"a", "b"}
    assert next(row.labels for row in made.rows() if row.text == both["text"]) == ("a",)
    assert "`once` (1), `twice?` (1)" in made.sheet


@pytest.mark.parametrize("name", ["id", "ID"])
def test_an_id_given_twice_is_made_different_and_reported(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a.jsonl", [{**row, name: n % 20} for n, row in enumerate(rows(40))])
    made = curate(tmp_path, recipe(JSONL))
    assert len({row.id for row in made.rows()}) == 40
    assert "20 rows have an id that an earlier row has" in made.sheet


def test_a_number_for_an_id_is_none_that_another_row_has(tmp_path: Path) -> None:
    for ids in (("7", "7", "7#2"), ("7#2", "7", "7", "7"), ("7#2", "7#2", "7", "7", "7#2#2")):
        write(
            tmp_path, "a.jsonl", [*rows(40), *({**row, "id": ids[n]} for n, row in enumerate(rows(40 + len(ids))[40:]))]
        )
        made = curate(tmp_path, recipe(JSONL), force=True)
        found = {row.id for row in made.rows()}
        assert len(found) == 40 + len(ids)
        assert set(ids) <= found


def test_a_source_without_labels_is_refused_where_labels_are_learnt(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(40))
    write(tmp_path, "b.jsonl", rows(50)[40:])
    with pytest.raises(RecipeInvalid, match=r"data.sources\[1\] \(b.jsonl\) names no label"):
        curate(tmp_path, recipe(JSONL, {"path": "b.jsonl", "label": ""}))
    assert curate(tmp_path, recipe({**JSONL, "label": ""}, free_text=True)).rows()


def test_labels_are_cleaned_as_texts_are_and_spelt_as_the_recipe_does(tmp_path: Path) -> None:
    write(
        tmp_path, "a.jsonl", rows(60, labels=("loans", "loans\u200b", " lo\u00adans\u00a0", "cafe\u0301", "caf\u00e9"))
    )
    assert curate(tmp_path, recipe(JSONL)).dataset.labels == ("caf\u00e9", "loans")
    made = curate(tmp_path, recipe(JSONL, labels=("loans", "cafe\u0301")), force=True)
    assert made.dataset.labels == ("cafe\u0301", "loans")
    renamed = recipe({**JSONL, "rename": {"loans\u200b": "credit"}})
    assert curate(tmp_path, renamed, force=True).dataset.labels == ("caf\u00e9", "credit")


def test_every_label_without_a_training_row_is_named_with_the_key_that_leaves_it_out(tmp_path: Path) -> None:
    few = [{"text": f"{text} and more", "label": f"few {n // 2}"} for n, text in enumerate(sentences(600))]
    write(tmp_path, "a.jsonl", [*rows(100), *few])
    write(tmp_path, "b.jsonl", rows(100))
    made = curate(tmp_path, recipe(JSONL, labels=("a", "b", "ghost", *(f"few {n}" for n in range(300)))))
    taught = {label for row in made.rows("train") for label in row.labels}
    untaught = {f"few {n}" for n in range(300)} - taught
    assert len(untaught) > 20
    (warning,) = (each for each in made.counts.warnings if "no training row" in each)
    assert warning.startswith(f"{len(untaught) + 1} labels have no training row")
    assert all(f"`{label}` (2)" in warning for label in untaught)
    assert "`ghost` (0)" in warning
    assert "data.min_label_rows above 2" in warning
    assert warning in made.sheet
    alone = curate(tmp_path, recipe({**JSONL, "path": "b.jsonl"}, labels=("a", "b", "ghost")), force=True)
    assert any(each.startswith("1 label has no training row") for each in alone.counts.warnings)


def test_empty_and_damaged_files_are_reported_and_the_others_used(tmp_path: Path) -> None:
    write(tmp_path, "in/a.jsonl", rows(40))
    (tmp_path / "in" / "b.jsonl").write_bytes(b"")
    (tmp_path / "in" / "c.pdf").write_bytes(b"%PDF-1.4 junk")
    (tmp_path / "in" / "d.jsonl").write_bytes(b"\x00\x01\x02\n{")
    made = curate(tmp_path, recipe({"path": "in"}))
    assert made.counts.reasons == {"not a JSON object": 2, "empty file": 1, "damaged": 1}
    assert made.counts.steps[0].before == 44
    assert made.counts.steps[0].after == 40


def test_bad_bytes_and_mixed_encodings_are_in_the_data_sheet(tmp_path: Path) -> None:
    lines = [str(row).replace("'", '"').encode() for row in rows(40)]
    lines += [
        '{"text": "the Zürich card", "label": "a"}'.encode(),
        '{"text": "à Genève", "label": "a"}'.encode("latin-1"),
    ]
    lines += [b'{"text": "a somewhat longer text with one \xff bad byte", "label": "b"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    made = curate(tmp_path, recipe(JSONL))
    assert {"the Zürich card", "à Genève"} <= made.texts()
    assert "`a.jsonl` mixes encodings: 1 lines of latin-1, 42 lines of utf-8." in made.sheet
    assert "`a.jsonl` has 1 bytes in no encoding" in made.sheet
    (warning,) = (each for each in made.counts.warnings if "U+FFFD" in each)
    assert warning.startswith("1 byte could not be decoded") and "in `a.jsonl` (1)." in warning


def test_sources_without_a_usable_row_are_refused_with_the_reasons(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", [{"txt": "x"}] * 3)
    with pytest.raises(
        DataRefused, match=r"3 times field missing \(as in a.jsonl:1: field 'text' is missing; there is txt"
    ):
        curate(tmp_path, recipe(JSONL))
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl"}


def test_labels_that_differ_only_in_case_are_pointed_out(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(60, labels=("Yes", "yes", "no")))
    assert "`Yes`, `yes`" in curate(tmp_path, recipe(JSONL)).sheet


@pytest.mark.parametrize(
    "text",
    [
        "Where is my card?",
        "find . -name '*.java' -exec grep -l TODO {} \\;",
        "$RTTR waking up !!!!!!!!!!",
        "Ich möchte kündigen",
        "カードはどこですか",
        "Doctor: Any pain?\nPatient: No.\nDoctor: Fever?\nPatient: No.\nDoctor: Cough?\nPatient: Yes.",
        "== Terms ====================================",
    ],
)
def test_ordinary_texts_are_not_junk(text: str) -> None:
    assert quality.poor(text) is None
