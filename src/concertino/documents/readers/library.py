"""Libraries of the `documents` extra, imported when a file needs them."""

import importlib
from typing import Any

from concertino.errors import ConfigurationError


def require(module: str) -> Any:
    """The module. Raises ConfigurationError that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"Reading this kind of file needs {module}: pip install 'concertino[documents]'."
        ) from error
