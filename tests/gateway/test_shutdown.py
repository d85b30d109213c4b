"""What a signal does to requests in flight: they end, or are told, and are on record either way."""

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from concertino.audit.read import AuditReader
from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team


def slow_team(folder: Path) -> dict[str, Any]:
    config = echo_team(home=str(folder / "home"))
    config["backends"]["echo"]["options"] = {"delay_s": 0.1}
    return config


class Asking(threading.Thread):
    """A streamed request of `words` words, read to its end."""

    def __init__(self, up: Gateway, words: int) -> None:
        super().__init__()
        self.url = f"{up.url}/v1/chat/completions"
        self.body = {"model": "code", "stream": True, "messages": [{"role": "user", "content": "w " * words}]}
        self.lines: list[str] = []
        self.begun = threading.Event()

    def run(self) -> None:
        with httpx.stream("POST", self.url, json=self.body, timeout=60) as response:
            for line in response.iter_lines():
                if line:
                    self.lines.append(line)
                    self.begun.set()


def test_a_request_in_flight_ends_in_order_and_a_new_one_is_told(tmp_path: Path) -> None:
    with gateway(slow_team(tmp_path), tmp_path) as up:
        asking = Asking(up, 15)
        asking.start()
        asking.begun.wait(10)
        up.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        late = httpx.post(asking.url, json=asking.body | {"stream": False})
        assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")
        assert late.headers["retry-after"]
        asking.join(20)
        assert asking.lines[-1] == "data: [DONE]"
        assert up.process.wait(15) == 0


def test_a_second_signal_cuts_what_is_in_flight_and_records_it(tmp_path: Path) -> None:
    with gateway(slow_team(tmp_path), tmp_path) as up:
        asking = Asking(up, 300)
        asking.start()
        asking.begun.wait(10)
        up.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        started = time.monotonic()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(15) == 0
        assert time.monotonic() - started < 10
        asking.join(10)
    assert "data: [DONE]" not in asking.lines
    assert json.loads(asking.lines[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
    entry = AuditReader(tmp_path / "home" / "audit.db").tail(1)[0]
    assert entry.end is not None
    assert (entry.outcome, entry.end["error_code"]) == ("cancelled", "shutting_down")
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with gateway(slow_team(tmp_path), tmp_path) as up:
        started = time.monotonic()
        up.process.send_signal(number)
        assert up.process.wait(15) == 0
        assert time.monotonic() - started < 8
        assert not (tmp_path / "home" / "gateway.json").exists()
