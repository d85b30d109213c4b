"""What all tests stand on: a home folder of their own, an echo team, and no way out of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from concertino.config import Settings, build, home_folder
from concertino.models.store import Store
from tests.teams import echo_team


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only loopback and Unix sockets can be reached from a test's own process."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """No configuration or key of the developer's leaks in; tests of real models share the real store."""
    monkeypatch.delenv("CONCERTINO_CONFIG", raising=False)
    monkeypatch.delenv("CONCERTINO_API_KEY", raising=False)
    if request.node.get_closest_marker("models") is None:
        monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path / "home"))


@pytest.fixture
def team_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Makes validated settings of an echo team; keyword arguments replace top-level sections."""

    def make(**changes: Any) -> Settings:
        return build(echo_team(home=str(tmp_path / "home"), **changes), "a test")

    return make


@pytest.fixture
def config_file(tmp_path: Path) -> Iterator[Path]:
    """An echo team's concertino.yaml on disk."""
    path = tmp_path / "concertino.yaml"
    path.write_text(yaml.safe_dump(echo_team(home=str(tmp_path / "home"))), "utf-8")
    yield path


@pytest.fixture(scope="session")
def real_home() -> Path:
    """The model store that tests of real models share: CONCERTINO_TEST_HOME, else the usual home folder."""
    return Path(os.environ.get("CONCERTINO_TEST_HOME") or home_folder())


def pulled(home: Path, *names: str) -> None:
    """Pull what is missing, by the real `concertino pull`."""
    environment = {**os.environ, "CONCERTINO_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "concertino", "pull", *names], env=environment, check=True, timeout=900)


@pytest.fixture(scope="session")
def published(real_home: Path) -> Path:
    """The home folder whose store has all-MiniLM-L6-v2."""
    pulled(real_home, "all-MiniLM-L6-v2")
    return real_home


@pytest.fixture(scope="session")
def smol(real_home: Path) -> Path:
    """The file of SmolLM2-135M-Instruct."""
    pulled(real_home, "smollm2-135m-instruct")
    return Store(real_home).resolve("smollm2-135m-instruct")
