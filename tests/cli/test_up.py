"""`concertino up`: one command in front, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Command, Gateway


def test_it_announces_itself_in_one_json_line_once_requests_are_answered(gateway: Gateway) -> None:
    assert gateway.announced["specialists"] == ["general", "code", "finance", "legal", "medical"]
    assert gateway.announced["pid"] == gateway.process.pid
    with urllib.request.urlopen(gateway.url + "/healthz", timeout=5) as response:
        assert response.status == 200


def test_for_a_person_it_prints_the_url_the_team_and_what_to_try(concertino: Command) -> None:
    process = concertino.start("up", "--port", "0")
    assert process.stdout is not None
    shown = ""
    while "concertino ask" not in shown:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        shown += line
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=40)
    assert "http://127.0.0.1:" in shown and "prompted" in shown and "curl " in shown
    assert process.returncode == 0 and "Stopped." in said


def test_the_openai_snippet_that_it_prints_works(concertino: Command) -> None:
    process = concertino.start("up", "--port", "0")
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "concertino ask" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()[1]
    begin = next(place for place, line in enumerate(lines) if "from openai" in line)
    snippet = "".join(line[2:] for line in lines[begin : begin + 4])
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=False)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    assert done.stdout == "What is a tort?\n", done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_seconds_and_cleanly(concertino: Command, gateway: Gateway, number: int) -> None:
    status, said, seconds = gateway.stop(number)
    assert (status, seconds < 5) == (0, True) and "Stopped." in said and "Traceback" not in said
    assert not (concertino.home / "gateway.json").exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])), timeout=2)


def test_a_request_in_flight_may_end_and_the_wait_is_explained(concertino: Command) -> None:
    concertino.write_config(delay_s=0.5)
    running = Gateway(concertino.start("up", "--port", "0", "--json"))
    asking = concertino.start("ask", "one two three four five six")
    assert asking.stdout is not None and asking.stdout.read(3) == "one"
    status, said, _ = running.stop()
    rest, _ = asking.communicate(timeout=20)
    assert (asking.returncode, rest.split()) == (0, ["two", "three", "four", "five", "six"])
    assert status == 0 and "1 request(s) in flight" in said and "Stopped." in said


def test_a_taken_port_is_said_before_anything_is_loaded(concertino: Command) -> None:
    concertino.config.write_text("router: {type: keywords}\n")  # the built-in team, of which nothing is pulled
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = concertino("up", "--port", str(port))
    assert done.returncode == 6 and str(port) in done.stderr and "--port" in done.stderr
    assert not concertino.home.exists(), "nothing may be pulled for a port that is taken"


def test_an_address_that_others_reach_needs_a_key(concertino: Command) -> None:
    done = concertino("up", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 3 and "concertino keys create" in done.stderr


def test_missing_models_are_not_fetched_when_told_so(concertino: Command) -> None:
    concertino.config.write_text("router: {type: keywords}\n")
    done = concertino("up", "--port", "0", "--no-pull")
    assert done.returncode == 4 and "concertino pull" in done.stderr


def test_what_is_asked_through_it_stands_in_the_audit_log(concertino: Command, gateway: Gateway) -> None:
    asked = json.loads(concertino("ask", "--json", "Is a contract binding?").stdout)
    found = json.loads(concertino("audit", "show", asked["id"], "--json").stdout)
    assert "legal" in json.dumps(found)


@pytest.mark.models
def test_ctrl_c_leaves_no_engine_behind(concertino: Command) -> None:
    home = os.environ.get("CONCERTINO_HOME")
    if not home or not Path(home, "models").is_dir():
        pytest.skip("no models in CONCERTINO_HOME")
    concertino.environment["CONCERTINO_HOME"] = home
    concertino.config.write_text(
        "router: {type: keywords}\nembeddings: []\nspecialists:\n"
        "  - {name: general, description: All., backend: local, model: smollm2-135m-instruct}\n"
    )
    running = Gateway(concertino.start("up", "--port", "0", "--json", "--no-pull"))
    engines = psutil.Process(running.process.pid).children(recursive=True)
    assert any("engine" in " ".join(child.cmdline()) for child in engines)
    answer = json.loads(concertino("ask", "--json", "Say hello.", "--max-tokens", "8").stdout)
    assert answer["usage"]["completion_tokens"] > 0
    status, _, seconds = running.stop()
    assert status == 0 and seconds < 10
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(child.is_running() for child in engines):
        time.sleep(0.1)
    assert not [child for child in engines if child.is_running()]
