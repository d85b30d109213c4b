"""`concertino new`: fields are found or asked for, choices have reasons, and the recipe can be built."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from concertino.cli import run
from concertino.datasets.survey import is_prose
from concertino.recipe import Engine, Metric, PersonalData, Recipe
from concertino.recipe_file import load_recipe
from tests.datasets.making import rows, sentences, write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(folder: Path, name: str, lines: list[tuple[str, ...]]) -> None:
    (folder / name).write_text("".join(",".join(line) + "\n" for line in lines), "utf-8")


def proposed(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[Recipe, dict[str, Any]]:
    """The recipe that was written for these arguments, and what was printed as JSON."""
    assert run(["new", "team/skill", *more, "--json"]) == 0
    return load_recipe(Path("recipe.yaml")), json.loads(capsys.readouterr().out)


def warned(said: dict[str, Any], of: str) -> bool:
    return any(of in warning for warning in said["warnings"])


def test_a_csv_of_labelled_texts_becomes_a_recipe_that_can_be_curated(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [(str(n), text, ("cards", "loans", "fraud")[n % 3]) for n, text in enumerate(sentences(450))]
    write_csv(here, "tickets.csv", [("number", "request", "desk"), *lines])
    recipe, said = proposed(capsys, "--from", "tickets.csv")
    assert said["fields"] == {"text": "request", "label": "desk"}
    assert recipe.training.engine is Engine.ENCODER and recipe.evaluation.metric is Metric.ACCURACY
    assert said["facts"]["labels"] == {"cards": 150, "loans": 150, "fraud": 150}
    assert all(choice["why"] for choice in said["choices"] if choice["key"] != "name")
    assert said["next"] == "concertino build recipe.yaml"
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "out", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["parts"]["calibration"]["rows"] >= 90 and sorted(manifest["labels"]) == ["cards", "fraud", "loans"]


def test_the_choices_stand_on_the_terminal_and_in_the_file_with_their_reasons(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, "a.jsonl", rows(400))
    assert run(["new", "team/skill", "--from", "a.jsonl", "--out", "mine.yaml"]) == 0
    printed, written = capsys.readouterr().out, (here / "mine.yaml").read_text("utf-8")
    for said in ("are a closed set", "Against learning by heart."):
        assert said in printed and said in written
    assert printed.rstrip().endswith("concertino build mine.yaml")


def test_answers_in_words_of_their_own_become_a_causal_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [{"question": text, "reply": f"Write to a{n}@example.com, {text}"} for n, text in enumerate(sentences(200))]
    write(
        here,
        "a.jsonl",
        [{**each, "question": f"{each['question']} or a{n}@example.com"} for n, each in enumerate(made)],
    )
    recipe, said = proposed(capsys, "--from", "a.jsonl", "--label", "reply")
    assert said["fields"]["text"] == "question"
    assert recipe.free_text and recipe.training.engine is Engine.CAUSAL and recipe.evaluation.metric is Metric.TOKEN_F1
    assert recipe.data.personal_data is PersonalData.SCRUB and warned(said, "Personal data was found")
    assert recipe.training.max_tokens > recipe.max_tokens >= said["facts"]["answer_tokens"]


def test_uneven_labels_are_judged_each_alike(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(500, ["common"] * 9 + ["rare"]))
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    assert not warned(said, "Too few rows to test on")
    assert recipe.training.patience == 3
    assert recipe.evaluation.metric is Metric.MACRO_F1 and recipe.training.class_balance == 0.5


def test_a_full_disk_leaves_no_draft_behind(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text.encode(encoding)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    write(here, "a.jsonl", rows(200))
    monkeypatch.setattr(Path, "write_text", full)
    assert run(["new", "a/b", "--from", "a.jsonl"]) == 3
    assert "recipe.yaml cannot be written: No space left" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["a.jsonl"]


def test_where_a_template_belongs_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(200))
    assert run(["new", "a/b", "--from", "a.jsonl", "--text", "{title} {text}"]) != 0
    assert "is written into the recipe, as data.sources[0].text" in capsys.readouterr().err


def test_a_rare_label_that_next_to_no_rows_test_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(2000, ["common"] * 99 + ["rare"]))
    _, said = proposed(capsys, "--from", "a.jsonl")
    assert warned(said, "Too few rows to test on: rare (about 2).")


def test_what_is_wrong_with_the_rows_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = rows(40)
    again = [
        *few,
        *few,
        *few,
        {**few[0], "label": "b"},
        {"text": "alone in the world", "label": "single"},
        {"text": "bare"},
    ]
    write(here, "a.jsonl", again)
    _, said = proposed(capsys, "--from", "a.jsonl")
    assert warned(said, "40 different rows are few")
    assert warned(said, "Seen once, copies and contradictions aside, and dropped by curation: single")
    assert warned(said, "of the rows repeat a text")
    assert warned(said, "stands with other labels elsewhere")
    assert warned(said, "1 of 123 rows lack")


def test_the_length_of_texts_decides_what_is_read_of_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", [{**row, "text": row["text"] * 20} for row in rows(150)])
    recipe, _ = proposed(capsys, "--from", "a.jsonl")
    assert recipe.training.max_tokens > 100


REFUSED = {
    "running text": ("a.txt", "Cards are blocked at once.\n\nLoans take a week.\n", "no labels to learn"),
    "one label": (
        "a.jsonl",
        '{"text": "one thing", "label": "a"}\n{"text": "other thing", "label": "a"}\n',
        "nothing to tell",
    ),
    "several labels": (
        "a.jsonl",
        "".join(f'{{"text": "thing {n // 2}", "label": "{"ab"[n % 2]}"}}\n' for n in range(40)),
        "stands with several values of 'label'",
    ),
    "no rows": ("a.csv", "text,label\n", "no row that can be read"),
    "kind": ("a.xlsx", "x", "no kind that can be read"),
    "a list": ("a.json", "[]", "Save it as CSV or JSON lines, as with `jq -c '.[]' a.json > a.jsonl`."),
    "a list in lines": ("a.jsonl", '[{"text": "x", "label": "y"}]', "becomes a line for each by `jq -c '.[]'`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_nothing_can_be_learnt_from_are_refused_with_the_reason(
    here: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    name, content, reason = REFUSED[case]
    (here / name).write_text(content)
    assert run(["new", "team/skill", "--from", name]) == 1
    assert reason in capsys.readouterr().err
    assert not (here / "recipe.yaml").exists()


def test_numbers_are_not_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", [{"text": text, "price": 1.5 * n} for n, text in enumerate(sentences(60))])
    assert run(["new", "team/skill", "--from", "a.jsonl", "--label", "price"]) == 1
    assert "cannot predict a number" in capsys.readouterr().err


def test_where_the_fields_are_not_clear_the_candidates_are_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [{"subject": f"About {text}", "letter": f"Dear all, {text}", "desk": "ab"[n % 2], "city": "xy"[n % 2]}
            for n, text in enumerate(sentences(60))]  # fmt: skip
    write(here, "a.jsonl", made)
    assert run(["new", "team/skill", "--from", "a.jsonl"]) == 1
    said = capsys.readouterr().err
    assert "subject (60 values" in said and "letter (60 values" in said and "--text" in said
    assert run(["new", "team/skill", "--from", "a.jsonl", "--text", "letter"]) == 1
    said = capsys.readouterr().err
    assert "desk (2 values" in said and "city (2 values" in said and "--label" in said
    assert run(["new", "team/skill", "--from", "a.jsonl", "--text", "letter", "--label", "dsk"]) == 1
    assert "no field 'dsk'. Its fields: subject, letter, desk, city" in capsys.readouterr().err


def test_at_a_terminal_the_fields_are_asked_for(here: Path) -> None:
    write(here, "a.jsonl", [{"subject": f"About {text}", "letter": f"Dear all, {text}", "desk": "ab"[n % 2]}
                            for n, text in enumerate(sentences(60))])  # fmt: skip
    ours, theirs = os.openpty()
    os.write(ours, b"letter\n")
    command = [sys.executable, "-m", "concertino", "new", "team/skill", "--from", "a.jsonl"]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "Which field is the text?" in done.stderr and "subject (60 values" in done.stderr
    assert load_recipe(here / "recipe.yaml").data.sources[0].text == "letter"


def test_a_recipe_that_is_there_is_replaced_only_when_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(120))
    (here / "recipe.yaml").write_text("mine")
    assert run(["new", "team/skill", "--from", "a.jsonl"]) == 3
    assert "--yes" in capsys.readouterr().err and (here / "recipe.yaml").read_text() == "mine"
    assert run(["new", "team/skill", "--from", "a.jsonl", "--yes"]) == 0
    assert load_recipe(here / "recipe.yaml").name == "team/skill"
    assert [path.name for path in here.glob(".*")] == []


def test_a_file_elsewhere_is_named_by_the_data_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "far/a.jsonl", rows(120))
    recipe, _ = proposed(capsys, "--from", "far/a.jsonl")
    assert recipe.data.sources[0].path == "far/a.jsonl"
    (here / "recipes").mkdir()
    assert run(["new", "team/skill", "--from", "far/a.jsonl", "--out", "recipes/r.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["next"] == "concertino build recipes/r.yaml --data-dir far"


def test_names_of_fields_and_labels_may_be_anything(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ['say "yes": #1', "no", "1"]
    write(here, "a.jsonl", [{"my: text": row["text"], "the - label": row["label"]} for row in rows(150, labels)])
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    assert (recipe.data.sources[0].text, recipe.data.sources[0].label) == ("my: text", "the - label")
    assert set(said["facts"]["labels"]) == set(labels)


def test_a_name_that_is_no_skill_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(20))
    assert run(["new", "Skill", "--from", "a.jsonl"]) == 3
    assert "specialist/skill" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tickets [1].csv", "a😀.csv", "my file (1).csv", "it's #1.csv"])
def test_a_file_of_any_name_becomes_a_recipe_that_can_be_curated(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lines = [(text, "ab"[n % 2]) for n, text in enumerate(sentences(150))]
    write_csv(here, name, [("message 💬", "label"), *lines])
    recipe, _ = proposed(capsys, "--from", name, "--text", "message 💬")
    assert (recipe.data.sources[0].path, recipe.data.sources[0].text) == (name, "message 💬")
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "out"]) == 0


@pytest.mark.parametrize("label", ["other\u2028x: [", "oth\x07er", "a\u0085b: {", "\ufeffa", "a\nb: ["])
def test_labels_with_signs_that_end_lines_or_are_none_stay_in_their_comment(
    here: Path, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    write(here, "a.jsonl", rows(160, [label] * 8 + ["b"]))
    recipe, _ = proposed(capsys, "--from", "a.jsonl")
    assert recipe.evaluation.metric is Metric.MACRO_F1
    assert all(line.isprintable() for line in (here / "recipe.yaml").read_text("utf-8").split("\n"))


def test_why_no_row_can_be_used_is_told_by_the_first_of_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", [{"text": row["text"], "label": [[row["label"]]]} for row in rows(60)])
    assert run(["new", "team/skill", "--from", "a.jsonl"]) == 1
    assert "field 'label' has list, where labels are text" in capsys.readouterr().err


def test_a_field_with_a_brace_in_its_name_is_refused_in_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", [{"text {en}": row["text"], "label": row["label"]} for row in rows(60)])
    assert run(["new", "team/skill", "--from", "a.jsonl", "--text", "text {en}"]) == 1
    said = capsys.readouterr().err
    assert "'text {en}' has a brace in its name" in said and "Rename" in said


def test_the_examples_are_never_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(120))
    before = (here / "a.jsonl").read_text()
    (here / "link.yaml").symlink_to("a.jsonl")
    for out in ("a.jsonl", "./a.jsonl", "link.yaml"):
        assert run(["new", "team/skill", "--from", "a.jsonl", "--out", out, "--yes"]) == 3
        assert "is the file of examples" in capsys.readouterr().err
    assert (here / "a.jsonl").read_text() == before


def test_a_recipe_that_cannot_be_written_is_told_in_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(120))
    (here / "sub").mkdir()
    assert run(["new", "team/skill", "--from", "a.jsonl", "--out", "sub", "--yes"]) == 3
    assert "sub is a folder; name the recipe's file, as sub/recipe.yaml" in capsys.readouterr().err
    for out in ("a.jsonl/recipe.yaml", f"{'a' * 300}.yaml"):
        assert run(["new", "team/skill", "--from", "a.jsonl", "--out", out]) == 3
        assert "cannot be written" in capsys.readouterr().err
    assert run(["new", "team/skill", "--from", f"{'a' * 300}.csv"]) == 1
    assert "too long" in capsys.readouterr().err


def test_labels_with_few_rows_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [*["a", "b"] * 60, *["rare"] * 9, *["rarer"] * 2, *["enough"] * 10]
    write(here, "a.jsonl", rows(len(labels), labels))
    _, said = proposed(capsys, "--from", "a.jsonl")
    assert warned(said, "Fewer than 10 rows: rare (9), rarer (2).")
    assert not warned(said, "enough")


def test_labels_that_the_training_part_may_lack_are_left_out_and_the_reason_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [*["a", "b"] * 60, *["rare"] * 5, *["rarer"] * 2, "once"]
    write(here, "a.jsonl", rows(len(labels), labels))
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    (choice,) = (choice for choice in said["choices"] if choice["key"] == "data.min_label_rows")
    assert recipe.data.min_label_rows == 5 and choice["why"].startswith("rarer is left out: ")
    assert recipe.description == "Which label fits a text, among 3."
    write(here, "b.jsonl", rows(12, [*"aaabbbcccddd"]))
    recipe, _ = proposed(capsys, "--from", "b.jsonl", "--yes")
    assert recipe.data.min_label_rows == 2, "where all labels are that rare, none is left out"


def test_labels_that_differ_only_in_case_or_blanks_become_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = rows(120, ["Loss of use", "cards"])
    made[4] = made[0] | {"label": "loss  of Use"}  # the same text under another spelling contradicts nothing
    made[8]["label"] = "LOSS OF USE"
    write(here, "a.jsonl", made)
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    assert recipe.data.sources[0].rename == {"loss  of Use": "Loss of use", "LOSS OF USE": "Loss of use"}
    assert said["facts"]["labels"] == {"Loss of use": 60, "cards": 60} and not said["facts"]["contradictory"]
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "out", "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["labels"]) == ["Loss of use", "cards"]


def test_fields_inside_of_others_are_found_and_become_a_recipe_that_can_be_curated(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [
        {"ticket": {"id": n, "Channel": "web"}, "turns": [{"by": "customer", "Text": text}], "tags": ["ab"[n % 2]]}
        for n, text in enumerate(sentences(120))
    ]
    made[5]["tags"] = ["a", "vip"]
    write(here, "a.jsonl", made)
    with (here / "a.jsonl").open("a") as file:
        file.write('{"ticket": {"id"')
    assert run(["new", "team/skill", "--from", "a.jsonl", "--out", "shown.yaml"]) == 0
    assert "1 row could not be read. The first, line 121: " in capsys.readouterr().out
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    assert said["fields"] == {"text": "turns.0.Text", "label": "tags"}
    assert recipe.description == "Which tags fits a Text, among 2."
    assert warned(said, "vip is only there beside others")
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "out", "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["labels"]) == ["a", "b"]


def write_notes(here: Path) -> None:
    for n, text in enumerate(sentences(80)):
        path = here / "notes" / ("allergy", "history")[n % 2] / f"{n}.{('txt', 'md', 'html')[n % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>{text}</p>" if path.suffix == ".html" else text)


def test_a_folder_of_documents_becomes_a_recipe_whose_labels_are_its_folders(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notes(here)
    (here / "notes" / "allergy" / "empty.txt").write_bytes(b"")
    (here / "notes" / "allergy" / "scan.tiff").write_bytes(b"x")
    (here / "notes" / "history" / "huge.txt").write_text("\n\n".join(f"{text} again." * 9 for text in sentences(80)))
    assert run(["new", "clinic/section", "--from", "notes", "--out", "shown.yaml"]) == 0
    printed = capsys.readouterr().out
    assert " passages of 81 documents, " in printed
    assert "1 document could not be read. The first, allergy/empty.txt: the file has no bytes" in printed
    recipe, said = proposed(capsys, "--from", "notes")
    (source,) = recipe.data.sources
    assert (source.path, source.text, source.label, recipe.data.max_characters) == ("notes", "text", "folder", 1000)
    assert warned(said, "history/huge.txt alone gives") and warned(said, "not read: scan.tiff")
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "out", "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["labels"]) == ["allergy", "history"]


def test_folders_that_labels_cannot_be_told_from_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_notes(here)
    assert run(["new", "clinic/section", "--from", "notes/allergy"]) == 1
    assert "have the folder 'allergy': there is nothing to tell apart" in capsys.readouterr().err
    assert run(["new", "clinic/section", "--from", "notes", "--out", "notes/recipe.yaml"]) == 3
    assert "would lie among the documents" in capsys.readouterr().err
    write(here, "notes/list.jsonl", rows(3))
    assert run(["new", "clinic/section", "--from", "notes"]) == 1
    assert "holds documents and tables (such as list.jsonl)" in capsys.readouterr().err
    assert run(["new", "clinic/section", "--from", "none"]) == 1
    assert "There is no file or folder none." in capsys.readouterr().err


def test_of_conversations_the_users_turn_is_the_text_and_the_assistants_the_answer(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [
        {"messages": [{"role": role, "content": said} for role, said in (("system", "Be brief."), ("user", text),
         ("assistant", f"About {text} " + "and more " * (n % 7) * 9))]} for n, text in enumerate(sentences(120))
    ]  # fmt: skip
    write(here, "a.jsonl", made)
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    assert said["fields"] == {"text": "messages.1.content", "label": "messages.2.content"}
    assert recipe.free_text and recipe.description == "Writes the answer for a message."
    assert recipe.evaluation.metric is Metric.ROUGE_L and not warned(said, "word for word")
    write(here, "b.jsonl", [{**each, "messages": each["messages"][1:]} for each in made])
    assert proposed(capsys, "--from", "b.jsonl", "--yes")[1]["fields"]["text"] == "messages.0.content"


def test_a_first_line_that_is_a_row_is_told_and_names_of_fields_may_end_in_a_full_stop(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[tuple[str, ...]] = [(text + ".", "ab"[n % 2]) for n, text in enumerate(sentences(120))]
    write_csv(here, "a.csv", lines)
    recipe, said = proposed(capsys, "--from", "a.csv")
    assert warned(said, "The first line has no names of fields but a row")
    assert lines[0][0] in recipe.description
    write_csv(here, "b.csv", [("Text Nr.", "label"), *lines])
    assert not warned(proposed(capsys, "--from", "b.csv", "--yes")[1], "The first line")


def test_why_values_are_no_labels_is_told_in_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, "a.jsonl", rows(60, [f"l{n}" for n in range(20)]))
    _, said = proposed(capsys, "--from", "a.jsonl")
    (choice,) = (choice for choice in said["choices"] if choice["key"] == "free_text")
    assert choice["why"].startswith("20 different values of 'label' in 60 rows are no closed set of labels")


def test_texts_that_curation_would_drop_for_their_length_are_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = rows(120)
    for row in made[:3]:
        row["text"] *= 900
    write(here, "a.jsonl", made)
    assert warned(proposed(capsys, "--from", "a.jsonl")[1], "3 of 120 texts have more than 20,000 characters")
    write(here, "b.jsonl", made[3:])
    assert not warned(proposed(capsys, "--from", "b.jsonl", "--yes")[1], "20,000")


WORDS = ("restart", "call", "office", "wait", "today", "check", "letter", "bill", "router", "later", "light", "cable")


def sentence(number: int, words: int) -> str:
    """Words that no other number has in this order."""
    chosen = (WORDS[(number // len(WORDS) ** place + place) % len(WORDS)] for place in range(words))
    return f"Please {' '.join(chosen)}."


@pytest.mark.parametrize(
    ("answers", "metric"),
    [
        ([sentence(n, 8) for n in range(300)], Metric.TOKEN_F1),
        ([f"{sentence(n, 40)} {sentence(n + 7, 40)}" for n in range(300)], Metric.ROUGE_L),
        ([f"find /srv/{n} -name '*.{n}' -type f -mtime +{n}" for n in range(300)], Metric.EXACT),
        ([f"order {n}-{n * 7}" for n in range(300)], Metric.EXACT),
        ([" ".join(f"f{n}_{k}({k}, x[{n}])" for k in range(20)) for n in range(300)], Metric.CHRF),
    ],
)
def test_answers_in_prose_are_proposed_to_be_graded_and_short_exact_ones_are_not(
    here: Path, capsys: pytest.CaptureFixture[str], answers: list[str], metric: Metric
) -> None:
    made = [{"question": text, "answer": answer} for text, answer in zip(sentences(300), answers, strict=True)]
    write(here, "a.jsonl", made)
    recipe, said = proposed(capsys, "--from", "a.jsonl")
    why = next(choice["why"] for choice in said["choices"] if choice["key"] == "evaluation.metric")
    assert recipe.free_text and recipe.evaluation.metric is metric
    assert recipe.evaluation.tells_right is (metric is Metric.EXACT)
    assert ("evaluation.right_score" in why) is metric.graded
    # A calibration part that decides nothing takes no rows from training.
    assert (recipe.data.split.calibration > 0.3 or recipe.data.split.calibration == 0.25) is (metric is Metric.EXACT)
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "out", "--json"]) == 0


def test_of_a_few_documents_alike_none_is_said_to_give_many_passages(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, text in enumerate(sentences(6)):
        path = here / "notes" / "ab"[n % 2] / f"{n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(f"{text} {part} again. " * 12 for part in range(4)))
    _, said = proposed(capsys, "--from", "notes")
    assert not warned(said, "alone gives")


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("您好，您的账单会在下周寄到您的新地址，请耐心等待。", True),
        ("口座振替の手続きは来週までに完了します。", True),
        ("บิลของคุณจะถูกส่งไปยังที่อยู่ใหม่ในสัปดาห์หน้า", True),
        ("आपका बिल अगले सप्ताह नए पते पर भेजा जाएगा।", True),
        ("个人贷款", False),
        ("2026年11月29日12时30分45秒 A-1029384756", False),
        ("SELECT a FROM b WHERE c = 1 AND d > 2", False),
    ],
)
def test_sentences_are_told_in_scripts_without_blanks_and_with_vowel_signs(text: str, prose: bool) -> None:
    assert is_prose(text) is prose


@pytest.mark.parametrize("long", [True, False])
def test_answers_in_a_language_without_blanks_are_scored_by_their_characters(
    here: Path, capsys: pytest.CaptureFixture[str], long: bool
) -> None:
    pytest.importorskip("py3langid")
    made = [
        {
            "question": f"请问第{n}号客户的账单什么时候可以寄到他的新地址呢我们已经等了很久了",
            "answer": f"您好第{n}号账单" + "会在下周寄到您的新地址请耐心等待" * (12 if long else 1),
        }
        for n in range(200)
    ]
    write(here, "a.jsonl", made)
    assert (
        proposed(capsys, "--from", "a.jsonl", "--text", "question", "--label", "answer")[0].evaluation.metric
        is Metric.CHRF
    )
