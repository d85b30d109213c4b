"""How a backend reads its options from the configuration."""

from typing import TypeVar

import msgspec

from concertino.backends.base import BackendContext
from concertino.errors import ConfigurationError

T = TypeVar("T")


def parse_options(context: BackendContext, options_type: type[T]) -> T:
    """`context.options` as `options_type`. Raises ConfigurationError that names the backend and the key."""
    try:
        return msgspec.convert(context.options, options_type)
    except msgspec.ValidationError as error:
        where = f"backends.{context.name}.options"
        raise ConfigurationError(f"{where}: {error}. docs/backends.md lists them.", param=where) from error
