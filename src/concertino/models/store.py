"""The content-addressed store of model files, shared by every process of a home folder.

    <home>/models/blobs/sha256-<digest>     a whole, verified, read-only file
    <home>/models/refs/<name>.json          which blobs make up a model, and where they came from
    <home>/models/partial/<name>/           what a pull has so far; never read by anything but a pull
    <home>/models/locks/                    advisory locks; they die with the process that holds them

A blob gets its name only after its bytes were hashed, found right and synced, so whatever bears such a name is whole.
A process that serves a model holds a lease: a shared flock(2) on the blob itself, which the kernel drops when the
process ends, however it ends, and which works on a store mounted read-only.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock
from msgspec import Struct, field

from concertino.errors import ModelCorrupt, ModelInUse, ModelMissing
from concertino.models.file_hash import file_sha256
from concertino.whole_file import sync_folder, write_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class StoredFile(Struct, frozen=True):
    """One file of a stored model. `origin` is the source that gave it, or what it was derived from and how."""

    sha256: str
    bytes: int
    origin: str = ""


class Manifest(Struct, frozen=True):
    """A stored model: its files by name, weights first, and what was derived from them."""

    name: str
    files: dict[str, StoredFile]
    derived: dict[str, StoredFile] = field(default_factory=dict)
    pulled_at: str = ""
    """When the pull ended: ISO 8601, UTC."""

    @property
    def everything(self) -> dict[str, StoredFile]:
        return {**self.files, **self.derived}

    @property
    def bytes(self) -> int:
        return sum({file.sha256: file.bytes for file in self.everything.values()}.values())


class DiskUsage(Struct, frozen=True):
    """Bytes on disk: in whole blobs, in unfinished pulls, in blobs that no model names, and free beside them."""

    blobs: int
    partial: int
    unreferenced: int
    free: int


class Store:
    """The store of one home folder. Making the object touches nothing; folders appear when something is written."""

    def __init__(self, home: Path) -> None:
        self.root = home / "models"
        self.blobs = self.root / "blobs"
        self.refs = self.root / "refs"
        self._locks = self.root / "locks"

    # What is there

    def manifest(self, name: str) -> Manifest | None:
        """The stored model's manifest, or None. Raises ModelCorrupt if it cannot be read."""
        path = self._ref(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, OSError) as error:
            raise ModelCorrupt(f"{path} cannot be read: {error}. Run `concertino pull {name}`.", param=name) from error

    def require(self, name: str) -> Manifest:
        """The manifest of a model that must be there; raises ModelMissing."""
        manifest = self.manifest(name)
        if manifest is None:
            raise ModelMissing(f"The model {name!r} is not here yet. Run `concertino pull {name}`.", param=name)
        return manifest

    def list(self) -> tuple[Manifest, ...]:
        """Every stored model, by name."""
        names = sorted(path.stem for path in self.refs.glob("*.json")) if self.refs.is_dir() else []
        return tuple(manifest for name in names if (manifest := self.manifest(name)))

    def resolve(self, name: str, file: str | None = None, *, verify: bool = False) -> Path:
        """The path of a model's file; without `file`, of its weights.

        The size is checked each time, the whole SHA-256 only with `verify`.
        Raises ModelMissing, or ModelCorrupt where the bytes are not the ones that were pulled.
        """
        manifest = self.require(name)
        wanted = file or next(iter(manifest.files))
        stored = manifest.everything.get(wanted)
        if stored is None:
            known = ", ".join(manifest.everything)
            raise ModelMissing(f"The model {name!r} has no file {wanted!r}; it has {known}.", param=name)
        self._check(name, wanted, stored, verify)
        return self.blob(stored.sha256)

    def verify(self, name: str) -> None:
        """Read every byte of a model. A blob found wrong is set aside, so that it no longer looks whole."""
        for file, stored in self.require(name).everything.items():
            self._check(name, file, stored, True)

    def blob(self, sha256: str) -> Path:
        """Where the bytes with this SHA-256 are, or would be."""
        return self.blobs / f"sha256-{sha256}"

    def holds(self, sha256: str) -> bool:
        """Whether the blob is there and every byte is right (reads it all); a wrong one is set aside."""
        path = self.blob(sha256)
        if not path.is_file():
            return False
        if file_sha256(path) == sha256:
            return True
        path.replace(path.with_suffix(".corrupt"))
        return False

    def usage(self) -> DiskUsage:
        known = {file.sha256 for manifest in self.list() for file in manifest.everything.values()}
        sizes = {path.name: path.stat().st_size for path in self.blobs.glob("sha256-*")} if self.blobs.is_dir() else {}
        partial = sum(path.stat().st_size for path in (self.root / "partial").rglob("*") if path.is_file())
        stray = sum(size for name, size in sizes.items() if name.removeprefix("sha256-") not in known)
        return DiskUsage(sum(sizes.values()), partial, stray, shutil.disk_usage(existing_parent(self.root)).free)

    def _check(self, name: str, file: str, stored: StoredFile, verify: bool) -> None:
        path = self.blob(stored.sha256)
        again = f"Run `concertino pull {name}` to fetch it again."
        if not path.is_file():
            raise ModelCorrupt(f"{file} of {name!r} is gone from the store. {again}", param=name)
        if (size := path.stat().st_size) != stored.bytes:
            raise ModelCorrupt(f"{file} of {name!r} has {size} bytes in place of {stored.bytes}. {again}", param=name)
        if verify and (found := file_sha256(path)) != stored.sha256:
            try:
                path.replace(path.with_suffix(".corrupt"))
            except OSError:
                pass  # a read-only store: whoever may write to it sets the blob aside
            raise ModelCorrupt(
                f"{file} of {name!r} hashes to {found[:12]}… in place of {stored.sha256[:12]}…. {again}", param=name
            )

    # Who uses it

    @contextmanager
    def lease(self, name: str) -> Iterator[Manifest]:
        """Hold a model's files: while the lease lasts, no process can remove them. Raises ModelMissing."""
        manifest = self.require(name)
        with ExitStack() as held:
            for file, stored in manifest.everything.items():
                path = self.blob(stored.sha256)
                try:
                    handle = held.enter_context(path.open("rb"))
                    fcntl.flock(handle, fcntl.LOCK_SH)
                    same = os.path.samestat(os.fstat(handle.fileno()), path.stat())
                except FileNotFoundError:
                    same = False
                if not same:
                    raise ModelMissing(f"{file} of {name!r} was removed. Run `concertino pull {name}`.", param=name)
            yield manifest

    def holders(self, name: str) -> tuple[int, ...]:
        """Processes that hold a lease on the model, as far as /proc/locks tells (Linux)."""
        manifest = self.manifest(name)
        try:
            rows = [line.split() for line in Path("/proc/locks").read_text("ascii").splitlines()]
        except OSError:
            return ()
        inodes = set()
        for stored in manifest.everything.values() if manifest else ():
            if (path := self.blob(stored.sha256)).exists():
                about = path.stat()
                inodes.add(f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}")
        return tuple(sorted({int(row[4]) for row in rows if row[1] == "FLOCK" and row[5] in inodes}))

    def remove(self, name: str) -> int:
        """Forget a model and delete the blobs that no other model names; returns the bytes set free.

        Raises ModelMissing, or ModelInUse while a process serves or pulls the model.
        """
        pulling = self.lock(name)
        with ExitStack() as held:
            try:
                held.enter_context(pulling.acquire(timeout=0))
            except TimeoutError:
                raise ModelInUse(
                    f"{name!r} is being pulled by another process; wait for it or stop it.", param=name
                ) from None
            held.enter_context(self._refs_lock())
            partial = self.partial(name)
            freed = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
            try:
                manifest = self.manifest(name)
            except ModelCorrupt:
                manifest = Manifest(name, {})  # unreadable, so nothing is known of its blobs; they show as unreferenced
            if manifest is None and not partial.exists():
                raise ModelMissing(f"The model {name!r} is not in the store; nothing was removed.", param=name)
            if manifest is not None:
                doomed = self._hold_unshared(manifest, held)
                self._ref(name).unlink()
                for path in doomed:
                    freed += path.stat().st_size
                    path.unlink()
            shutil.rmtree(partial, ignore_errors=True)
        return freed

    def _hold_unshared(self, manifest: Manifest, held: ExitStack) -> tuple[Path, ...]:
        """The blobs that only this model names, each locked against new leases."""
        others = [other for other in self.list() if other.name != manifest.name]
        shared = {file.sha256 for other in others for file in other.everything.values()}
        found = []
        for sha256 in {file.sha256 for file in manifest.everything.values()} - shared:
            path = self.blob(sha256)
            if not path.exists():
                continue
            handle = held.enter_context(path.open("rb"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pids = ", ".join(map(str, self.holders(manifest.name))) or "unknown"
                raise ModelInUse(
                    f"{manifest.name!r} is in use (process {pids}), so it was not removed. Stop that process first.",
                    param=manifest.name,
                ) from None
            found.append(path)
        return tuple(found)

    # How it fills

    def partial(self, name: str) -> Path:
        """The folder for what a pull of this model has so far; the pull holds `lock(name)`."""
        return self.root / "partial" / self._named(name)

    def lock(self, name: str) -> FileLock:
        """One process at a time pulls, derives or removes a model."""
        return self._lock(f"model-{self._named(name)}")

    def blob_lock(self, sha256: str) -> FileLock:
        """One process at a time fetches a blob. Taken after `lock(name)`, and one at a time."""
        return self._lock(f"sha256-{sha256}")

    def adopt(self, part: Path, sha256: str) -> Path:
        """Give a finished file, whose SHA-256 the caller has just computed, its place among the blobs."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.chmod(0o444)
        path = self.blob(sha256)
        part.replace(path)
        sync_folder(self.blobs)
        path.with_suffix(".corrupt").unlink(missing_ok=True)
        return path

    def record(self, manifest: Manifest) -> None:
        """Write a model's manifest. Raises ModelMissing if one of its blobs was removed meanwhile."""
        with self._refs_lock():
            for file, stored in manifest.everything.items():
                if not self.blob(stored.sha256).is_file():
                    raise ModelMissing(f"{file} was removed meanwhile. Run `concertino pull {manifest.name}`.")
            self.refs.mkdir(parents=True, exist_ok=True)
            write_json(self._ref(manifest.name), manifest)

    def _ref(self, name: str) -> Path:
        return self.refs / f"{self._named(name)}.json"

    def _named(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ModelMissing(f"{name!r} is no model's name; `concertino models` lists them.", param=name)
        return name

    def _refs_lock(self) -> FileLock:
        return self._lock("refs")

    def _lock(self, name: str) -> FileLock:
        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._locks / f"{name}.lock")


def existing_parent(path: Path) -> Path:
    """The nearest folder above (or at) a path that exists: the one whose disk would be written."""
    return path if path.exists() else existing_parent(path.parent)
