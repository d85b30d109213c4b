"""Scores of prose are those of SQuAD's script, of rouge-score 0.1.2 (no stemming) and of sacreBLEU 2.6.0 (chrF2)."""

import pytest

from concertino.datasets.prose import MEASURES, chrf, grade, rouge_l, token_f1
from concertino.recipe import Metric

# answer, expected: F1 by the functions of SQuAD's evaluate-v1.1.py, rougeL.fmeasure, CHRF().sentence_score / 100.
THEIRS = [
    ("the cat is on the mat", "the cat sat on the mat", 0.75, 0.833333, 0.619252),
    (
        "A headache is usually treated with rest and fluids.",
        "Rest, fluids and a mild painkiller usually treat a headache.",
        0.625, 0.210526, 0.455732,
    ),
    ("Paris", "The capital is Paris.", 0.5, 0.4, 0.216532),
    ("yes", "yes", 1.0, 1.0, 1.0),
    ("no overlap here", "zyx", 0.0, 0.0, 0.0),
    (
        "Restart the router, then wait two minutes; the light turns green.",
        "Restart the router and wait two minutes until the light is green.",
        0.736842, 0.782609, 0.68565,
    ),
    ("ab", "abc", 0.0, 0.0, 0.636364),
    ("rest", "resting", 0.0, 0.0, 0.485691),
    ("  the   a an ", "the", 1.0, 0.5, 0.756579),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected", "f1", "rouge", "char"), THEIRS)
def test_scores_are_those_of_the_field_s_own_programs(
    answer: str, expected: str, f1: float, rouge: float, char: float
) -> None:
    assert token_f1(answer, expected) == pytest.approx(f1, abs=1e-6)
    assert rouge_l(answer, expected) == pytest.approx(rouge, abs=1e-6)
    assert chrf(answer, expected) == pytest.approx(char, abs=1e-6)


def test_the_example_of_rouge_l_s_paper_tells_the_order_of_words() -> None:
    """Lin 2004, section 3.1: S2 and S3 share as many words with S1, and 3/4 and 2/4 of it in order."""
    first = "police killed the gunman"
    assert rouge_l("police kill the gunman", first) == 0.75
    assert rouge_l("the gunman kill police", first) == 0.5
    assert token_f1("police kill the gunman", first) == token_f1("the gunman kill police", first)


def test_words_of_other_scripts_are_whole_and_their_punctuation_does_not_count() -> None:
    assert rouge_l("Der RÜCKSTAND wächst", "der Rückstand sinkt") == pytest.approx(2 / 3)
    assert token_f1("„Rückstand“ – ja!", "rückstand ja") == 1.0
    assert rouge_l("Mahnung fu\u0308r dich", "mahnung für dich") == 1.0  # the same letter, composed and not
    assert rouge_l("हिन्दी", "हिन्दू") == 0.0, "words that differ in a vowel are two"
    assert chrf("東京の天気", "京都の天気") > 0.3 and token_f1("東京の天気", "京都の天気") == 0.0


@pytest.mark.parametrize("metric", sorted(MEASURES))
def test_what_is_empty_has_no_score_and_what_is_the_same_has_all(metric: Metric) -> None:
    assert [grade(metric, answer, "the") for answer in (None, "", " \n")] == [0.0, 0.0, 0.0]
    assert grade(metric, "Call us.", "Call us.") == 1.0
    assert 0 < grade(metric, "Call us today, please.", "Call us.") < 1


def test_every_graded_metric_has_its_measure() -> None:
    assert set(MEASURES) == {metric for metric in Metric if metric.graded}
