"""`concertino run`: a skill over a file, a text per line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import msgspec
import typer

from concertino import config, errors
from concertino.cli import jsonl, output
from concertino.cli.session import (
    Answerer,
    ConfigOption,
    GatewayOption,
    JsonOption,
    KeyOption,
    UrlOption,
    answerer,
    gateway_url,
    readable_file,
)
from concertino.config import Settings
from concertino.errors import ConcertinoError, UnknownModel
from concertino.types import Answer, Message, Request, Role

_BATCH = 64
_AT_ONCE = 8
_OF_THE_TEXT = (errors.InvalidRequest, errors.PolicyRefused)
"""Errors that are a text's own fault: they stand in its place, and the next text is tried."""

Advance = Callable[[int], None]


class Totals:
    """What the summary counts."""

    def __init__(self) -> None:
        self.answered = self.abstained = 0
        self.first_error: ConcertinoError | None = None
        self.failed = 0

    def count(self, found: Answer | ConcertinoError) -> None:
        if isinstance(found, ConcertinoError):
            self.first_error = self.first_error or found
            self.failed += 1
        else:
            self.answered += 1
            self.abstained += found.abstained


def run(
    skill: Annotated[str, typer.Argument(metavar="SKILL", help="SPECIALIST/SKILL, as in legal/clause-type.")],
    lines: Annotated[
        Path, typer.Option("--jsonl", metavar="FILE", callback=readable_file, help="A row per line, as JSON.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the answers go; default: stdout.")
    ] = None,
    as_json: JsonOption = False,
    no_gateway: GatewayOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    config_path: ConfigOption = None,
) -> None:
    """Run a skill over a file of rows: for each line, in order, a line with output, confidence and abstained.

    FILE (- for stdin) holds an object in each line: {"text": ...}, or the fields that the skill was trained on, such
    as a question and its contexts, which are put together as they were in training (`concertino specialists NAME`
    shows how). The lines of the answer are written as they come, so that what was done is kept if it is interrupted.
    A text that cannot be answered has an "error" in its place, and
    the exit status says so. --json prints a summary at the end, where --out leaves stdout free.

    \b
    Examples:
      concertino run legal/clause-type --jsonl clauses.jsonl --out types.jsonl
      zcat messages.jsonl.gz | concertino run finance/banking-intent --jsonl - | jq -r .output
    """
    if as_json and out is None:
        raise typer.BadParameter("--json prints the summary on stdout, so give --out FILE for the answers.")
    if out is not None and out.exists() and lines.exists() and out.samefile(lines):
        raise typer.BadParameter("--out would overwrite the file that is read.")
    settings = config.load(config_path)
    where = gateway_url(settings, url, no_gateway)
    totals = Totals()
    with jsonl.opened(lines) as file, _written(out) as target, asyncio.Runner() as runner:
        session = answerer(settings, where, api_key, skill)
        if where is None:
            from concertino.registry import lay_over

            template = _template(skill, _skills(lay_over(settings).settings))
        team = runner.run(session.__aenter__())
        try:
            if where is not None:
                template = runner.run(_template_at_gateway(skill, team))
            quiet = not sys.stderr.isatty() or (out is None and sys.stdout.isatty())
            with _progress(lines, totals, quiet) as advance:
                for batch in jsonl.read_batches(file, jsonl.name_of(lines), _BATCH, template):
                    runner.run(_answer_batch(team, skill, batch.texts, target, totals, advance))
                    advance(batch.consumed)
                    if batch.problem:
                        raise batch.problem
        finally:
            runner.run(session.__aexit__(None, None, None))
    _finish(totals, as_json)


async def _answer_batch(
    team: Answerer, skill: str, texts: Sequence[str], target: TextIO, totals: Totals, advance: Advance
) -> None:
    async for found in _in_order(team, skill, texts):
        totals.count(found)
        target.write(msgspec.json.encode(_as_line(found)).decode() + "\n")
        target.flush()
        advance(0)


async def _in_order(team: Answerer, skill: str, texts: Sequence[str]) -> AsyncIterator[Answer | ConcertinoError]:
    """The answers in the order of the texts, a few at work at once. What is not the text's fault is raised."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(text: str) -> Answer | ConcertinoError:
        async with turn:
            try:
                async with team.answering(Request((Message(Role.USER, text),), skill)) as run:
                    async for _ in run.chunks():
                        pass
                return run.answer()
            except _OF_THE_TEXT as error:
                return error

    tasks = [asyncio.ensure_future(one(text)) for text in texts]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _as_line(found: Answer | ConcertinoError) -> dict[str, Any]:
    if isinstance(found, ConcertinoError):
        return found.to_wire()
    line = {"output": found.text, "confidence": found.confidence, "abstained": found.abstained}
    if found.scope is not None:
        line["scope"] = found.scope
    return line | {"escalated": found.escalated} if found.escalated else line


def _skills(settings: Settings) -> dict[str, str]:
    return {f"{card.name}/{skill.name}": skill.template for card in settings.specialists for skill in card.skills}


async def _template_at_gateway(skill: str, team: Any) -> str:
    return _template(skill, await team.skills())


def _template(skill: str, known: Mapping[str, str]) -> str:
    """What the skill reads of a row. Raises UnknownModel that lists the skills."""
    if skill not in known:
        listed = f"Skills: {', '.join(known)}." if known else "This team has none."
        raise UnknownModel(f"{skill!r} is not a skill of this team. {listed}", param="model")
    return known[skill]


@contextmanager
def _written(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise typer.BadParameter(f"--out {out} cannot be written: {error.strerror}.") from error
    with file:
        yield file


@contextmanager
def _progress(lines: Path, totals: Totals, quiet: bool) -> Iterator[Advance]:
    """A function that is told of bytes that are done, and shows the totals on stderr."""
    if quiet:
        yield lambda consumed: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    size = lines.stat().st_size if lines.is_file() else None
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("0 texts", total=size)

        def advance(consumed: int) -> None:
            progress.update(task, advance=consumed, description=f"{totals.answered + totals.failed} texts")

        yield advance


def _finish(totals: Totals, as_json: bool) -> None:
    said = f"{totals.answered} answered, {totals.abstained} of them abstained; {totals.failed} with an error."
    output.say(said)
    if as_json:
        output.print_json({"answered": totals.answered, "abstained": totals.abstained, "failed": totals.failed})
    if totals.first_error is not None:
        output.say(f"The first error: {totals.first_error.message}")
        raise typer.Exit(output.exit_code(totals.first_error))
