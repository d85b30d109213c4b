"""`concertino route`: the decision alone. Runs in this process and needs no model."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from concertino import config
from concertino.cli import jsonl, output
from concertino.cli.session import ConfigOption, JsonOption, given_text, readable_file
from concertino.errors import ConcertinoError
from concertino.types import Decision, Message, Request, Role

if TYPE_CHECKING:
    from concertino.orchestrator.decider import Decider

_BATCH = 64


def route(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The text; - reads it from stdin.")] = None,
    lines: Annotated[
        Path | None,
        typer.Option(
            "--jsonl",
            metavar="FILE",
            callback=lambda path: path and readable_file(path),
            help='{"text": ...} per line.',
        ),
    ] = None,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Say who would answer, how sure the router is, and why. Nothing is run, and no model is needed.

    With --jsonl, each line of FILE (- for stdin) holds an object with a "text", and each line of the output is the
    Decision for it, in order. A line without a text, or with one that policy refuses, has an "error" in its place, and
    the exit status says so.

    \b
    Examples:
      concertino route "Is a verbal contract binding?"
      concertino route --json - < question.txt
      concertino route --jsonl questions.jsonl > decisions.jsonl
    """
    if (text is None) == (lines is None):
        raise typer.BadParameter("give either TEXT or --jsonl FILE.")
    said = given_text(text) if text is not None else None
    settings = config.load(config_path)
    from concertino.orchestrator.decider import engineless

    decider = engineless(settings)
    if lines is not None:
        _route_lines(decider, lines)
        return
    decision = asyncio.run(decider.decide_many([_request(said or "")]))[0]
    if as_json:
        output.print_json(msgspec.to_builtins(decision))
        return
    output.print_text(f"{decision.specialist} (confidence {decision.confidence:.2f}, tier {decision.tier.value})")
    output.print_text(decision.reason)
    output.print_text("  ".join(f"{name} {score:.2f}" for name, score in decision.scores.items()))


def _route_lines(decider: "Decider", path: Path) -> None:
    first_error: ConcertinoError | None = None
    refused = 0
    with jsonl.opened(path) as file, asyncio.Runner() as runner:
        for batch in jsonl.read_batches(file, jsonl.name_of(path), _BATCH):
            texts = [row.text for row in batch.rows if isinstance(row.text, str)]
            decided = iter(runner.run(_decide(decider, texts)))
            for row in batch.rows:
                found = next(decided) if isinstance(row.text, str) else row.text
                if isinstance(found, ConcertinoError):
                    where = f"{jsonl.name_of(path)}, line {row.line}: " if found is not row.text else ""
                    output.say(f"{where}{found.message}")
                    output.print_json(found.to_wire())
                    first_error, refused = first_error or found, refused + 1
                else:
                    output.print_json(msgspec.to_builtins(found))
    if first_error is not None:
        output.say(f"{refused} of the texts have an error in place of a decision.")
        raise typer.Exit(output.exit_code(first_error))


async def _decide(decider: "Decider", texts: list[str]) -> list[Decision | ConcertinoError]:
    return await decider.decide_each([_request(text) for text in texts])


def _request(text: str) -> Request:
    return Request((Message(Role.USER, text),))
