"""The real command in a process of its own: an echo-backed team, its own home, a router without weights."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

ROUTER = """
from concertino.types import Ranking

WORDS = {"contract": "legal", "def": "code", "bank": "finance", "fever": "medical"}


class KeywordRouter:
    def rank(self, conversations):
        return [self._one(turns[-1].text) for turns in conversations]

    def _one(self, text):
        found = [domain for word, domain in WORDS.items() if word in text]
        scores = {domain: 0.05 for domain in ("code", "finance", "legal", "medical", "general")}
        if not found:
            return Ranking(scores, 0.2, None, "no keyword")
        return Ranking({**scores, found[0]: 0.8}, 0.8, found[0], f"a keyword of {found[0]}")
"""

TEAM = """
backends: {echo: {type: echo, options: {delay_s: DELAY}}}
embeddings: []
router: {type: keywords}
specialists:
  - {name: general, description: Everything., backend: echo, model: echo}
  - {name: code, description: Programs., backend: echo, model: echo, adapter: null}
  - {name: finance, description: Money., backend: echo, model: echo}
  - name: legal
    description: Law.
    backend: echo
    model: echo
    skills:
      - name: clause-type
        description: What a clause is about.
        instruction: Say which. {labels}
        labels: [liability, audit rights]
        threshold: 0.5
  - name: medical
    description: Health.
    backend: echo
    model: echo
    compliance: [phi]
    skills:
      - name: verdict
        description: What a study found.
        instruction: Say what. {labels}
        labels: [no effect, an effect]
        template: "{text}\\n{contexts}"
"""


class Command:
    """`concertino` with this test's configuration and home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.config = folder / "team.yaml"
        self.write_config()
        plugins = folder / "plugins"
        about = plugins / "keywords-1.dist-info"
        about.mkdir(parents=True)
        (plugins / "keyword_router.py").write_text(ROUTER)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: keywords\nVersion: 1\n")
        (about / "entry_points.txt").write_text("[concertino.routers]\nkeywords = keyword_router:KeywordRouter\n")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
        self.environment = {
            **kept,
            "CONCERTINO_HOME": str(self.home),
            "CONCERTINO_CONFIG": str(self.config),
            "PYTHONPATH": f"{plugins}{os.pathsep}{ROOT / 'src'}",
            "HOME": str(folder),
        }
        self.script = str(Path(sys.executable).with_name("concertino"))

    def write_config(self, delay_s: float = 0.0, more: str = "") -> None:
        self.config.write_text(TEAM.replace("DELAY", str(delay_s)) + more)

    def __call__(
        self, *arguments: str, stdin: str | bytes = b"", timeout: float = 60, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        raw = subprocess.run(
            [self.script, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout,
            env=self.environment | environment,
            cwd=self.folder,
            check=False,
        )
        return subprocess.CompletedProcess(raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode())

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.script, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )


@pytest.fixture
def concertino(tmp_path: Path) -> Command:
    return Command(tmp_path)


class Gateway:
    """A running `concertino up`: what it announced, and its process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        self.announced: dict[str, Any] = json.loads(line)

    @property
    def url(self) -> str:
        return str(self.announced["url"])

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, float]:
        """Signal it; returns the exit status, what it said on stderr and the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=40)
        return self.process.returncode, said, time.monotonic() - began


@pytest.fixture
def gateway(concertino: Command) -> Iterator[Gateway]:
    running = Gateway(concertino.start("up", "--port", "0", "--json"))
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGTERM)
