"""`concertino pull` and `concertino models`: answers on stdout, the rest on stderr."""

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from concertino.cli import models, pull
from concertino.errors import ModelCorrupt, UnknownModel
from concertino.models import Entry, Store
from concertino.models.catalogue import LocalSource

from .conftest import make_entry, write_catalogue

app = typer.Typer()
app.command()(pull.pull)
app.add_typer(models.app, name="models")


@pytest.fixture
def team(home: Path, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A team of one llama.cpp specialist on `m`, an echo specialist, and embeddings by `e`; the catalogue has both."""
    (tmp_path / "e").write_bytes(b"weights")
    encoder = make_entry("e", {"e.gguf": (b"weights", (LocalSource(str(tmp_path / "e")),))})
    write_catalogue(home / "catalogue.yaml", entry, encoder)
    (tmp_path / "team.yaml").write_text(
        "backends: {local: {type: llamacpp}, fake: {type: echo}}\n"
        "embeddings: [{model: e, backend: local}]\n"
        "specialists:\n"
        "  - {name: general, description: d, backend: local, model: m}\n"
        "  - {name: mock, description: d, backend: fake, model: not-of-the-catalogue}\n"
    )
    monkeypatch.setenv("CONCERTINO_CONFIG", str(tmp_path / "team.yaml"))
    return Store(home)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_pull_without_names_fetches_what_the_configured_team_needs_and_nothing_else(team: Store) -> None:
    outcome = json.loads(run("pull", "--json"))
    assert [model["name"] for model in outcome["models"]] == ["m", "e"]
    assert [manifest.name for manifest in team.list()] == ["e", "m"]


def test_pull_of_a_name_fetches_that_one(team: Store) -> None:
    assert re.fullmatch(r"e: 7 bytes, pulled in \d+\.\d s\n", run("pull", "e"))
    assert run("pull", "e") == "e: 7 bytes, already here, verified\n"


def test_pull_of_an_unknown_name_fetches_nothing_at_all(team: Store) -> None:
    with pytest.raises(UnknownModel):
        run("pull", "e", "nonesuch")
    assert team.list() == ()


def test_the_list_says_what_is_here_who_uses_it_and_which_process(team: Store) -> None:
    run("pull", "m")
    with team.lease("m"):
        rows = {row["name"]: row for row in json.loads(run("models", "--json"))["models"]}
    assert (rows["m"]["state"], rows["m"]["used_by"], len(rows["m"]["processes"])) == ("here", ["general"], 1)
    assert (rows["e"]["state"], rows["e"]["used_by"], rows["e"]["on_disk"]) == ("not pulled", ["embeddings"], 0)
    assert rows["all-MiniLM-L6-v2"]["used_by"] == []
    table = run("models")
    assert "here" in table and "free" in table


def test_the_list_shows_a_damaged_an_unfinished_and_an_outdated_model(
    team: Store, home: Path, entry: Entry, tmp_path: Path
) -> None:
    def state(name: str) -> str:
        return str(next(row["state"] for row in json.loads(run("models", "--json"))["models"] if row["name"] == name))

    run("pull", "m", "e")
    team.partial("e").mkdir(parents=True)
    assert state("e") == "unfinished"
    (tmp_path / "e").write_bytes(b"changed")
    changed = make_entry("m", {"m.gguf": (b"changed", (LocalSource(str(tmp_path / "e")),))})
    write_catalogue(home / "catalogue.yaml", changed)
    assert state("m") == "outdated"
    write_catalogue(home / "catalogue.yaml", entry)
    team.resolve("m").unlink()
    assert state("m") == "damaged"


def test_remove_frees_the_bytes(team: Store) -> None:
    run("pull", "m")
    assert json.loads(run("models", "remove", "m", "--json")) == {"removed": "m", "freed": 3_000_000}
    assert team.list() == ()


def test_verify_reports_every_model_and_fails_if_one_is_damaged(team: Store) -> None:
    run("pull", "m", "e")
    assert run("models", "verify") == "e: whole\nm: whole\n"
    path = team.resolve("e")
    path.chmod(0o644)
    path.write_bytes(b"weighty")
    result = CliRunner().invoke(app, ["models", "verify", "--json"])
    assert isinstance(result.exception, ModelCorrupt)
    outcome = json.loads(result.stdout)
    assert outcome["m"] == {"whole": True, "message": ""}
    assert not outcome["e"]["whole"] and "concertino pull e" in outcome["e"]["message"]
