"""The registry of one home folder.

    <home>/registry/versions/<specialist>/<skill>/<hash>/   a whole version; nothing in it ever changes
    <home>/registry/current.json                            which version serves each skill
    <home>/registry/history.jsonl                           who changed that, when and why
    <home>/registry/partial/                                what a promotion has so far; never read

A version is written to `partial`, synced, and moved to its place by one rename; then current.json is replaced by
another. Whenever the process dies, the registry is as it was before or as it was to be. One process at a time changes
it. A process that serves a version holds a lease: a shared flock(2) on its version.json.
"""

import fcntl
import getpass
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from filelock import FileLock

from concertino.errors import PromotionRefused, RegistryCorrupt, UnknownVersion
from concertino.recipe import SKILL_NAME
from concertino.registry.state import CURRENT, Change, Entry, State, read_history, read_state, write_state
from concertino.registry.version import MANIFEST, SHORT, Version, named, read_version
from concertino.whole_file import sync_folder

UNREGISTERED = "shipped or prompted"
"""What serves a skill of which the registry says nothing."""
RETIRED = "retired"


class Registry:
    """Making the object touches nothing; folders appear when something is written."""

    def __init__(self, home: Path) -> None:
        self.root = home / "registry"
        self._versions = self.root / "versions"
        self._partial = self.root / "partial"

    # What is there

    @property
    def current_path(self) -> Path:
        """The file that changes when what serves changes."""
        return self.root / CURRENT

    def state(self) -> State:
        """What serves each skill. Raises RegistryCorrupt."""
        return read_state(self.root)

    def history(self, skill: str = "") -> list[Change]:
        """Every change, oldest first, or those of one skill."""
        return [change for change in read_history(self.root) if not skill or change.skill == skill]

    def folder(self, skill: str, version: str) -> Path:
        """Where a version lies, or would. Raises UnknownVersion for what is no skill's name."""
        if not SKILL_NAME.fullmatch(skill):
            raise UnknownVersion(f"{skill!r} is no skill. Name one as specialist/skill.", param="skill")
        return self._versions / skill / version[:SHORT]

    def versions(self, skill: str) -> list[str]:
        """Short names of the versions that lie here, the newest first."""
        folders = [path for path in self.folder(skill, "").glob("*") if (path / MANIFEST).is_file()]
        return [path.name for path in sorted(folders, key=lambda path: -(path / MANIFEST).stat().st_mtime_ns)]

    def skills(self) -> list[str]:
        """Skills of which there is a version, or of which the registry has decided something."""
        lying = {f"{path.parent.name}/{path.name}" for path in self._versions.glob("*/*") if path.is_dir()}
        return sorted(lying | self.state().skills.keys())

    def read(self, skill: str, version: str) -> Version:
        """A version, verified. Raises RegistryCorrupt."""
        found = read_version(self.folder(skill, version))
        if found.name != skill:
            raise RegistryCorrupt(f"The version in {self.folder(skill, version)} is one of {found.name}.")
        return found

    def find(self, skill: str, prefix: str) -> str:
        """The short name of the one version whose name begins with `prefix`. Raises UnknownVersion."""
        found = [name for name in self.versions(skill) if self._is_called(skill, name, prefix.lower())]
        if len(found) != 1:
            many = f"{len(found)} versions begin with {prefix!r}." if found else f"No version begins with {prefix!r}."
            raise self._unknown(skill, many)
        return found[0]

    # What changes

    def promote(
        self, version: Version, files: Mapping[str, Path | bytes], why: str = "", seen: State | None = None
    ) -> Version:
        """Take a version in and let it serve; returns it under its name. To promote what serves changes nothing.

        `seen` is the state by which it was judged. Raises PromotionRefused where another version serves by now.
        """
        with self._changing():
            state = self.state()
            entry = state.skills.get(version.name)
            placed, draft = self._written(version, files)
            serves = entry is not None and entry.version == placed.version
            if seen is not None and not serves:
                _same_as(seen.skills.get(version.name), entry, version.name)
            placed = self._place(placed, draft)
            if not serves:
                fresh = entry.then(placed.version) if entry else Entry(placed.version)
                self._change(state, placed.name, fresh, "promote", why)
            return placed

    def rollback(self, skill: str, to: str = "", why: str = "") -> Change:
        """Let the version before serve again, or the one whose name begins with `to`.

        Before the first version comes what was shipped or configured. Raises UnknownVersion where there is nothing to
        go back to or it serves already, RegistryCorrupt where what is to serve is damaged.
        """
        with self._changing():
            state = self.state()
            entry = state.skills.get(skill)
            if to:
                chosen = self._read_to_serve(skill, self.find(skill, to)).version
                if entry is not None and entry.version == chosen:
                    raise self._unknown(skill, f"{chosen[:SHORT]} is what it is set to already; nothing was changed.")
                fresh: Entry | None = entry.then(chosen) if entry else Entry(chosen)
            elif entry is None:
                raise self._unknown(skill, "No version of the registry serves it, so there is nothing to roll back.")
            else:
                fresh = self._step_back(skill, entry)
            return self._change(state, skill, fresh, "rollback", why)

    def retire(self, skill: str, why: str = "") -> Change:
        """No version serves the skill any more, a shipped one neither: only its prompted card, where it has one."""
        with self._changing():
            state = self.state()
            entry = state.skills.get(skill)
            if entry is not None and not entry.version:
                raise self._unknown(skill, "It is retired already.")
            fresh = entry.then("") if entry else Entry("")
            return self._change(state, skill, fresh, "retire", why)

    def delete(self, skill: str) -> tuple[list[str], list[str]]:
        """Remove the versions of a skill that neither serve nor are leased; returns those removed, and those in use."""
        with self._changing():
            state = self.state()
            entry = state.skills.get(skill, Entry(""))
            removed: list[str] = []
            in_use: list[str] = []
            for name in self.versions(skill):
                if name == entry.version[:SHORT]:
                    continue
                (removed if self._remove(skill, name) else in_use).append(name)
            before = tuple(version for version in entry.before if version[:SHORT] not in removed)
            if skill in state.skills and before != entry.before:
                skills = {**state.skills, skill: Entry(entry.version, before)}
                write_state(self.root, State(skills, state.last))
            return removed, in_use

    @contextmanager
    def lease(self, skill: str, version: str) -> Iterator[None]:
        """Hold a version: while the lease lasts, `delete` leaves it. Raises RegistryCorrupt if it is gone."""
        path = self.folder(skill, version) / MANIFEST
        try:
            with path.open("rb") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH)
                if not os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                    raise FileNotFoundError(path)
                yield
        except FileNotFoundError as error:
            raise RegistryCorrupt(f"The version {version[:SHORT]} of {skill} is gone.") from error

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / "lock"):
            shutil.rmtree(self._partial, ignore_errors=True)  # of a promotion that died: nobody else holds the lock
            try:
                yield
            finally:
                shutil.rmtree(self._partial, ignore_errors=True)

    def _change(self, state: State, skill: str, entry: Entry | None, what: str, why: str) -> Change:
        old = state.skills.get(skill)
        change = Change(
            number=state.last.number + 1 if state.last else 1,
            time=now(),
            who=_who(),
            what=what,
            skill=skill,
            before=(old.version or RETIRED) if old else UNREGISTERED,
            after=(entry.version or RETIRED) if entry else UNREGISTERED,
            why=why,
        )
        skills = {name: kept for name, kept in state.skills.items() if name != skill}
        if entry is not None:
            skills[skill] = entry
        write_state(self.root, State(skills, change))
        return change

    def _step_back(self, skill: str, entry: Entry) -> Entry | None:
        before = list(entry.before)
        while before and before[-1] == entry.version:  # what was between was deleted: no step at all
            before.pop()
        if not before:
            return None
        back = before.pop()
        if back:
            self._read_to_serve(skill, back)
        return Entry(back, tuple(before))

    def _read_to_serve(self, skill: str, version: str) -> Version:
        """A version that shall serve again. Raises RegistryCorrupt that says what to do instead."""
        try:
            return self.read(skill, version)
        except RegistryCorrupt as error:
            others = [name for name in self.versions(skill) if name != version[:SHORT]]
            other = f"name another with `concertino rollback {skill} --to` ({', '.join(others)})" if others else ""
            raise RegistryCorrupt(
                f"{error.message} What serves is unchanged. Promote its run again, which writes it anew"
                f"{f', or {other}' if other else ''}."
            ) from error

    def _written(self, version: Version, files: Mapping[str, Path | bytes]) -> tuple[Version, Path]:
        """A version under its name, and the draft of its folder, which no one reads."""
        draft = self._partial / uuid.uuid4().hex
        return write_version(draft, version, files), draft

    def _place(self, placed: Version, draft: Path) -> Version:
        """Move a version to its place, whole or not at all."""
        target = self.folder(placed.name, placed.version)
        if target.exists():
            try:
                return self.read(placed.name, placed.version)
            except RegistryCorrupt:
                target.rename(self._partial / uuid.uuid4().hex)  # the same files, as they should be, take its place
        for folder in (self._versions, target.parent.parent, target.parent):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        draft.rename(target)
        sync_folder(target.parent)
        return placed

    def _remove(self, skill: str, name: str) -> bool:
        path = self.folder(skill, name)
        with (path / MANIFEST).open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._partial.mkdir(exist_ok=True)
            doomed = self._partial / uuid.uuid4().hex
            path.rename(doomed)
        shutil.rmtree(doomed)
        return True

    def _is_called(self, skill: str, name: str, prefix: str) -> bool:
        if len(prefix) <= SHORT or not name.startswith(prefix[:SHORT]):
            return name.startswith(prefix)
        try:
            return self.read(skill, name).version.startswith(prefix)
        except RegistryCorrupt:
            return True  # nobody knows its other digits; whoever reads it is told that it is damaged

    def _unknown(self, skill: str, what: str) -> UnknownVersion:
        known = self.versions(skill)
        listed = f"Its versions: {', '.join(known)}." if known else "The registry has no version of it."
        return UnknownVersion(f"{skill}: {what} {listed} `concertino lineage` shows what serves.", param="skill")


def write_version(folder: Path, version: Version, files: Mapping[str, Path | bytes]) -> Version:
    """Write a version's files and its version.json into a new folder, durably; returns it under its name."""
    digests = {}
    for name, content in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digests[name] = _write(path, content)
    finished = named(msgspec.structs.replace(version, files=digests), now())
    _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(finished), indent=1) + b"\n")
    for inner in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        sync_folder(inner)
    return finished


def _write(path: Path, content: Path | bytes) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as out:
        if isinstance(content, bytes):
            digest.update(content)
            out.write(content)
        else:
            with content.open("rb") as source:
                while piece := source.read(1 << 20):
                    digest.update(piece)
                    out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    path.chmod(0o444)
    return digest.hexdigest()


def now() -> str:
    """This moment, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _same_as(judged: Entry | None, entry: Entry | None, name: str) -> None:
    """Raises PromotionRefused unless what serves is what it was when a candidate was judged."""
    was, serves = ((one.version[:SHORT] or RETIRED) if one else UNREGISTERED for one in (judged, entry))
    if was != serves:
        raise PromotionRefused(
            f"{name} was not promoted: while it was judged, what serves changed from {was} to {serves}. Promote it "
            "again, and it is judged against that."
        )


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
