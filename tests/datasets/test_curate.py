"""What a recipe and its files become, and what never gets into a dataset."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from concertino.datasets import curate as curation
from concertino.datasets.folder import open_dataset
from concertino.errors import DataRefused, DiskFull, RecipeInvalid

from .making import curate, recipe, rows, sentences, write

JSONL = {"path": "a.jsonl"}
LONG = "whenever a tenant leaves the flat before the agreed date the landlord may keep the deposit and offer it again"


def test_rows_are_split_by_the_shares_and_each_says_where_it_is_from(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(2000))
    made = curate(tmp_path, recipe(JSONL))
    counts = {part.value: info.rows for part, info in made.dataset.manifest.parts.items()}
    assert sum(counts.values()) == 2000
    assert counts["dev"] == pytest.approx(160, abs=50)
    assert counts["calibration"] == pytest.approx(240, abs=60)
    assert counts["test"] == pytest.approx(240, abs=60)
    row = made.rows("train")[0]
    number = int(row.source.removeprefix("a.jsonl:"))
    assert row.text == rows(2000)[number - 1]["text"]
    assert made.dataset.manifest.labels == {"a": 1000, "b": 1000}


def test_the_same_recipe_and_files_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", [*rows(300), *rows(50)])
    write(tmp_path, "b.jsonl", rows(100, labels=("other",)))
    made_of = recipe(JSONL, background=["b.jsonl"])
    first = curation.curate(made_of, tmp_path, tmp_path / "one", print)
    second = curation.curate(made_of, tmp_path, tmp_path / "two", print)
    assert first.content == second.content
    assert first.parts == second.parts


def test_copies_that_differ_in_case_and_punctuation_are_kept_once(tmp_path: Path) -> None:
    copies = [{"text": "Where is my card?", "label": "a"}, {"text": "where is  my CARD", "label": "a"}]
    write(tmp_path, "a.jsonl", [*rows(50), *copies])
    made = curate(tmp_path, recipe(JSONL))
    assert len(made.rows()) == 51
    assert made.because("exact duplicate") == ["the same text and labels as a.jsonl:51"]


def test_a_text_with_two_labels_is_dropped_with_both_and_no_union_is_made(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", [*rows(50), {"text": "x y", "label": ["a"]}, {"text": "X y!", "label": ["a", "b"]}])
    made = curate(tmp_path, recipe(JSONL))
    assert made.texts() == set(sentences(50))
    assert sorted(made.because("contradictory labels")) == [
        "labelled a, and the same text otherwise at a.jsonl:52",
        "labelled a, b, and the same text otherwise at a.jsonl:51",
    ]


def test_several_answers_to_one_text_stand_in_one_part(tmp_path: Path) -> None:
    commands = [{"text": text, "label": f"ls -{n}"} for n in range(3) for text in sentences(40)]
    write(tmp_path, "a.jsonl", commands)
    made = curate(tmp_path, recipe(JSONL, free_text=True))
    assert len(made.rows()) == 120
    found = [(part, row.text) for part in ("train", "dev", "calibration", "test") for row in made.rows(part)]
    assert len(set(found)) == 40


def test_near_duplicates_are_removed_and_texts_that_only_resemble_each_other_stay(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.jsonl",
        [
            *rows(50),
            {"text": LONG, "label": "a"},
            {"text": f"{LONG} please", "label": "a"},
            {"text": LONG.replace("deposit", "bond"), "label": "a"},
            {"text": f"{LONG}, thanks", "label": "b"},
        ],
    )
    made = curate(tmp_path, recipe(JSONL))
    assert made.texts() - set(sentences(50)) == {LONG, LONG.replace("deposit", "bond")}
    assert made.counts.reasons == {"near-duplicate": 1, "near-duplicate with other labels": 1}
    other = curation.curate(recipe(JSONL, near_duplicate=1), tmp_path, tmp_path / "off", print)
    assert sum(info.rows for info in other.parts.values()) == 54


def test_an_official_test_set_stays_whole_and_its_texts_leave_the_training_part(tmp_path: Path) -> None:
    train, test = rows(400), rows(440)[400:]
    write(tmp_path, "a.jsonl", [*train, test[0], {"text": f"{LONG} now", "label": "a"}])
    write(tmp_path, "t.jsonl", [*test, {"text": LONG, "label": "b"}])
    made = curate(tmp_path, recipe({"path": "a.jsonl", "part": "train"}, {"path": "t.jsonl", "part": "test"}))
    assert made.texts("test") == {row["text"] for row in test} | {LONG}
    assert made.texts("train", "dev", "calibration") == {row["text"] for row in train}
    assert made.counts.reasons == {"copy of a test text": 1, "near-duplicate of a test text": 1}


def test_a_group_is_in_one_part_only(tmp_path: Path) -> None:
    made_rows = [{**row, "contract": n // 10} for n, row in enumerate(rows(1000))]
    write(tmp_path, "a.jsonl", made_rows)
    made = curate(tmp_path, recipe({**JSONL, "group": "contract"}))
    parts: dict[str, set[str]] = {}
    for part in ("train", "dev", "calibration", "test"):
        for row in made.rows(part):
            parts.setdefault(row.group, set()).add(part)
    assert len(parts) == 100
    assert all(len(where) == 1 for where in parts.values())


def test_a_group_of_the_official_test_set_is_not_trained_on(tmp_path: Path) -> None:
    train = [{**row, "contract": n // 10} for n, row in enumerate(rows(200))]
    test = [{**row, "contract": 5} for row in rows(210)[200:]]
    write(tmp_path, "a.jsonl", train)
    write(tmp_path, "t.jsonl", test)
    made = curate(
        tmp_path,
        recipe(
            {**JSONL, "group": "contract", "part": "train"}, {"path": "t.jsonl", "group": "contract", "part": "test"}
        ),
    )
    assert "5" not in {row.group for row in made.rows("train", "dev", "calibration")}
    assert made.counts.reasons == {"group also in the test part": 10}


def test_rows_that_overlap_with_a_named_evaluation_set_are_dropped(tmp_path: Path) -> None:
    run = " ".join(LONG.split()[2:15])
    quoting = {"text": f"it says that {run} and nothing else at all", "label": "a"}
    short = {"text": "Is my card lost?", "label": "b"}
    twelve = {"text": "he wrote " + " ".join(LONG.split()[2:14]) + " or so I was told by him", "label": "a"}
    write(tmp_path, "a.jsonl", [*rows(200), quoting, short, twelve])
    write(tmp_path, "exam.jsonl", [{"text": LONG}, {"text": "is my card LOST"}])
    write(tmp_path, "other.jsonl", [{"question": sentences(1)[0]}])
    made = curate(tmp_path, recipe(JSONL, decontaminate=["exam.jsonl", "other.jsonl#question"]))
    learnt = made.texts("train", "dev", "calibration")
    tested = made.texts("test")
    assert not {quoting["text"], short["text"], sentences(1)[0]} & (learnt - tested)
    assert twelve["text"] in learnt | tested
    assert sum(made.counts.reasons.values()) == 3 - len({quoting["text"], short["text"], sentences(1)[0]} & tested)
    with pytest.raises(DataRefused, match="no field 'text'"):
        curate(tmp_path, recipe(JSONL, decontaminate=["other.jsonl"]), force=True)


def test_paraphrases_of_an_evaluation_set_are_dropped_where_texts_can_be_embedded(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", [*rows(100), {"text": "my card has vanished", "label": "a"}])
    write(tmp_path, "exam.jsonl", [{"text": "the card of mine is gone"}])
    made_of = recipe(JSONL, decontaminate=["exam.jsonl"], split={"test": 0})

    def embed(texts: object) -> np.ndarray:
        return np.array([[1, 0] if "vanished" in text or "gone" in text else [0, 1] for text in texts], np.float32)  # type: ignore[attr-defined]

    assert "my card has vanished" in curate(tmp_path, made_of).texts()
    assert "Paraphrases were not looked for" in (tmp_path / "out" / "datasheet.md").read_text("utf-8")
    made = curate(tmp_path, made_of, embed=embed, force=True)
    assert "my card has vanished" not in made.texts()
    assert made.because("paraphrase of an evaluation text")[0].startswith("cosine 1.00 to 'the card of mine is gone'")


def test_background_holds_texts_of_other_files_that_are_no_rows_of_the_skill(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    write(tmp_path, "b.jsonl", [{"q": text} for text in sentences(4000)])
    write(tmp_path, "c.jsonl", [{"text": f"song number {n}"} for n in range(50)])
    made = curate(tmp_path, recipe(JSONL, background=["b.jsonl#q", "c.jsonl"]))
    background = list(made.dataset.rows("background"))
    assert len(background) == 3000
    assert sum(row.source.startswith("c.jsonl") for row in background) == 50
    assert not {row.text for row in background} & made.texts()
    shares = [sum(row.group == part for row in background) / 3000 for part in ("train", "calibration", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.04)


@pytest.mark.parametrize(("policy", "left"), [("keep", 51), ("scrub", 51), ("drop", 50)])
def test_personal_data_is_counted_and_kept_replaced_or_dropped(tmp_path: Path, policy: str, left: int) -> None:
    write(tmp_path, "a.jsonl", [*rows(50), {"text": "write to jane.roe@example.org today", "label": "a"}])
    made = curate(tmp_path, recipe(JSONL, personal_data=policy))
    assert len(made.rows()) == left
    assert "| email | 1 |" in made.sheet
    everything = "".join(path.read_text("utf-8") for path in made.folder.iterdir())
    assert ("jane.roe@example.org" in everything) == (policy == "keep")
    assert ("write to [EMAIL] today" in everything) == (policy != "keep")


def test_rows_in_another_language_are_dropped_and_unclear_ones_stay(tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    german = {"text": "Ich warte immer noch auf meine Karte, wann kommt sie an?", "label": "a"}
    write(tmp_path, "a.jsonl", [*rows(50), german, {"text": "Wo?", "label": "a"}])
    made = curate(tmp_path, recipe(JSONL, language="en"))
    assert made.counts.reasons == {"another language": 1}
    with pytest.raises(RecipeInvalid, match="'english' is no language"):
        curate(tmp_path, recipe(JSONL, language="english"), force=True)


def test_documents_become_passages_that_stay_together(tmp_path: Path) -> None:
    for number in range(20):
        texts = "\n\n".join(f"{LONG}, says clause {number} {n} {text}." for n, text in enumerate(sentences(12)))
        path = tmp_path / "docs" / f"contract{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts)
    made = curate(tmp_path, recipe({"path": "docs", "label": ""}, free_text=True, max_characters=300, near_duplicate=1))
    parts: dict[str, set[str]] = {}
    for part in ("train", "dev", "calibration", "test"):
        for row in made.rows(part):
            assert row.source.rpartition(":")[0] == row.group
            assert len(row.text) <= 300
            parts.setdefault(row.group, set()).add(part)
    assert len(parts) == 20
    assert all(len(where) == 1 for where in parts.values())


def test_a_dataset_of_the_same_recipe_and_files_is_used_and_another_one_needs_force(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    notes: list[str] = []
    first = curation.curate(recipe(JSONL), tmp_path, tmp_path / "out", notes.append)
    notes.clear()
    assert curation.curate(recipe(JSONL), tmp_path, tmp_path / "out", notes.append) == first
    assert "is used as it is" in notes[0]
    with pytest.raises(DataRefused, match="another recipe"):
        curation.curate(recipe(JSONL, min_characters=9), tmp_path, tmp_path / "out", notes.append)
    write(tmp_path, "a.jsonl", rows(101))
    with pytest.raises(DataRefused, match="--force"):
        curation.curate(recipe(JSONL), tmp_path, tmp_path / "out", notes.append)
    again = curation.curate(recipe(JSONL), tmp_path, tmp_path / "out", notes.append, force=True)
    assert sum(info.rows for info in again.parts.values()) == 101


def test_a_folder_that_is_no_dataset_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(DataRefused, match="is no dataset"):
            curate(tmp_path, recipe(JSONL), force=force)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_full_disk_is_said_and_leaves_the_old_dataset_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", rows(100))
    curate(tmp_path, recipe(JSONL))
    write(tmp_path, "a.jsonl", rows(3000))
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "from tests.datasets.making import recipe; from concertino.datasets.curate import curate\n"
        "from concertino.errors import DiskFull\n"
        "here = Path(sys.argv[1])\n"
        "try: curate(recipe({'path': 'a.jsonl'}), here, here / 'out', print, force=True)\n"
        "except DiskFull as error: print(error.message)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root, capture_output=True, text=True)
    assert "is full" in done.stdout, done.stderr
    assert sum(info.rows for info in open_dataset(tmp_path / "out").manifest.parts.values()) == 100
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "out"}
    assert issubclass(DiskFull, Exception)


def test_several_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concertino.datasets import gather

    write(tmp_path, "a.jsonl", [*rows(3000), *({"text": 1} for _ in range(5))])
    one = curation.curate(recipe(JSONL), tmp_path, tmp_path / "one", print)
    monkeypatch.setattr(gather, "_PROCESSES_FROM", 0)
    several = curation.curate(recipe(JSONL), tmp_path, tmp_path / "several", print)
    assert one.content == several.content
    for name in ("removed.jsonl", "curation.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "several" / name).read_bytes()


def test_the_data_sheet_says_what_was_removed_and_cannot_be_broken_by_a_row(tmp_path: Path) -> None:
    nasty = {"text": "a | b `c` <script>\n# heading", "label": "once | only"}
    write(tmp_path, "a.jsonl", [*rows(60), {"text": "%%% ### $$$ a", "label": "a"}, nasty])
    made = curate(tmp_path, recipe({**JSONL, "licence": "MIT", "origin": "example"}))
    for heading in ("Parts", "Rows before and after each step", "Removed, and why", "Labels", "Lengths", "Sources"):
        assert f"\n## {heading}\n" in made.sheet
    assert "| quality | 62 | 61 | 1 |" in made.sheet
    assert "| rare labels | 61 | 60 | 1 |" in made.sheet
    assert "MIT" in made.sheet
    assert "<script>" not in made.sheet
    assert "\n# heading" not in made.sheet
    assert json.loads((made.folder / "curation.json").read_text())["reasons"] == {"mostly symbols": 1, "rare label": 1}
