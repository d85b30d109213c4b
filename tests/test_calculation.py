"""Answers that are calculations: what is calculated, and that nothing else is."""

import pytest

from concertino.calculation import calculate, derived, done


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("44.1-56.7", -12.6),
        ("(680 - 774) / 774 * 100", -12.144702),
        ("$ 1,452.4 + $1,146.2", 2598.6),
        ("[(57+44)/2] - 2*3", 44.5),
        ("-(2 - -3)", -5),
        ("4.7% \u2013 5.3%", -0.006),
        ("6 \u00d7 2 \u00f7 4", 3),
        ("10-4-3", 3),
        ("100/10/5", 2),
    ],
)
def test_arithmetic_is_done_with_the_usual_precedence(expression: str, value: float) -> None:
    assert calculate(expression) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    ["", "1/0", "2**3", "(1+2", "1+2)", "1 2", "a+1", "1e9", "__import__('os')", "1,0//2", "(" * 300 + "1", "1+" * 300],
)
def test_what_is_no_arithmetic_is_not_calculated(text: str) -> None:
    assert calculate(text) is None
    assert done(f"= {text}") == f"= {text}"


def test_an_answer_has_the_result_to_two_decimals_and_keeps_its_scale() -> None:
    assert done("= (680-774)/774*100 percent") == "-12.14 percent"
    assert done("=7,500+6,489 million") == "13989 million"
    assert done("= 3 - 3") == "0"
    assert done("= 0-0.001") == "0"
    assert done(" 5,687 thousand") == " 5,687 thousand"


def test_a_derivation_is_used_only_where_it_gives_the_value() -> None:
    assert derived("44.1 - 56.7", -12.6) == "44.1-56.7"
    assert derived("(44.1-56.7)/56.7", -22.22) == "(44.1-56.7)/56.7*100"
    assert derived("8/9 - 7/9", 11.11) == "(8/9-7/9)*100"
    assert derived("44.1 - 56.7", 12.6) == ""
    assert derived("2018##2017", 2) == ""
    assert derived("5", 5) == ""  # a number is no calculation
    assert derived("1,496.5>1,202.9", 1) == ""


def test_what_derivations_are_written_as_gives_their_value() -> None:
    for expression, value in (("(4.1% + 4.6%)/2", 4.35), ("[(4+4)/2] - [(2+3)/2]", 1.5), ("-3 + 5", 2)):
        assert float(done(f"= {derived(expression, value)}")) == pytest.approx(value)
