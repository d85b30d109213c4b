"""An escalated answer on the wire names who answered: streamed, whole, and in a batch of the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.serving import gateway
from tests.teams import echo_team


def test_an_escalated_answer_names_who_gave_it(tmp_path: Path) -> None:
    config = echo_team(home=str(tmp_path / "home"))
    # An echo is always sure; more than sure it cannot be.
    config["specialists"][2]["skills"][0] |= {"threshold": 1.5, "on_low_confidence": "escalate"}
    body: dict[str, Any] = {"model": "legal/overruling", "messages": [{"role": "user", "content": "no"}]}
    told = {"confidence": 1.0, "abstained": False, "escalated": "general"}
    with gateway(config, tmp_path) as up:
        url = f"{up.url}/v1/chat/completions"
        whole = httpx.post(url, json=body)
        assert whole.json()["concertino"] == told
        assert whole.json()["choices"][0]["message"]["content"] == "no"
        assert "so general answers" in whole.headers["x-concertino-reason"]
        streamed = httpx.post(url, json=body | {"stream": True})
        frames = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
        assert frames[-1]["concertino"] == told
        assert frames[-1]["choices"][0]["finish_reason"] == "stop"
        assert all(frame["choices"][0]["logprobs"] is None for frame in frames)  # nobody asked for them
        done = subprocess.run(
            [sys.executable, "-m", "concertino", "run", "legal/overruling", "--jsonl", "-", "--url", up.url],
            input='{"text": "no"}\n',
            env={**os.environ, "CONCERTINO_CONFIG": str(tmp_path / "concertino.yaml")},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert json.loads(done.stdout) == {"line": 1, "output": "no"} | told


def test_a_version_s_weights_show_in_the_fingerprint(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.gguf"
    config = echo_team(home=str(tmp_path / "home"))
    config["specialists"][2]["skills"][0]["adapter"] = str(adapter)
    body: dict[str, Any] = {"model": "legal/overruling", "messages": [{"role": "user", "content": "no"}]}
    seen = set()
    for weights in (b"one", b"two"):
        adapter.write_bytes(weights)
        with gateway(config, tmp_path) as up:
            seen.add(httpx.post(f"{up.url}/v1/chat/completions", json=body).json()["system_fingerprint"])
    assert len(seen) == 2
