"""With `personal_data: scrub` or `drop`, no personal data of the files is in any file of the dataset."""

from pathlib import Path

import pytest

from concertino.datasets.personal import PersonalDataFinder

from .making import Made, curate, recipe, rows, write

JSONL = {"path": "a.jsonl"}
POLICIES = pytest.mark.parametrize("policy", ["scrub", "drop"])


def everything(made: Made) -> str:
    return "".join(path.read_text("utf-8") for path in made.folder.iterdir())


@POLICIES
def test_lines_that_cannot_be_read_are_not_shown(tmp_path: Path, policy: str) -> None:
    path = write(tmp_path, "a.jsonl", rows(60))
    with path.open("a") as file:
        file.write('{"text": "write to leak.one@acme.com", "label": \n')
        file.write('{"text": "' + "x " * 91 + 'leak.two@acme.com", "label": \n')
    (tmp_path / "b.csv").write_text("text,label\nmail me at leak.three@acme.com,a,extra\n")
    made = curate(tmp_path, recipe(JSONL, {"path": "b.csv"}, personal_data=policy))
    assert made.counts.reasons["not a JSON object"] == 2
    assert "leak." not in everything(made)
    assert "leak.one@acme.com" in everything(curate(tmp_path, recipe(JSONL, {"path": "b.csv"}), force=True))


@POLICIES
def test_reasons_and_warnings_tell_none(tmp_path: Path, policy: str) -> None:
    line = "call " + "or write " * 3 + "to leak.four@acme.com"
    bad = [
        {"text": f"{line}\n" * 4 + "hello", "label": "a"},
        {"text": "a text", "label": "leak.five@acme.com"},
        {"text": "another text with another label", "label": "leak.six@acme.com"},
        {"leak.seven@acme.com": "no text here", "note": "so\n+41 44 668 18 00", "label": "a"},
    ]
    write(tmp_path, "a.jsonl", [*rows(60), *bad])
    made = curate(tmp_path, recipe(JSONL, personal_data=policy))
    assert made.counts.reasons == {"repeated lines": 1, "rare label": 2, "field missing": 1}
    assert "leak." not in everything(made)
    assert "668 18" not in everything(made)
    assert "[EMAIL]" in made.because("repeated lines")[0]


@POLICIES
@pytest.mark.parametrize("before", range(280, 301, 2))
def test_what_is_cut_is_scrubbed_before(tmp_path: Path, policy: str, before: int) -> None:
    text = "w" * (before - 1) + " DE89370400440532013000 okay" + " x y" * 1000
    write(tmp_path, "a.jsonl", [*rows(60), {"text": text, "label": "a"}])
    made = curate(tmp_path, recipe(JSONL, personal_data=policy, max_characters=1000))
    assert made.counts.reasons == {"too long": 1}
    assert "DE89" not in everything(made)


def test_a_head_ends_in_no_half_finding() -> None:
    finder = PersonalDataFinder()
    for before in range(1_950, 2_510, 7):
        assert "jane" not in finder.head("x" * before + " jane.roe@example.org and so on", 4_000)


@pytest.mark.parametrize(("policy", "left"), [("keep", 40), ("scrub", 40), ("drop", 20)])
def test_background_texts_are_scrubbed_or_dropped_too(tmp_path: Path, policy: str, left: int) -> None:
    write(tmp_path, "a.jsonl", rows(60))
    texts = [f"a song, number {n}, of someone else" for n in range(20)]
    held = [f"{text} bg{n}@x.org" for n, text in enumerate(texts)]
    write(tmp_path, "b.jsonl", [{"text": text} for text in (*texts, *held)])
    made = curate(tmp_path, recipe(JSONL, personal_data=policy, background=["b.jsonl"]))
    assert len(list(made.dataset.rows("background"))) == left
    assert ("@x.org" in everything(made)) == (policy == "keep")
    assert ("20 background texts held some" in made.sheet) == (policy != "keep")


@POLICIES
def test_an_id_and_a_group_that_are_personal_data_become_hashes(tmp_path: Path, policy: str) -> None:
    made_rows = [
        {**row, "id": f"p{n}@clinic.org", "who": f"jane.doe{n // 10}@clinic.org"} for n, row in enumerate(rows(200))
    ]
    made_rows[199]["id"] = "p0@clinic.org"
    write(tmp_path, "a.jsonl", [*made_rows, *({**row, "id": "x7", "who": "ward 7"} for row in rows(201)[200:])])
    made = curate(tmp_path, recipe({**JSONL, "group": "who"}, personal_data=policy))
    assert "clinic.org" not in everything(made)
    assert len({row.id for row in made.rows()}) == 201
    assert len({row.group for row in made.rows()}) == 21
    assert {(row.id, row.group) for row in made.rows() if row.group == "ward 7"} == {("x7", "ward 7")}
    assert "| email | 400 |" in made.sheet
    assert "200 rows held some" in made.sheet


def test_ids_and_groups_are_counted_where_they_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", [{**row, "id": f"p{n}@clinic.org"} for n, row in enumerate(rows(60))])
    made = curate(tmp_path, recipe(JSONL))
    assert "| email | 60 |" in made.sheet
    assert made.rows()[0].id.endswith("@clinic.org")


@POLICIES
def test_copies_of_evaluation_texts_with_personal_data_are_found(tmp_path: Path, policy: str) -> None:
    long = "please tell me why the transfer that I made on Monday to jane.roe@example.org has not come through by now"
    short = "ask john.smith@example.org"
    write(tmp_path, "a.jsonl", [*rows(60), {"text": long, "label": "a"}, {"text": short, "label": "a"}])
    write(tmp_path, "exam.jsonl", [{"text": short, "note": "so it goes: " + long}, {"text": "x"}])
    split = {"dev": 0, "calibration": 0, "test": 0}
    made = curate(tmp_path, recipe(JSONL, personal_data=policy, decontaminate=["exam.jsonl"], split=split))
    assert len(made.rows()) == 60
    assert "example.org" not in everything(made)
