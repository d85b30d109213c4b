"""The key of the content digests: a file of 32 random bytes in the home folder, made once, readable by its owner."""

import os
import secrets
from pathlib import Path

from concertino.errors import AuditUnavailable
from concertino.whole_file import sync_folder

KEY_NAME = "audit.key"
_SIZE = 32


def load_or_create(path: Path) -> bytes:
    """The key at `path`. Made if missing, in a way that two processes at once agree on one.

    Raises AuditUnavailable when it cannot be read or made, is damaged, or others may read it.
    """
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o007:
            raise AuditUnavailable(f"Everyone on this machine may read the audit key {path}. Run: chmod 600 {path}")
        key = path.read_bytes()
    except OSError as error:
        raise AuditUnavailable(
            f"The audit key {path} cannot be read or made: {error.strerror}. Check the folder and its permissions."
        ) from error
    if len(key) != _SIZE:
        raise AuditUnavailable(
            f"The audit key {path} holds {len(key)} bytes instead of {_SIZE}. Restore it; with a new key old digests "
            "can no longer be compared."
        )
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SIZE))
            file.flush()
            os.fsync(file.fileno())
        # A link fails where the name is taken, so the first of two writers wins and neither sees half a file.
        os.link(draft, path)
        sync_folder(path.parent)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
