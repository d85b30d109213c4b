"""`concertino plan`: the parts of a request, with no model."""

import json

from tests.cli.conftest import Command

TEXT = "What does this contract say about liability? And also write a def that adds two numbers."


def test_a_person_sees_each_part_and_whom_it_is_for(concertino: Command) -> None:
    done = concertino("plan", TEXT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2 parts, planned by segments",
        "1. legal (confidence 0.80): What does this contract say about liability?",
        "2. code (confidence 0.80): write a def that adds two numbers.",
    ]


def test_json_is_what_the_gateway_shows(concertino: Command) -> None:
    told = json.loads(concertino("plan", "--json", "-", stdin=TEXT).stdout)
    assert [task["specialist"] for task in told["tasks"]] == ["legal", "code"]
    assert told["decision"]["specialist"] == "several"


def test_a_request_for_one_has_one_part(concertino: Command) -> None:
    assert concertino("plan", "def f(): pass").stdout.startswith("One part, for code: ")


def test_ask_gives_the_answer_in_parts_and_says_who(concertino: Command) -> None:
    done = concertino("ask", "--explain", "--no-gateway", TEXT)
    assert "### 2. Write a def that adds two numbers. (code)" in done.stdout
    assert "several answers" in done.stderr
    assert "part 1: legal, completed" in done.stderr
    told = json.loads(concertino("ask", "--json", "--no-gateway", TEXT).stdout)
    assert [part["specialist"] for part in told["parts"]] == ["legal", "code"]
