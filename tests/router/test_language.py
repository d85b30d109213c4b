"""The question that the language-model tier is asked."""

import pytest

from concertino.router.language import LETTERS, question, reading, shortened, team_lines
from concertino.types import Message, Role


def test_the_team_stands_first_and_the_request_on_the_last_line() -> None:
    team = team_lines(["Law.", "Money\nmatters."], "All else.")
    assert team == "A: Law.\nB: Money matters.\nC: none of the above. All else."
    assert question(team, "is\n\nit  allowed?") == team + "\n\nRequest: is it allowed?"


def test_a_long_request_keeps_its_ends() -> None:
    text = "begin " + "x" * 5000 + " end"
    short = shortened(text)
    assert len(short) < 300
    assert short.startswith("begin")
    assert short.endswith("end")


def test_a_long_description_is_cut_between_words() -> None:
    line = team_lines(["word " * 200], "").splitlines()[0]
    assert len(line) < 260
    assert line.endswith("word ...")


def test_a_team_has_at_most_as_many_members_as_letters() -> None:
    assert len(team_lines(["x"] * (len(LETTERS) - 1), "").splitlines()) == len(LETTERS)
    with pytest.raises(ValueError, match="11 at most"):
        team_lines(["x"] * len(LETTERS), "")


@pytest.mark.parametrize(("turns", "read"), [(["why?"], "why?"), (["a lease", "why?"], "a lease\nwhy?"), (["?!"], "")])
def test_a_short_turn_is_read_with_those_before(turns: list[str], read: str) -> None:
    assert reading([Message(Role.USER, turn) for turn in turns]) == read
