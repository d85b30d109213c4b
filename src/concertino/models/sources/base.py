"""What a source is asked, what it may say, and how whoever watches is told."""

import errno
import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from concertino.models.catalogue import ModelFile

RESERVE = 16 * 1024 * 1024
"""Bytes that a pull leaves free: the audit log lives on the same disk."""


class Stage(StrEnum):
    WAITING = "waiting for another process"
    CHECKING = "checking what is here"
    DOWNLOADING = "downloading"
    JOINING = "unpacking"
    CONVERTING = "converting"
    DONE = "done"


class Step(Struct, frozen=True):
    """How far one file of one model is, in bytes."""

    model: str
    file: str
    stage: Stage
    done: int
    total: int


class Listener(Protocol):
    """Told how a pull goes on. Calls come from the thread that pulls."""

    def step(self, step: Step) -> None: ...

    def note(self, sentence: str) -> None:
        """Something worth reading: a source was given up, and why."""


class SourceFailed(Exception):
    """This source did not give the bytes; the message is a sentence for the reader."""


class NoRoom(OSError):
    """The disk would be full before the end, so nothing was begun."""


@dataclass
class Job:
    """One file to be fetched: what it must be, the room to work in, and what this pull has learnt on the way."""

    model: str
    file: ModelFile
    room: Path
    """The model's folder for unfinished things; this process holds the model's lock."""
    listener: Listener
    unreachable: set[str] = field(default_factory=set)
    """Hosts that did not answer; shared by all jobs of a pull, so that each costs one timeout."""

    def report(self, stage: Stage, done: int) -> None:
        self.listener.step(Step(self.model, self.file.name, stage, min(done, self.file.bytes), self.file.bytes))

    def require_space(self, needed: int) -> None:
        """Raise NoRoom before anything is written, where `needed` bytes cannot be had without eating the reserve."""
        free = shutil.disk_usage(self.room).free
        if needed + RESERVE > free:
            raise NoRoom(errno.ENOSPC, f"needs {size(needed)} and a reserve of {size(RESERVE)}, {size(free)} are free")


def size(count: float) -> str:
    """Bytes for people, in powers of 1000 as disks are sold."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
