"""The Python face, on an echo team and the shipped router."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from concertino import Team
from concertino.audit.read import AuditReader
from concertino.config import build
from concertino.errors import ConfigurationError, InvalidRequest, PolicyRefused, ShuttingDown, UnknownModel
from concertino.types import Answer, Decision, Message, Role
from tests.teams import echo_team


@pytest.fixture
def team(config_file: Path) -> Iterator[Team]:
    with Team.from_config(config_file) as made:
        yield made


def test_ask_stream_and_run_without_a_server(team: Team) -> None:
    answer = team.ask("one two three", model="general", max_tokens=2)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason) == ("one two ", "length")
    assert "".join(chunk.text for chunk in team.stream("one two three", model="general")) == "one two three"
    results = team.run("legal/overruling", ["no way", "yes indeed"])
    assert [(result.text, result.confidence, result.abstained) for result in results] == [
        ("no", 1.0, False),
        ("yes", 1.0, False),
    ]
    assert team.run("legal/overruling", []) == []


def test_the_example_of_the_manual_runs_and_shows_what_it_says(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    exec(example.replace("Team.default()", f"Team.from_config({str(config_file)!r})"), {})
    said = capsys.readouterr().out
    assert said.startswith("Decision(specialist='legal'")
    assert "specialist='legal'" in said.split("\nPlan(")[1] and "specialist='code'" in said.split("\nPlan(")[1]
    assert "Explain git rebase." in said and said.rstrip().endswith("False")


def test_a_skill_runs_on_rows_of_fields_too(tmp_path: Path) -> None:
    raw = echo_team(home=str(tmp_path))
    raw["specialists"][2]["skills"][0]["template"] = "{text} {contexts}"
    with Team(build(raw, "a test")) as team:
        rows: list[Any] = [{"text": "A case.", "contexts": ["It says no."]}, "yes indeed", {"text": "No case."}]
        assert [answer.text for answer in team.run("legal/overruling", rows)] == ["no", "yes", "no"]
        with pytest.raises(InvalidRequest, match=r"'text' is missing.*text, contexts"):
            team.run("legal/overruling", [{"contexts": ["It says no."]}])


async def test_the_asynchronous_twins_give_the_same(team: Team) -> None:
    assert (await team.aask("a b", model="general")).text == team.ask("a b", model="general").text
    assert [chunk.text async for chunk in team.astream("a b", model="general")][:2] == ["a ", "b"]
    assert (await team.arun("legal/overruling", ["no"]))[0].text == "no"
    assert (await team.aroute("What is a lien?")) == team.route("What is a lien?")


def test_route_tells_who_and_why_for_texts_and_conversations(team: Team) -> None:
    decision = team.route("Write a SQL query that joins two tables.")
    assert isinstance(decision, Decision)
    assert decision.specialist == "code"
    assert decision.reason
    turns: list[Message | dict[str, Any]] = [
        Message(Role.USER, "What are the symptoms of anaemia?"),
        {"role": "assistant", "content": "Tiredness."},
    ]
    turns.append({"role": "user", "content": "And how is it treated?"})
    assert team.route(turns).specialist == "medical"
    many = team.route_many(["Write a SQL query that joins two tables.", "What are the symptoms of anaemia?"])
    assert [found.specialist for found in many] == ["code", "medical"]


def test_leaving_a_stream_early_is_recorded_and_leaves_nothing_in_flight(team: Team) -> None:
    stream = team.stream("a b c d e f", model="general")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert team.ask("still here", model="general").text == "still here"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda team: team.ask("x", model="nobody"), UnknownModel),
        (lambda team: team.ask([]), InvalidRequest),
        (lambda team: team.ask("x", temprature=1), InvalidRequest),
        (lambda team: team.ask([{"role": "pope", "content": "x"}]), InvalidRequest),
        (lambda team: team.run("legal", ["x"]), UnknownModel),
        (lambda team: team.ask("Patient John Smith, MRN 12345678, has diabetes.", model="code"), PolicyRefused),
    ],
)
def test_mistakes_raise_the_documented_exceptions(team: Team, call: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(team)  # type: ignore[operator]


def test_a_closed_team_says_so_leaves_no_thread_and_closing_twice_is_harmless(config_file: Path) -> None:
    before = set(threading.enumerate())
    team = Team.from_config(config_file)
    team.ask("x", model="general")
    team.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(2)
    assert not [thread.name for thread in set(threading.enumerate()) - before if "concertino" in thread.name]
    team.close()
    with pytest.raises(InvalidRequest, match="closed"):
        team.ask("x")


@pytest.mark.parametrize("how", ["ask", "stream"])
def test_closing_ends_what_another_thread_waits_for(tmp_path: Path, how: str) -> None:
    raw = echo_team(home=str(tmp_path))
    raw["backends"]["echo"]["options"] = {"delay_s": 0.05}
    team, told, begun = Team(build(raw, "a test")), [], threading.Event()

    def ask() -> None:
        try:
            begun.set()
            if how == "ask":
                team.ask("word " * 1000, model="general")
            for _ in team.stream("word " * 1000, model="general"):
                pass
        except ShuttingDown as error:
            told.append(error.code)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    begun.wait(10)
    time.sleep(0.5)
    team.close()
    asking.join(10)
    assert told == ["shutting_down"]
    (entry,) = AuditReader(team.settings.audit_path).tail()
    assert entry.outcome == "cancelled"


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        ({"type": "function"}, "function"),
        ({"function": {}}, "name"),
        ({"function": {"name": "f", "parameters": True}}, "parameters"),
    ],
)
def test_a_tool_that_is_none_is_refused(team: Team, tool: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        team.ask("Hi", model="general", tools=[tool], tool_choice="required")
    assert "Correct it" in refused.value.message


def test_a_call_that_comes_while_the_team_is_closed_ends(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    handing, hand_over = threading.Event(), asyncio.run_coroutine_threadsafe

    def slowly(work: Any, loop: asyncio.AbstractEventLoop) -> Any:
        if threading.current_thread() is asking:
            handing.set()
            time.sleep(0.5)
        return hand_over(work, loop)

    def ask() -> None:
        try:
            team.ask("word " * 1000, model="general")
        except ShuttingDown as error:
            told.append(error.code)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", slowly)
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    handing.wait(10)
    team.close()
    asking.join(10)
    assert told == ["shutting_down"]


def test_a_configuration_that_is_wrong_leaves_no_thread_behind(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("router: {type: nosuch}\n")
    with pytest.raises(ConfigurationError, match="nosuch"):
        Team.from_config(path)
    assert not [thread for thread in threading.enumerate() if thread.name == "concertino-team"]


async def test_a_plan_is_shown_without_a_model(team: Team) -> None:
    text = "What does an indemnification clause do? And also write a Python function that reverses a list."
    decision = team.plan(text)
    assert decision.plan is not None
    assert decision.plan.specialists == ("legal", "code")
    assert await team.aplan(text) == decision == team.route(text)
    assert team.plan("What is a lien?").plan is None
