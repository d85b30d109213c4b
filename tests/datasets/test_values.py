"""The values of answers: which are the same, and which are not."""

import pytest

from concertino.datasets.values import same_values


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
