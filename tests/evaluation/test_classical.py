"""The classical baselines learn, keep their answers, and say what they are."""

from pathlib import Path

import numpy as np
import pytest

from concertino.datasets.folder import Row
from concertino.evaluation.classical import Fitted, fit_frozen, fit_nearest, fit_tfidf, identity_of, predict_kept
from concertino.evaluation.embedding import Neighbours
from concertino.evaluation.running import Kept
from concertino.recipe import Metric
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


def uneven_rows(part: str, rare: int) -> list[Row]:
    """Calls that are `plain`, some of them odd, and few that are `rare`, which are all odd."""
    common = [Row(f"{part}{at}", f"{'odd' if at < 5 else 'a'} call {at % 9} {at % 7}", ("plain",)) for at in range(400)]
    return common + [Row(f"{part}r{at}", f"odd call {at % 9} {at % 7}", ("rare",)) for at in range(rare)]


def test_baselines_that_are_judged_by_macro_f1_weigh_labels_alike_where_that_does_better() -> None:
    pytest.importorskip("sklearn")
    train, dev = uneven_rows("train", 3), uneven_rows("dev", 8)
    told: list[str] = []
    by_accuracy = fit_tfidf(train, dev[:50], told.append)
    assert not any("alike" in sentence for sentence in told) and "alike" not in by_accuracy.about
    fitted = fit_tfidf(train, dev, told.append, Metric.MACRO_F1)
    assert "labels weighed alike" in fitted.about
    assert all(fitted.predict(row.text)[0] in row.labels for row in uneven_rows("test", 3)[-3:])
    assert identity_of(Metric.MACRO_F1) != identity_of(Metric.ACCURACY)


def test_the_number_of_neighbours_is_chosen_by_the_metric() -> None:
    """One neighbour finds the rare label and errs twice; many never find it and err once."""
    train = [*(Row(f"p{at}", "", ("plain",)) for at in range(9)), Row("r", "", ("rare",))]
    axes = np.eye(10, dtype=np.float32)
    dev = [*(Row(f"d{at}", "", ("plain",)) for at in range(9)), Row("dr", "", ("rare",))]
    near = np.stack([*(axes[at] for at in range(7)), axes[9] + 0.9 * axes[0], axes[9] + 0.9 * axes[1], axes[9]])
    common = 2 * np.ones(10, np.float32)
    about = {
        metric: fit_nearest(Neighbours(train, axes), dev, near + common, lambda text: axes[9], metric).about
        for metric in (Metric.ACCURACY, Metric.MACRO_F1)
    }
    assert "the 1 nearest" in about[Metric.MACRO_F1] and "the 1 nearest" not in about[Metric.ACCURACY]


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


@pytest.mark.parametrize("metric", [Metric.ACCURACY, Metric.MACRO_F1])
def test_without_dev_rows_one_neighbour_is_asked_by_every_metric(metric: Metric) -> None:
    none = np.zeros((0, vectors(TRAIN).shape[1]), np.float32)
    fitted = fit_nearest(Neighbours(TRAIN, vectors(TRAIN)), [], none, vector_of, metric)
    assert fitted.about == "a vote of the 1 nearest training rows, by the untuned encoder"
    assert fitted.predict(TRAIN[0].text)[0] == TRAIN[0].labels[0]
