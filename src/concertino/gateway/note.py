"""The note on disk by which commands find the gateway that runs beside them."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from msgspec import Struct

from concertino.config import Settings

_NOTE = "gateway.json"


class Running(Struct, frozen=True):
    """A gateway that is running on this machine."""

    url: str
    pid: int


@contextlib.contextmanager
def note(settings: Settings, url: str) -> Iterator[None]:
    """While the gateway runs, `<home>/gateway.json` says where."""
    path = settings.home_path / _NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}), "utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        if (mine := running_gateway(settings)) is not None and mine.pid == os.getpid():
            path.unlink(missing_ok=True)


def running_gateway(settings: Settings) -> Running | None:
    """The gateway that serves this home folder, if its process is alive."""
    path: Path = settings.home_path / _NOTE
    try:
        raw = json.loads(path.read_text("utf-8"))
        running = Running(str(raw["url"]), int(raw["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if psutil.pid_exists(running.pid) else None
