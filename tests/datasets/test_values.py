"""The values of answers: which are the same, and which are not."""

import pytest

from concertino.datasets.values import same_values, values_f1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("$1,496.5 million", "1496.5 million"),
        ("-12.6 million", "= 44.1-56.7 million"),
        ("-22.22%", "= (44.1-56.7)/56.7*100 percent"),
        ("= (44.1-56.7)/56.7*100 percent", "-22.22 percent"),
        ("-0.2222", "-22.22 percent"),
        ("1.5 million", "1500 thousand"),
        ("(41)", "-41"),
        ("\u22124 percent", "-4 percent"),
        ("2018; 2019", "2019; 2018"),
        ("772; 795 thousand", "795; 772 thousand"),
        ("Cost-plus type; the fixed price type", "fixed-price type; cost-plus type"),
        ("$3.0 million", "$3.0 million million"),
        ("An annual plan, approved.", "annual plan approved"),
        ("3.", "3"),
    ],
)
def test_the_same_said_in_another_way_is_right(given: str, expected: str) -> None:
    assert same_values(given, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1,496.5", "1,496.5 million"),
        ("12.6 million", "-12.6 million"),
        ("1.4 million", "1500 thousand"),
        ("12.61", "12.6"),
        ("2019", "2019; 2018"),
        ("2019; 2019", "2019; 2018"),
        ("", "2019"),
        ("= 3-", "3"),
        ("plan annual", "annual plan"),
        ("two", "2"),
        ("-0.22", "-22.22 percent"),
    ],
)
def test_another_value_sign_scale_or_number_of_parts_is_wrong(given: str, expected: str) -> None:
    assert not same_values(given, expected)


@pytest.mark.parametrize(
    ("given", "expected", "f1"),
    [
        ("the annual plan", "annual plan, approved", 4 / 5),
        ("2019; 2018", "2018; 2019; 2017", 2 / 3),
        ("2019; 2018; 2017", "2018", 1 / 3),
        ("fixed-price type", "cost-plus type; fixed-price type", 1 / 2),
        ("cost-plus; cost-plus type", "cost-plus type; cost-plus", 1.0),  # the first two would do worse together
        ("fiscal 2,019", "fiscal year 2019.00", 4 / 5),
        ("a rise of 12.50 in sales", "a rise of 12.5", 3 / 4),
        ("12.6 million", "-12.6 million", 0.0),
        ("1,496.5", "1,496.5 million", 0.0),
        ("1.5 million", "1500 thousand", 1.0),
        ("= (44.1-56.7)/56.7*100 percent", "-22.22 percent", 1.0),
        ("in 2019", "2019", 2 / 3),
        ("", "2019", 0.0),
        ("no", "2019", 0.0),
    ],
)
def test_f1_says_how_much_of_an_answer_is_right(given: str, expected: str, f1: float) -> None:
    pytest.importorskip("scipy")
    assert values_f1(given, expected) == pytest.approx(f1)
    assert values_f1(expected, given) == pytest.approx(f1)  # precision and recall change places


def test_what_is_right_has_an_f1_of_one() -> None:
    pytest.importorskip("scipy")
    for given, expected in (("Cost-plus type; the fixed one", "fixed one; cost-plus type"), ("(41)", "-41")):
        assert same_values(given, expected)
        assert values_f1(given, expected) == 1.0


def test_an_answer_that_never_ends_is_aligned_too() -> None:
    pytest.importorskip("scipy")
    assert values_f1("; ".join(str(number) for number in range(500)), "7; 8") == pytest.approx(2 / 500)
