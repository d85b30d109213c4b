"""The verbs of `concertino router` that need no training library."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from concertino.cli.router import app
from concertino.errors import ConfigurationError, DataRefused
from tests.teams import echo_team
from tests.training.routing.own_examples import example_rows, write_rows

pytestmark = pytest.mark.models


@pytest.fixture
def team(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An echo team with a specialist that is only described."""
    hr = {"name": "hr", "description": "Human resources: vacation days, salary.", "backend": "echo", "model": "echo"}
    path = tmp_path / "team.yaml"
    path.write_text(yaml.safe_dump(echo_team(specialists=[*echo_team()["specialists"], hr])), "utf-8")
    monkeypatch.setenv("CONCERTINO_CONFIG", str(path))
    monkeypatch.setenv("CONCERTINO_HOME", str(published))
    return path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_explain_shows_words_descriptions_and_neighbours(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONCERTINO_DATA_DIR", raising=False)
    told = json.loads(run("explain", "--json", "how many vacation days do I have left"))
    assert (told["decision"]["specialist"], told["decision"]["tier"]) == ("hr", "descriptions")
    assert told["described"][0]["phrase"] == "vacation days"
    assert {item["word"] for item in told["words"]} >= {"vacation", "days"}
    assert len(told["nearest"]) == 5
    likeness = [item["likeness"] for item in told["nearest"]]
    assert likeness == sorted(likeness, reverse=True)
    assert told["examples"] == "questions of the package"
    done = CliRunner().invoke(app, ["explain", "--nearest", "0", "how many vacation days do I have left"])
    assert "no nearest training examples (none were asked for)" in done.stdout
    assert "for the first time" not in done.stderr
    assert CliRunner().invoke(app, ["explain", "--nearest", "-3", "x"]).exit_code == 2


def test_explain_shows_what_policy_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "team.yaml"
    monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path / "home"))
    path.write_text(yaml.safe_dump(echo_team()), "utf-8")
    text = "My social security number is 078-05-1120 and my fever is 39.5; is my contract binding?"
    told = json.loads(run("explain", "--json", "--nearest", "0", "-c", str(path), text))
    from concertino.cli import app as concertino

    done = CliRunner().invoke(concertino, ["route", "--json", "-c", str(path), text], catch_exceptions=False)
    assert told["decision"] == json.loads(done.stdout)
    assert told["decision"]["verdict"]["excluded"]
    if told["decision"]["tier"] == "policy":
        assert (told["words"], told["examples"]) == ([], "the router was not asked")


def test_a_table_with_holes_is_fitted_compared_and_served(team: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(40):
        code = number % 2 == 0
        text = f"sort list {number} in python" if code else f"symptom number {number} of a fever"
        scores = {"code": float(code), "medical": float(not code)}
        if number % 5 == 0:
            del scores["medical"]
        rows.append(json.dumps({"text": text, "scores": scores}))
    table, out = tmp_path / "table.jsonl", tmp_path / "fitted"
    table.write_text("\n".join(rows), "utf-8")
    told = run(
        "fit", "--outcomes", str(table), "--cost", "code=1", "--cost", "medical=2", "--method", "knn", "--out", str(out)
    )
    assert "8 holes" in told
    assert "oracle" in told
    assert told.endswith(f"{out}: router.options.weights, with router.type knn\n")
    from concertino.router.alternatives import KnnRouter
    from concertino.types import Message, Role

    ranking = KnnRouter(weights=out).rank([[Message(Role.USER, "sort a tuple in python")]])[0]
    assert ranking.domain == "code"


def test_own_domains_are_fitted_judged_routed_and_explained(
    team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, out = write_rows(tmp_path / "mine.jsonl", example_rows()), tmp_path / "own"
    told = json.loads(run("fit", "--examples", str(mine), "--fine", "kind", "--out", str(out), "--json"))
    assert told["method"] == "linear"
    assert told["calibration"]["accuracy"] > 0.9
    judged = json.loads(run("evaluate", "--examples", str(mine), "--weights", str(out), "--json"))
    assert judged["figures"]["ood_auroc"] > 0.9
    picture = tmp_path / "reliability.png"
    shown = run("evaluate", "--examples", str(mine), "--weights", str(out), "--plot", str(picture))
    assert "OOD AUROC" in shown
    assert "rows by label, columns by choice" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="--examples FILE --weights"):
        run("evaluate", "--data-dir", str(tmp_path), "--weights", str(out))

    names = ("general", "programs", "clinic", "contracts")
    cards = [{"name": name, "description": name, "backend": "echo", "model": "echo"} for name in names]
    config = tmp_path / "own.yaml"
    raw = echo_team(specialists=cards, router={"options": {"weights": str(out)}})
    config.write_text(yaml.safe_dump(raw), "utf-8")
    monkeypatch.setenv("CONCERTINO_CONFIG", str(config))
    from concertino.cli import app as concertino

    done = CliRunner().invoke(concertino, ["route", "--json", "my elbow hurts since monday"], catch_exceptions=False)
    decision = json.loads(done.stdout)
    assert (decision["specialist"], decision["domain"]) == ("clinic", "clinic")
    why = json.loads(run("explain", "--json", "my elbow hurts since monday"))
    assert (why["best"], why["decision"]["specialist"]) == ("clinic", "clinic")
    assert why["examples"] == f"examples in {out}"
    assert {item["label"] for item in why["nearest"]} == {"clinic"}
    assert all(item["text"] in {row["text"] for row in example_rows()} for item in why["nearest"])
    (out / "examples.jsonl").unlink()
    why = json.loads(run("explain", "--json", "my elbow hurts since monday"))
    assert (why["nearest"], why["examples"]) == ([], f"no examples are stored with the router in {out}")


def test_examples_that_teach_nothing_are_refused(team: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [*example_rows(), {"text": "cut my hair", "label": "clinik"}])
    with pytest.raises(DataRefused, match="'clinik' has 1"):
        run("fit", "--examples", str(few), "--out", str(tmp_path / "own"))
    done = CliRunner().invoke(app, ["fit", "--examples", str(few), "--outcomes", str(few)])
    assert done.exit_code == 2
    nothing = CliRunner().invoke(app, ["evaluate"], env={"CONCERTINO_DATA_DIR": ""})
    assert nothing.exit_code == 2


def test_a_table_that_cannot_be_read_is_named(team: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the outcome table"):
        run("fit", "--outcomes", str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigurationError, match="lineer cannot be fitted"):
        run("fit", "--outcomes", str(tmp_path / "none.jsonl"), "--method", "lineer")


@pytest.mark.parametrize("cost", ["x=nan", "x=-3", "x=inf", "=3", "x"])
def test_what_is_no_cost_is_refused(cost: str) -> None:
    done = CliRunner().invoke(app, ["fit", "--outcomes", "table.jsonl", "--cost", cost])
    assert (done.exit_code, "give NAME=NUMBER" in done.output) == (2, True)


def test_propose_lists_what_the_audit_log_holds(team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concertino import Team

    monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path / "home"))
    with Team.from_config(team) as started:
        started.ask("is it finance or is it law that says what a bond is?")
        started.ask("How do I rebase a git branch?")
    told = json.loads(run("propose", "--json", "-n", "5"))
    assert [item["why"] for item in told] == ["unsure", "unsure"]
    assert told[0]["margin"] <= told[1]["margin"]
    assert told[0]["text"] is None, "content logging is off"
