"""Concertino: a team of specialist language models behind one OpenAI-compatible endpoint.

The public face is small: `Team` runs a team in this process; the nouns that travel are in `concertino.types`
and the errors in `concertino.errors`. Importing this package reads no file, opens no socket and loads no model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concertino.orchestrator.team import Team as Team

__version__ = "0.1.0"

__all__ = ["Team", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Team":
        from concertino.orchestrator.team import Team

        return Team
    raise AttributeError(f"module 'concertino' has no attribute {name!r}")
