"""What every verb prints by: answers on stdout, everything else on stderr, one exit status for each kind of failure."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from concertino import errors
from concertino.errors import ConcertinoError

OK, FAILED, USAGE, CONFIGURATION, MODEL, REFUSED, UNAVAILABLE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 4, 5, 6, 130, 141

EXIT_CODES = {
    OK: "done",
    FAILED: "failed: a line of the input is bad, a check found a problem, anything not below",
    USAGE: "usage: no such command, option, specialist or skill",
    CONFIGURATION: "configuration: concertino.yaml, a file that it names, or a recipe",
    MODEL: "models: not pulled yet, damaged, or the pull failed",
    REFUSED: "refused: by policy, by the promotion gate, by a budget, or for want of a valid API key",
    UNAVAILABLE: "unavailable: engine, gateway, upstream, audit log or port",
    INTERRUPTED: "interrupted (Ctrl-C)",
    PIPE_CLOSED: "the reader of the output went away",
}

_BY_ERROR: tuple[tuple[type[ConcertinoError], int], ...] = (
    (errors.UnknownModel, USAGE),
    (errors.ConfigurationError, CONFIGURATION),
    (errors.RecipeInvalid, CONFIGURATION),
    (errors.UnknownVersion, USAGE),
    (errors.PromotionRefused, REFUSED),
    (errors.ModelError, MODEL),
    (errors.PolicyRefused, REFUSED),
    (errors.Unauthenticated, REFUSED),
    (errors.BudgetExhausted, REFUSED),
    (errors.BackendError, UNAVAILABLE),
    (errors.AuditUnavailable, UNAVAILABLE),
    (errors.Overloaded, UNAVAILABLE),
    (errors.BudgetUnavailable, UNAVAILABLE),
    (errors.AddressInUse, UNAVAILABLE),
)

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}


def exit_code(error: ConcertinoError) -> int:
    """The exit status for an error: that of the nearest class in the table."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), FAILED)


def say(sentence: str) -> None:
    """A sentence for the person at the terminal, on stderr."""
    print(_printable(sentence, sys.stderr), file=sys.stderr, flush=True)


def report(error: ConcertinoError, as_json: bool) -> None:
    """An error: a red sentence on stderr; with --json also its wire shape on stdout."""
    if as_json:
        print_json(error.to_wire())
    sentence = _printable(f"concertino: {error.message}", sys.stderr)
    print(f"{_RED}{sentence}{_PLAIN}" if _coloured() else sentence, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_text(text: str, end: str = "\n") -> None:
    """Text on stdout at once. What a model wrote cannot move the cursor or rename the window of a terminal."""
    sys.stdout.write(_printable(text, sys.stdout) + end)
    sys.stdout.flush()


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, as wide as the terminal; unwrapped where stdout is no terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=10_000, soft_wrap=True)
    console.print(table)


class Spinner:
    """A turning sign on stderr while something takes its time; nothing where stderr is no terminal."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._status: Any = None

    def __enter__(self) -> "Spinner":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.text import Text

            self._status = Console(stderr=True).status(Text(self._sentence))
            self._status.start()
        return self

    def stop(self) -> None:
        """End it early. Safe to call twice."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _printable(text: str, stream: Any) -> str:
    """Text that the stream can take: no control characters for a terminal, no lone surrogates for anybody."""
    if stream.isatty():
        text = text.translate(_CONTROLS)
    return text.encode("utf-8", "replace").decode()


def _coloured() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
