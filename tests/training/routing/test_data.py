"""Labels, splits and what must not leak into training."""

import json
import os
import random
from pathlib import Path

import pytest

from concertino.errors import ConfigurationError
from concertino.training.routing.augment import WRAPPINGS, mistype, vary
from concertino.training.routing.data import (
    CLASSES,
    CONVERSATIONS,
    SEEDS,
    Row,
    Splits,
    conversation_rows,
    load_splits,
    subject_class,
    with_written,
)
from concertino.training.routing.overlap import OverlapIndex, normalised
from concertino.training.routing.tune import SHARES, draw_epoch

QUESTION = "Which of these contracts must be in writing to be enforced under the statute of frauds?"


def test_a_test_question_is_found_in_other_case_and_punctuation() -> None:
    index = OverlapIndex([QUESTION])
    assert index.overlaps(QUESTION.upper().replace("?", " !!"))


def test_a_test_question_is_found_with_a_few_words_changed() -> None:
    index = OverlapIndex([QUESTION])
    assert index.overlaps(QUESTION.replace("these", "the following"))


def test_a_test_question_is_found_inside_a_longer_prompt() -> None:
    index = OverlapIndex([QUESTION])
    assert index.overlaps(f"Answer the exam question below. {QUESTION}\nA. a sale\nB. a loan")


def test_another_question_on_the_subject_is_no_overlap() -> None:
    index = OverlapIndex([QUESTION])
    assert not index.overlaps("Which of these contracts can be rescinded by a minor who lied about his age?")


def test_subjects_go_to_the_class_that_the_manual_names() -> None:
    assert subject_class("jurisprudence") == "legal"
    assert subject_class("virology") == "medical"
    assert subject_class("econometrics") == "finance"
    assert subject_class("computer_security") == "code"
    assert subject_class("college_biology") == "general"


def test_the_seeds_cover_each_class_without_repeats() -> None:
    rows = [json.loads(line) for line in SEEDS.read_text().splitlines()]
    assert {row["label"] for row in rows} == set(CLASSES)
    assert all(sum(row["label"] == label for row in rows) >= 100 for label in CLASSES)
    assert len({row["text"].lower() for row in rows}) == len(rows)


def test_the_hand_written_test_questions_are_not_in_the_seeds() -> None:
    path = Path(__file__).parents[3] / "bench" / "routing_questions.jsonl"
    questions = [json.loads(line) for line in path.read_text().splitlines()]
    seeds = OverlapIndex(json.loads(line)["text"] for line in SEEDS.read_text().splitlines())
    assert len(questions) >= 150
    assert [row["text"] for row in questions if seeds.overlaps(row["text"])] == []


def test_conversations_to_train_on_are_not_those_of_the_benchmark() -> None:
    path = Path(__file__).parents[3] / "bench" / "conversations.jsonl"
    judged = [json.loads(line)["turns"] for line in path.read_text("utf-8").splitlines()]
    opened = OverlapIndex(turns[0]["user"] for turns in judged)
    lines = [json.loads(line)["turns"] for line in CONVERSATIONS.read_text("utf-8").splitlines()]
    assert len(lines) >= 190
    assert [turns[0]["text"] for turns in lines if opened.overlaps(turns[0]["text"])] == []


def test_a_later_turn_is_learnt_with_the_turns_on_its_subject() -> None:
    lines = [json.loads(line)["turns"] for line in CONVERSATIONS.read_text("utf-8").splitlines()]
    rows = [row for row in conversation_rows() if row.group == "conversation 1"]
    turns = lines[0]
    assert rows[0].text == turns[0]["text"]
    assert rows[1].text == f"{turns[0]['text']}\n{turns[1]['text']}"
    switch = next(place for place in range(1, len(turns)) if turns[place]["label"] != turns[place - 1]["label"])
    assert turns[switch]["text"] in [row.text for row in rows]
    after = [row.text for row in rows if row.text.startswith(turns[switch]["text"])]
    assert all(turns[0]["text"] not in text for text in after)


def test_a_mistyped_text_keeps_its_words_number_and_most_letters() -> None:
    rng = random.Random(1)
    text = "how do I cancel a direct debit before Friday"
    typed = {mistype(text, rng) for _ in range(50)}
    assert len(typed) > 20
    assert all(len(one.split()) == len(text.split()) and abs(len(one) - len(text)) <= 2 for one in typed)


def test_variations_keep_the_text_in_sight() -> None:
    rng = random.Random(2)
    assert all("{text}" in wrapping for wrapping in WRAPPINGS)
    seen = [vary("zebra crossing", rng, "an earlier turn") for _ in range(400)]
    assert any("an earlier turn\n" in one for one in seen)
    assert sum("zebra crossing" in one for one in seen) > 300
    assert max(len(one) for one in seen) > 300
    after = [vary("zebra crossing", rng, stranger="another matter") for _ in range(400)]
    assert any(one.startswith("another matter\n") and one.endswith("zebra crossing") for one in after)


def test_a_missing_data_folder_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CONCERTINO_DATA_DIR"):
        load_splits(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="mmlu_test"):
        load_splits(tmp_path)


@pytest.fixture(scope="module")
def splits() -> Splits:
    folder = os.environ.get("CONCERTINO_DATA_DIR")
    if not folder:
        pytest.skip("needs CONCERTINO_DATA_DIR")
    return load_splits(Path(folder))


def test_no_group_straddles_a_split(splits: Splits) -> None:
    train = {normalised(row.group) for row in splits.train}
    calibration = {normalised(row.group) for row in splits.calibration}
    assert not train & calibration
    assert not train & {normalised(row.group) for row in splits.test}
    assert not calibration & {normalised(row.group) for row in splits.test}


def test_no_exam_question_is_in_any_other_part(splits: Splits) -> None:
    exam = {normalised(row.text) for row in splits.exam}
    for part in (splits.train, splits.calibration, splits.test):
        assert not exam & {normalised(row.text) for row in part}
        assert not exam & {normalised(row.group) for row in part}


def test_every_source_has_a_share_and_domains_are_drawn_alike(splits: Splits) -> None:
    known = {source for shares in SHARES.values() for source in shares}
    assert {row.source for row in splits.train} == known
    assert {round(sum(shares.values()), 6) for shares in SHARES.values()} == {1.06}, "conversations came on top of 1"
    drawn = draw_epoch(splits.train, 200, random.Random(3))
    counts = [sum(label == number for _, label in drawn) for number in range(len(CLASSES))]
    assert max(counts[:4]) - min(counts[:4]) <= 5
    assert counts[4] == pytest.approx(280, abs=5)


def test_more_questions_stand_beside_the_written_ones_and_outside_the_exam() -> None:
    exam = (Row(QUESTION, "legal", QUESTION, "mmlu_test"),)
    old = Row("Is it binding?", "finance", "Is it binding?", "seeds_finance")
    splits = Splits((old,), (), (), exam, {"set": "1"}, 5)
    told = [("is it  binding", "legal"), (QUESTION, "legal"), *((f"sort {n} lists", "code") for n in range(100))]
    found = with_written(splits, told, {"judged.jsonl": "2"})
    rows = [*found.train, *found.calibration, *found.test]
    assert old not in rows, "the later word on a text counts"
    assert len(rows) == 101
    assert {row.source for row in rows} == {"seeds_legal", "seeds_code"}
    assert 60 < len(found.train) < 95
    assert (found.removed, found.hashes) == (6, {"set": "1", "judged.jsonl": "2"})
