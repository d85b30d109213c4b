"""The classical baselines learn, keep their answers, and say what they are."""

from pathlib import Path

import numpy as np
import pytest

from concertino.datasets.folder import Row
from concertino.evaluation.classical import Fitted, fit_frozen, fit_nearest, fit_tfidf, predict_kept
from concertino.evaluation.embedding import Neighbours
from concertino.evaluation.running import Kept
from tests.evaluation.runs import animal_rows

TRAIN, DEV, TEST = animal_rows("train", 60), animal_rows("dev", 30), animal_rows("test", 30)


def vector_of(text: str) -> np.ndarray:
    found = np.array([name in text for name in ("bird", "cat", "dog")], np.float32)
    return found / max(1.0, float(np.linalg.norm(found)))


def vectors(rows: list[Row]) -> np.ndarray:
    return np.stack([vector_of(row.text) for row in rows])


def test_tfidf_learns_what_the_words_say() -> None:
    pytest.importorskip("sklearn")
    fitted = fit_tfidf(TRAIN, DEV, lambda sentence: None)
    assert all(fitted.predict(row.text)[0] in row.labels for row in TEST)
    assert "C=" in fitted.about
    assert 1 / 3 < fitted.predict("the dog")[1] <= 1


def test_the_untuned_encoder_gets_a_head_of_its_own() -> None:
    pytest.importorskip("sklearn")
    fitted = fit_frozen(TRAIN, vectors(TRAIN), DEV, vectors(DEV), vector_of, lambda sentence: None)
    assert all(fitted.predict(row.text)[0] in row.labels for row in TEST)


def test_neighbours_vote_and_their_number_is_chosen_on_dev() -> None:
    noisy = [*TRAIN, Row("noise", "the dog", ("cat",))]
    fitted = fit_nearest(Neighbours(noisy, vectors(noisy)), DEV, vectors(DEV), vector_of)
    assert fitted.predict("a dog")[0] == "dog"
    assert "nearest training rows" in fitted.about


def test_a_free_text_skill_is_answered_with_the_nearest_row_s_answer() -> None:
    pytest.importorskip("sklearn")
    train = [Row("1", "list the files", answer="ls"), Row("2", "show the date", answer="date")]
    assert fit_tfidf(train, [], lambda sentence: None).predict("list files here")[0] == "ls"
    near = fit_nearest(
        Neighbours(train, np.eye(2, 3, dtype=np.float32)), [], np.zeros((0, 3)), lambda text: np.eye(3)[1]
    )
    assert near.predict("anything")[0] == "date"


def test_what_was_answered_is_not_fitted_again(tmp_path: Path) -> None:
    fits = []

    def fit() -> Fitted:
        fits.append(1)
        return Fitted("a constant", lambda text: ("dog", 0.5))

    for identity, expected in (("one", 1), ("one", 1), ("two", 2)):
        about, found = predict_kept("constant", identity, TEST, Kept(tmp_path / "kept.jsonl"), fit)
        assert (about, len(found), found[0].text, len(fits)) == ("a constant", 30, "dog", expected)
