"""The folder of a dataset: made in a hidden folder beside its place, and moved there when it is complete."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from concertino.datasets.folder import MANIFEST, DatasetManifest, ParaphraseCheck, open_dataset
from concertino.datasets.gather import InputFile
from concertino.errors import DataRefused
from concertino.recipe import Recipe

_MARK = "made-by-concertino-curate"
"""A file in the hidden folder: only where it stands may the rest be cleared away."""


class Found(Struct, frozen=True):
    """What stands at the place of a dataset: one of this recipe and these files, which may want a check, or nothing."""

    dataset: DatasetManifest | None = None
    unchecked: bool = False


def existing(out: Path, recipe: Recipe, files: Sequence[InputFile], can_check: bool) -> Found:
    """The dataset in `out` where it is the one wanted. Raises DataRefused where it is another, or none at all.

    `can_check`: paraphrases can be looked for now.
    """
    try:
        if not out.exists():
            return Found()
        if not (out / MANIFEST).exists():
            if out.is_dir() and not any(out.iterdir()):
                return Found()
            raise DataRefused(_no_dataset(out))
    except OSError as error:
        raise DataRefused(f"{out} cannot be read: {error.strerror}. Name another folder with --out.") from error
    manifest = open_dataset(out).manifest
    if manifest.recipe_digest != recipe.data_digest:
        what = "by another recipe, or before this one was changed"
    elif [(each.path, each.sha256) for each in manifest.sources] != [(each.path, each.sha256) for each in files]:
        what = "from other files, or before these were changed"
    else:
        not_done = manifest.paraphrases in (ParaphraseCheck.UNKNOWN, ParaphraseCheck.LEFT_OUT)
        return Found(manifest, bool(recipe.data.decontaminate) and can_check and not_done)
    raise DataRefused(f"{out} holds a dataset that was made {what}. Name another folder, or replace it with --force.")


class Room(Struct, frozen=True):
    """Where a curation writes: `dataset` is what will be moved, `scratch` what is needed meanwhile."""

    folder: Path

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def replaced(self) -> Path:
        """The dataset that stood at the place, for the moment of the exchange."""
        return self.folder / "replaced"

    def move(self, out: Path) -> None:
        """Move the finished dataset to its place; one that stood there is gone only then."""
        if out.exists():
            if not (out / MANIFEST).exists() and any(out.iterdir()):
                raise DataRefused(_no_dataset(out))
            out.rename(self.replaced)
        self.dataset.rename(out)


@contextmanager
def room_for(out: Path) -> Iterator[Room]:
    """An empty room beside `out`, gone afterwards; what an interrupted run left in it is cleared away.

    Raises DataRefused where there can be none, or another run is in it.
    """
    folder = out.with_name(f".{out.name}.concertino-curate")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        because = f"{error.filename}: {error.strerror}"
        raise DataRefused(f"{out} cannot be written ({because}). Name another folder with --out.") from error
    try:
        _lock(handle, folder, out)
        room = Room(folder)
        _clear(room, out)
        try:
            (folder / _MARK).touch()
            room.dataset.mkdir()
            room.scratch.mkdir()
            yield room
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.fstat(handle).st_ino == folder.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        mine = False
    if not mine:
        raise DataRefused(f"Another run is writing {out}. Wait for it.")


def _clear(room: Room, out: Path) -> None:
    """Clear away what an interrupted run left; a dataset that it had taken from its place goes back there."""
    if not (room.folder / _MARK).exists() and any(room.folder.iterdir()):
        raise DataRefused(f"{room.folder} holds files that are not of concertino. Move them away.")
    if room.replaced.exists() and not out.exists():
        room.replaced.rename(out)
    for left in room.folder.iterdir():
        if left.name != _MARK:
            shutil.rmtree(left)


def _no_dataset(out: Path) -> str:
    return f"{out} exists and is no dataset. Name another folder with --out, or move it away."
