"""A real gateway under load: what is promoted serves within two seconds, what is rolled back too; nothing is lost."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from concertino.registry import Registry
from tests.gateway.serving import Gateway, gateway
from tests.registry.versions import SKILL, files, version
from tests.teams import echo_team

PICKED_UP_S = 2.0


class Load(threading.Thread):
    """One client that asks the skill again and again, streamed and whole in turn, until it is told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = f"{url}/v1/chat/completions"
        self.stopped = threading.Event()
        self.answers: list[tuple[float, float, str]] = []
        """When it was asked, when it was answered, and what."""
        self.failures: list[str] = []

    def run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.stopped.is_set():
                asked = time.monotonic()
                try:
                    answer = self._ask(client, stream=len(self.answers) % 2 == 0)
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    self.failures.append(repr(error))
                    continue
                self.answers.append((asked, time.monotonic(), answer))

    def _ask(self, client: httpx.Client, stream: bool) -> str:
        body: dict[str, Any] = {"model": SKILL, "messages": [{"role": "user", "content": "?"}], "stream": stream}
        response = client.post(self.url, json=body)
        if response.status_code != 200:
            raise ValueError(response.text)
        if not stream:
            return str(response.json()["choices"][0]["message"]["content"])
        frames = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
        if frames.pop() != "[DONE]":
            raise ValueError("a stream broke off")
        return "".join(httpx.Response(200, text=one).json()["choices"][0]["delta"].get("content", "") for one in frames)


def models(up: Gateway) -> dict[str, Any]:
    listed = httpx.get(f"{up.url}/v1/models").json()["data"]
    return {row["id"]: row["concertino"] for row in listed}


def test_promote_and_rollback_under_load_lose_no_request(tmp_path: Path) -> None:
    config = echo_team(home=str(tmp_path / "home"))
    config["backends"]["echo"]["options"] = {"delay_s": 0.02}
    registry = Registry(tmp_path / "home")
    changes: list[tuple[float, str]] = []
    with gateway(config, tmp_path) as up:
        clients = [Load(up.url) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(1)
        for answer in ("first one", "second one"):
            promoted = registry.promote(version(answer), files(answer))
            changes.append((time.monotonic(), answer))
            time.sleep(PICKED_UP_S + 1)
        assert models(up)[SKILL]["version"] == promoted.version
        registry.rollback(SKILL)
        changes.append((time.monotonic(), "first one"))
        time.sleep(PICKED_UP_S + 1)
        for client in clients:
            client.stopped.set()
            client.join(30)
    assert [failure for client in clients for failure in client.failures] == []
    everything = sorted(answer for client in clients for answer in client.answers)
    assert len(everything) > 50
    assert Counter(answer for _, _, answer in everything).keys() == {"yes", "first one", "second one"}
    ends = [moment for moment, _ in changes[1:]] + [float("inf")]
    for (moment, answer), end in zip(changes, ends, strict=True):
        late = {said for asked, _, said in everything if moment + PICKED_UP_S < asked and asked < end}
        assert late == {answer}
    log = (tmp_path / "gateway.log").read_text()
    assert "legal/overruling is now served by version" in log
