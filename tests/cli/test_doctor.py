"""`concertino doctor` and `concertino specialists`: what is there, said as it is."""

import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from concertino.cli import checks
from tests.cli.conftest import Command, Gateway
from tests.teams import echo_team


def use_a_free_port(concertino: Command) -> None:
    """In place of the default one, which a team on this machine may hold."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        concertino.write_config(more=f"gateway: {{port: {probe.getsockname()[1]}}}\n")


def findings(concertino: Command, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and each check's gravest finding."""
    done = concertino("doctor", "--json", *arguments)
    told = json.loads(done.stdout)
    order = ["ok", "warning", "problem"]
    worst: dict[str, dict[str, Any]] = {}
    for finding in told["findings"]:
        known = worst.setdefault(finding["check"], finding)
        if order.index(finding["state"]) > order.index(known["state"]):
            worst[finding["check"]] = finding
    assert told["healthy"] is (done.returncode == 0)
    return done.returncode, worst


def test_a_sound_setup_has_no_problem_and_nothing_is_made(concertino: Command) -> None:
    use_a_free_port(concertino)
    status, found = findings(concertino)
    assert status == 0, found
    expected = {"software", "processor", "configuration", "registry", "home", "models", "disk", "memory", "audit log"}
    assert set(found) == expected | {"gateway"} and not concertino.home.exists()


def test_every_problem_says_what_to_do(concertino: Command) -> None:
    concertino.config.write_text("router: {type: keywords}\n")
    status, found = findings(concertino)
    assert status == 1 and found["models"]["state"] == "problem"
    assert "concertino pull" in found["models"]["remedy"] and "missing" in found["disk"]["message"]
    assert "needed by the engines" in found["memory"]["message"]


@pytest.mark.parametrize("detectors", [["identifiers"], ["health"], []])
def test_detectors_that_never_find_health_data_are_a_warning(tmp_path: Path, detectors: list[str]) -> None:
    team = tmp_path / "team.yaml"
    team.write_text(yaml.safe_dump(echo_team(home=str(tmp_path / "home"), policy={"detectors": detectors})))
    (found,) = [finding for finding in checks.examine(str(team), False) if finding.check == "policy"]
    assert found.state is checks.State.WARNING and "nothing counts as health data" in found.message
    team.write_text(yaml.safe_dump(echo_team(home=str(tmp_path / "home"))))
    assert "policy" not in {finding.check for finding in checks.examine(str(team), False)}


def test_a_router_that_lacks_the_encoder_of_its_second_look_is_a_warning(tmp_path: Path) -> None:
    team = tmp_path / "team.yaml"
    team.write_text(yaml.safe_dump(echo_team(home=str(tmp_path / "home"))))
    found = {finding.check: finding for finding in checks.examine(str(team), False)}["router"]
    assert found.state is checks.State.WARNING and "asks no neighbours" in found.message
    assert "concertino pull all-MiniLM-L6-v2" in found.remedy and "neighbours_below" in found.remedy
    router = {"type": "linear", "options": {"neighbours_below": 0}}
    team.write_text(yaml.safe_dump(echo_team(home=str(tmp_path / "home"), router=router)))
    assert "router" not in {finding.check for finding in checks.examine(str(team), False)}


def test_a_bad_configuration_is_a_finding_and_not_a_crash(concertino: Command) -> None:
    concertino.write_config(more="polcy: {}\n")
    status, found = findings(concertino)
    assert status == 1 and "'polcy'" in found["configuration"]["message"]


def test_a_taken_port_is_found(concertino: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        concertino.write_config(more=f"gateway: {{port: {other.getsockname()[1]}}}\n")
        status, found = findings(concertino)
    assert status == 1 and "taken" in found["gateway"]["message"]


def test_a_running_gateway_is_no_taken_port(concertino: Command, gateway: Gateway) -> None:
    status, found = findings(concertino)
    assert status == 0 and gateway.url in found["gateway"]["message"]


def test_a_tampered_audit_log_is_found(concertino: Command) -> None:
    assert concertino("ask", "Is a contract binding?").returncode == 0
    assert findings(concertino)[1]["audit log"]["state"] == "ok"
    with sqlite3.connect(concertino.home / "audit.db") as connection:
        connection.execute("DROP TRIGGER records_no_update")
        connection.execute("UPDATE records SET body = '{}' WHERE seq = 1")
    status, found = findings(concertino)
    assert status == 1 and "record 1" in found["audit log"]["message"]


def test_a_home_that_is_a_file_is_found(concertino: Command) -> None:
    concertino.home.write_text("")
    status, found = findings(concertino)
    assert status == 1 and found["home"]["state"] == "problem"


def test_a_person_reads_one_line_a_check(concertino: Command) -> None:
    use_a_free_port(concertino)
    done = concertino("doctor")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 10 and "All is well." in done.stderr


def test_a_container_counts_with_what_it_may_use() -> None:
    assert 0 < checks.usable_cores() <= 4096
    assert checks.memory_limit() > 2**20


def test_cards_are_shown_as_they_are(concertino: Command) -> None:
    cards = {card["name"]: card for card in json.loads(concertino("specialists", "--json").stdout)}
    assert cards["legal"]["kind"] == "prompted" and cards["legal"]["evaluation"] is None
    assert cards["legal"]["skills"][0]["labels"] == ["liability", "audit rights"]
    assert cards["medical"]["compliance"] == ["phi"] and cards["medical"]["domains"] == ["medical"]


def test_an_adapter_makes_a_specialist_tuned_and_a_measurement_is_quoted(concertino: Command) -> None:
    concertino.config.write_text(
        concertino.config.read_text().replace(
            "adapter: null}", "adapter: a.gguf, evaluation: {summary: pass@1 0.61, command: make eval}}"
        )
    )
    shown = concertino("specialists", "code").stdout
    assert "tuned" in shown and "pass@1 0.61" in shown and "make eval" in shown
    assert "not been measured" in concertino("specialists", "legal").stdout


def test_one_card_in_full_has_its_skills_with_labels_and_threshold(concertino: Command) -> None:
    shown = concertino("specialists", "legal").stdout
    for part in ("legal/clause-type", "labels (2): liability, audit rights", "threshold: 0.5", "prompted, on echo"):
        assert part in shown


def test_an_unknown_specialist_is_named_with_the_nearest(concertino: Command) -> None:
    done = concertino("specialists", "legl")
    assert done.returncode == 2 and "'legal'" in done.stderr and "finance" in done.stderr
