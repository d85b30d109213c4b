"""The command line: `concertino VERB`. One file a verb; this one finds the verb and turns errors into exit codes.

Nothing is imported before it is needed, so that `concertino --help` is quick and a verb pays only for itself.
"""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from concertino import __version__
from concertino.cli import output
from concertino.cli.verbs import ReaderGone, VerbGroup
from concertino.errors import ConcertinoError, DiskFull

_ClickException = typer.BadParameter.__mro__[2]
"""The root of the parser's own errors, which typer does not export."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_EPILOGUE = "\b\nExit status:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in output.EXIT_CODES.items())

app = typer.Typer(
    cls=VerbGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"concertino {__version__}")
        raise typer.Exit


@app.callback(epilog=_EPILOGUE)
def concertino(
    config: Annotated[
        str | None,
        typer.Option(
            "--config", "-c", metavar="PATH", help="Configuration; default: $CONCERTINO_CONFIG, else ./concertino.yaml."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A team of specialist language models behind one OpenAI-compatible endpoint.

    \b
    Start here:
      concertino up                        pull the models and serve the team
      concertino ask "What is a tort?"     ask it something
      concertino doctor                    see what is wrong, and what to do

    Answers go to stdout, everything else to stderr. --json prints JSON.
    """
    if config is not None:
        # Verbs read their configuration by `config.load()`, which looks here.
        os.environ["CONCERTINO_CONFIG"] = config


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit status."""
    as_json = "--json" in arguments
    try:
        status = typer.main.get_command(app).main(list(arguments), prog_name="concertino", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else output.OK
    except (ReaderGone, BrokenPipeError):
        # Python would complain once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return output.PIPE_CLOSED
    except (KeyboardInterrupt, typer.Abort):
        output.say("Interrupted.")
        return output.INTERRUPTED
    except ConcertinoError as error:
        output.report(error, as_json)
        return output.exit_code(error)
    except Exception as error:
        if isinstance(error, _ClickException):
            error.show()  # type: ignore[attr-defined]
            return output.USAGE
        if os.environ.get("CONCERTINO_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.errno in _FULL:
            where = f" for {error.filename}" if error.filename else ""
            told = (
                f"No space left{where} ({error.strerror}). Make room where it writes, and run the same command again."
            )
            output.report(DiskFull(told), as_json)
            return output.exit_code(DiskFull(told))
        said = f"Something failed that should not: {type(error).__name__}: {error}"
        output.report(ConcertinoError(f"{said}. Run it again with CONCERTINO_TRACEBACK=1 and report it."), as_json)
        return output.FAILED


def main() -> None:
    """The `concertino` command."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(run(sys.argv[1:]))
