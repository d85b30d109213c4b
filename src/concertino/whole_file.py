"""Files that are there whole or not at all, and that a power cut does not take back."""

import os
from pathlib import Path
from typing import Any

import msgspec


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file. Who reads it meanwhile finds what was there before. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_whole` of a value as JSON that a person can read."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
