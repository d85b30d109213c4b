"""Where a router is written: looked at before a fit, so that its end does not find out."""

import os
from pathlib import Path

from concertino.errors import ConfigurationError


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
