"""Checkpoints that a kill at any moment cannot damage, and files that appear whole or not at all.

A checkpoint is written beside its place, synced, and renamed; its name holds the hash of its bytes, so one that a
power cut or a full disk left wrong is recognised and skipped.
"""

import contextlib
import errno
import hashlib
import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from concertino.errors import ConfigurationError, DiskFull, TrainingRefused
from concertino.whole_file import sync_folder

KEPT = 2
"""Checkpoints kept: the newest, and the one before it in case the newest is damaged."""

_NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})\.pt")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Note = Callable[[str], None]


class Saved(Struct, frozen=True):
    """A checkpoint that was read back: after which step it was taken, and what was given to `save`."""

    step: int
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training in one folder.

    `identity` says what the training is made of (recipe, data, base); checkpoints of another one are refused.
    Making the object touches nothing.
    """

    def __init__(self, folder: Path, interval: int, identity: str = "", note: Note = lambda _: None) -> None:
        self.folder = folder
        self.interval = interval
        self.identity = identity
        self._note = note

    def due(self, step: int) -> bool:
        """Whether a checkpoint belongs after this step (steps count from 1)."""
        return step % self.interval == 0

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Keep a state: nested dicts, lists and tuples of tensors, numbers and strings. Raises DiskFull."""
        torch = _torch()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"writing-{os.getpid()}"
        with _full_disk_told(partial, f"The training goes on from step {step - self.interval} or later"):
            with partial.open("wb+") as file:
                # Through a file of Python's, a full disk is an OSError; torch's own writer hides it.
                torch.save({"identity": self.identity, "step": step, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            path = self.folder / f"step-{step:08d}-{digest[:16]}.pt"
            partial.replace(path)
            sync_folder(self.folder)
        for old in self._paths()[KEPT:]:
            old.unlink(missing_ok=True)
        for left in self.folder.glob("writing-*"):
            left.unlink(missing_ok=True)
        return path

    def latest(self) -> Saved | None:
        """The newest whole checkpoint, or None. A damaged one is skipped with a note.

        Raises TrainingRefused for a checkpoint of another training.
        """
        torch = _torch()
        for path in self._paths():
            match = _NAME.fullmatch(path.name)
            assert match is not None
            try:
                with path.open("rb") as file:
                    whole = hashlib.file_digest(file, "sha256").hexdigest()[:16] == match[2]
                found = torch.load(path, map_location="cpu", weights_only=True) if whole else None
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
                found = None
            if found is None:
                self._note(f"checkpoint {path.name} is damaged; looking for the one before it")
                continue
            if found["identity"] != self.identity:
                raise TrainingRefused(
                    f"The checkpoints in {self.folder} are from another training: recipe, data or base have changed "
                    "since. Train into another folder, or remove the checkpoints to begin anew.",
                    param="checkpoints",
                )
            return Saved(found["step"], found["state"])
        return None

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.folder.glob("step-*.pt") if _NAME.fullmatch(path.name)), reverse=True)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path`, synced, when the block ends well. Raises DiskFull.

    The partial file keeps the suffix of `path`, because some writers look at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".writing-{os.getpid()}-{path.name}")
    with _full_disk_told(partial, f"Nothing was left of {path.name}"):
        try:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _full_disk_told(partial: Path, consequence: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = error.errno if isinstance(error, OSError) else _errno_behind(error)
        partial.unlink(missing_ok=True)
        if number not in _FULL:
            raise
        raise DiskFull(
            f"No space left in {partial.parent} ({os.strerror(number)}). {consequence}. "
            "Make room and run the same command again: it goes on from the last checkpoint."
        ) from error


def _errno_behind(error: BaseException) -> int | None:
    """The number of the OSError that a library wrapped, if that is what happened."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen.errno
        seen = seen.__cause__ or seen.__context__
    return None


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError("Training needs torch: pip install 'concertino[train]'") from error
    return torch
