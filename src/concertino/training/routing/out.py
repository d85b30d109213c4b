"""Where a router is written: looked at before a fit, so that its end does not find out; and its manifest there."""

import os
from pathlib import Path

import msgspec

from concertino.errors import ConfigurationError
from concertino.router.manifest import MANIFEST, Manifest


def check_out(folder: Path) -> None:
    """Raises ConfigurationError where `folder` is no folder and cannot become one, or cannot be written."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        problem = f"{there} is a file" if there != folder.absolute() else "it is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        problem = f"{there} cannot be written"
    else:
        return
    raise ConfigurationError(f"the router cannot be written to {folder}: {problem}. Name another --out.", param="out")


def write_manifest(manifest: Manifest, out: Path) -> None:
    """Write `router.json`, indented so that a difference can be read."""
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
