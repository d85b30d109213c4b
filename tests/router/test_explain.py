"""What tipped the scale, on the shipped head."""

from pathlib import Path

import numpy as np
import pytest

from concertino.errors import ConfigurationError
from concertino.router.explain import explain
from concertino.router.linear import LinearRouter
from concertino.training.routing.data import Row
from concertino.training.routing.report import details, read_questions, reliability
from concertino.types import Message, Role


@pytest.fixture(scope="module")
def router() -> LinearRouter:
    return LinearRouter()


def test_the_word_that_names_the_subject_weighs_most(router: LinearRouter) -> None:
    found = explain(router, [Message(Role.USER, "what should I do about the amoxicillin")])
    assert found.best == "medical"
    assert max(found.words, key=lambda item: item.weight).word == "amoxicillin"
    assert [item.word for item in found.words] == ["what", "should", "I", "do", "about", "the", "amoxicillin"]


@pytest.mark.parametrize("text", ["", "\U0001f600", "word " * 5_000, "x" * 100_000])
def test_any_text_can_be_explained(router: LinearRouter, text: str) -> None:
    found = explain(router, [Message(Role.USER, text)])
    assert found.best != found.second
    assert len(found.words) <= 60


def test_an_abstention_counts_as_general_in_the_confusion(router: LinearRouter) -> None:
    classes = router.manifest.classes
    rows = [Row("a", "code", "a", "s"), Row("b", "legal", "b", "s"), Row("c", "general", "c", "s")]
    chances = np.full((3, 5), 0.05)
    for place, (name, sure) in enumerate((("code", 0.8), ("finance", 0.7), ("code", 0.4))):
        chances[place, classes.index(name)] = sure
    found = details(router, rows, chances)
    assert found.confusion["code"]["code"] == 1
    assert found.confusion["legal"]["finance"] == 1
    assert found.confusion["general"]["general"] == 1
    assert [item.text for item in found.wrong] == ["b"]
    assert found.ood_auroc == 1.0


def test_bins_hold_every_row_once() -> None:
    bins = reliability(np.array([0.0, 0.5, 0.99, 1.0]), np.array([False, True, True, True]))
    assert sum(item.rows for item in bins) == 4
    assert bins[-1].accuracy == 1.0


def test_questions_without_a_label_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"text": "x", "label": "code"}\n\n{"text": "y", "label": "cooking"}\n')
    with pytest.raises(ConfigurationError, match="line 3: needs a text and a label"):
        read_questions(path)
