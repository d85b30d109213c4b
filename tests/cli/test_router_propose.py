"""The loop: a team answers and keeps what was asked, callers judge, and a router learns from that."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from concertino.cli.router import app
from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team
from tests.training.routing.own_examples import example_rows

OWNER = {"programs": "code", "clinic": "medical", "contracts": "legal", "oos": "general"}
"""Who should have what example_rows asks."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Gateway]:
    config = echo_team(home=str(tmp_path / "home"), audit={"keep_text": True}, workflow={"enabled": False})
    with gateway(config, tmp_path) as up:
        yield up


def ask(running: Gateway, *turns: str) -> tuple[str, str]:
    """The id of a request, and who answered it."""
    messages = [{"role": "user", "content": turns[0]}]
    for turn in turns[1:]:
        messages += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": turn}]
    body = {"model": "auto", "messages": messages}
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"], answer.json()["model"]


def judge(running: Gateway, request: str, chosen: str, right: str) -> None:
    body = {"id": request, "right": True} if chosen == right else {"id": request, "specialist": right}
    answer = httpx.post(f"{running.url}/v1/feedback", json=body, timeout=60)
    assert answer.status_code == 200, answer.text


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_judged_requests_become_a_router(running: Gateway, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    asked = example_rows()[::2]
    for row in asked:
        request, chosen = ask(running, row["text"])
        judge(running, request, chosen, OWNER[row["label"]])
    for first, right in (("my knee hurts since yesterday", "medical"), ("how do I sort a list in python", "code")):
        request, _ = ask(running, first, "Now shorter")
        assert httpx.post(f"{running.url}/v1/feedback", json={"id": request, "specialist": right}).status_code == 200
    ask(running, "who judges this?")

    config, judged = str(tmp_path / "concertino.yaml"), tmp_path / "judged.jsonl"
    told = json.loads(run("propose", "--export", str(judged), "--json", "-c", config))
    rows = [json.loads(line) for line in judged.read_text("utf-8").splitlines()]
    assert told["rows"] == told["confirmed"] + told["corrected"] == len(rows) == len(asked) + 2
    assert told["left_out"] == {}
    assert {(row["text"], row["label"]) for row in rows} >= {
        ("my knee hurts since yesterday\nNow shorter", "medical"),
        ("how do I sort a list in python\nNow shorter", "code"),
    }

    request, _ = ask(running, "my knee hurts, and I am reached at jane.roe@example.org")
    assert httpx.post(f"{running.url}/v1/feedback", json={"id": request, "specialist": "medical"}).status_code == 200
    everything = tmp_path / "everything.jsonl"
    run("propose", "--export", str(everything), "--personal", "-c", config)
    assert "jane.roe" in everything.read_text("utf-8")
    judged.chmod(0o644)
    shown = run("propose", "--export", str(judged), "-c", config)
    assert judged.stat().st_mode & 0o777 == 0o600
    assert "jane.roe" not in judged.read_text("utf-8")
    assert "left out: 1 hold personal or health data (--personal writes them all the same)" in shown
    assert f"{judged}: {len(rows)} rows" in shown

    out = tmp_path / "learned"
    # With the encoder of the package alone: nothing is pulled into this home folder.
    fitted = CliRunner().invoke(
        app, ["fit", "--examples", str(judged), "--out", str(out), "--json"], env={"CONCERTINO_HOME": str(running.home)}
    )
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(fitted.stdout)["domains"] == ["code", "general", "legal", "medical"]
    learned = tmp_path / "learned.yaml"
    learned.write_text(
        yaml.safe_dump(echo_team(home=str(running.home), router={"options": {"weights": str(out)}})), "utf-8"
    )
    from concertino.cli import app as concertino

    done = CliRunner().invoke(
        concertino, ["route", "--json", "-c", str(learned), "my elbow hurts since monday"], catch_exceptions=False
    )
    assert json.loads(done.stdout)["specialist"] == "medical"


def test_without_content_nothing_is_exported_and_that_is_said(tmp_path: Path) -> None:
    from concertino.cli.router_tables import exported
    from concertino.orchestrator.propose import Export

    said = exported(Export((), 0, 0, {"have no text in the audit log (audit.keep_text)": 3}), tmp_path / "x.jsonl")
    assert said == f"{tmp_path / 'x.jsonl'}: 0 rows, 0 confirmed, 0 corrected\n" + (
        "left out: 3 have no text in the audit log (audit.keep_text)"
    )
