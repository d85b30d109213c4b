"""A real gateway for tests: `concertino up` in a process of its own, on a free port of loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


class Gateway:
    """A running gateway: its URL, its process, its home folder."""

    def __init__(self, url: str, process: "subprocess.Popen[str]", home: Path) -> None:
        self.url = url
        self.process = process
        self.home = home


@contextmanager
def gateway(config: dict[str, Any], folder: Path, *arguments: str, wait_s: float = 60) -> Iterator[Gateway]:
    """Start with `config`, yield once requests are answered, end by SIGTERM; a gateway that lingers is killed."""
    path = folder / "concertino.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    command = [sys.executable, "-m", "concertino", "up", "--config", str(path), "--port", "0", "--json", *arguments]
    log = (folder / "gateway.log").open("w")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CONCERTINO_")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        yield Gateway(_ready(process, folder / "gateway.log", wait_s), process, Path(config["home"]))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        log.close()


def _ready(process: "subprocess.Popen[str]", log: Path, wait_s: float) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + wait_s
    for line in process.stdout:
        if line.startswith("{") and "url" in (said := json.loads(line)):
            return str(said["url"])
        assert time.monotonic() < deadline
    raise AssertionError(f"the gateway ended with {process.wait()}: {log.read_text()}")
