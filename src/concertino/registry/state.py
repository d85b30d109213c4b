"""Which version of each skill serves, and how it came to that: two files that are never half written.

`current.json` says what serves; it is replaced by one rename. `history.jsonl` has a line for each change. The change
itself stands in current.json too, so that a line which a crash kept out of the history is added by the next change.
"""

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.errors import RegistryCorrupt
from concertino.whole_file import write_json

CURRENT = "current.json"
HISTORY = "history.jsonl"
_KEPT = 50
"""Versions to which `rollback` can step back."""


class Change(Struct, frozen=True):
    """One change of what serves a skill. A version is `shipped` or `prompted` where the registry has no say."""

    number: int
    time: str
    """ISO 8601, UTC."""
    who: str
    what: str
    """`promote`, `rollback` or `retire`."""
    skill: str
    before: str
    after: str
    why: str = ""


class Entry(Struct, frozen=True):
    """What serves one skill: a content hash, or an empty string where it was retired."""

    version: str
    before: tuple[str, ...] = ()
    """What served before, oldest first."""

    def then(self, version: str) -> "Entry":
        return Entry(version, (*self.before, self.version)[-_KEPT:])


class State(Struct, frozen=True):
    """Skill -> what serves it. A skill that is not named is served as it was shipped or configured."""

    skills: dict[str, Entry] = field(default_factory=dict)
    last: Change | None = None


def read_state(root: Path) -> State:
    """What serves now; of a registry that is not there, nothing. Raises RegistryCorrupt."""
    path = root / CURRENT
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.MsgspecError) as error:
        raise RegistryCorrupt(
            f"{path} cannot be read: {error}. {root / HISTORY} tells what served; promote that again after moving "
            "the broken file away."
        ) from error


def read_history(root: Path) -> list[Change]:
    """Every change, oldest first. A line that was cut off by a crash is not there; what it said is."""
    try:
        raw = (root / HISTORY).read_bytes()
    except FileNotFoundError:
        raw = b""
    changes = []
    for line in raw.split(b"\n"):
        try:
            changes.append(msgspec.json.decode(line, type=Change))
        except msgspec.MsgspecError:
            continue
    last = read_state(root).last
    return [*changes, last] if last is not None and last not in changes[-1:] else changes


def write_state(root: Path, state: State) -> None:
    """Make `state` what serves, then write its change to the history. The caller holds the registry's lock."""
    _append_missing(root)
    write_json(root / CURRENT, state)
    # The change is made: a history that cannot be written now is brought up to it by the next one, as after a crash.
    with contextlib.suppress(OSError):
        _append_missing(root)


def _append_missing(root: Path) -> None:
    """Bring the history up to the change that current.json names."""
    last = read_state(root).last
    if last is None:
        return
    path = root / HISTORY
    with path.open("a+b") as file:
        file.seek(0)
        whole = file.read()
        ended = whole.rfind(b"\n") + 1
        if ended < len(whole):
            file.truncate(ended)
        newest = whole[:ended].rstrip(b"\n").rsplit(b"\n", 1)[-1]
        line = msgspec.json.encode(last)
        if newest != line:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
