"""`concertino run`: a skill over a file, a text per line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
_PASSING = (errors.BackendTimeout, errors.BackendError)
"""Errors that may be one answer's alone: they stand in its place too, but not many of them in a row."""
_MOST_IN_A_ROW = 8
_BUSY_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Pauses before a text is sent again to a gateway that has enough to do."""

Advance = Callable[[int], None]


class Totals:
    """What the summary counts."""

    def __init__(self) -> None:
        self.answered = self.abstained = 0
        self.first_error: ConcertinoError | None = None
        self.failed = self._in_a_row = 0

    def count(self, found: Answer | ConcertinoError) -> None:
        """Count an answer, or an error in the place of one. Raises that error where it is one of too many."""
        passing = isinstance(found, _PASSING)
        self._in_a_row = self._in_a_row + 1 if passing else 0
        if isinstance(found, ConcertinoError):
            if self._in_a_row == _MOST_IN_A_ROW:
                raise found
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
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the lines that --out has, and go on behind the last of them.")
    ] = False,
    as_json: JsonOption = False,
    no_gateway: GatewayOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    config_path: ConfigOption = None,
) -> None:
    """Run a skill over a file of rows: for each row, in order, a line with output, confidence and abstained.

    FILE (- for stdin) holds an object in each line: {"text": ...}, or the fields that the skill was trained on, such
    as a question and its contexts, which are put together as they were in training (`concertino specialists NAME`
    shows how). Each line of the answer tells the "line" that it is for, and the row's "id" where it has one. They are
    written as they come, so that what was done is kept if it is interrupted; --resume goes on from there. A row that
    cannot be read or answered has an "error" in its place, and the exit status says so. --json prints a summary at the
    end, where --out leaves stdout free.

    \b
    Examples:
      concertino run legal/clause-type --jsonl clauses.jsonl --out types.jsonl
      concertino run legal/clause-type --jsonl clauses.jsonl --out types.jsonl --resume
      zcat messages.jsonl.gz | concertino run finance/banking-intent --jsonl - | jq -r .output
    """
    if as_json and out is None:
        raise typer.BadParameter("--json prints the summary on stdout, so give --out FILE for the answers.")
    if out is not None and out.exists() and lines.exists() and out.samefile(lines):
        raise typer.BadParameter("--out would overwrite the file that is read.")
    if resume and (out is None or str(lines) == "-"):
        raise typer.BadParameter("--resume needs --out FILE, and rows from a file in place of stdin.")
    settings = config.load(config_path)
    where = gateway_url(settings, url, no_gateway)
    totals, done = Totals(), _done(out) if resume and out is not None else 0
    with jsonl.opened(lines) as file, ExitStack() as written, asyncio.Runner() as runner:
        session = answerer(settings, where, api_key, skill)
        if where is None:
            from concertino.registry import lay_over

            overlaid = lay_over(settings)
            for problem in overlaid.problems:
                output.say(problem.message)
            template = _template(skill, _skills(overlaid.settings))
        team = runner.run(session.__aenter__())
        try:
            if where is not None:
                template = runner.run(_template_at_gateway(skill, team))
            target = written.enter_context(_written(out, done > 0))  # which empties it, so not for a skill misspelt
            quiet = not sys.stderr.isatty() or (out is None and sys.stdout.isatty())
            with _progress(lines, totals, quiet) as advance:
                for batch in jsonl.read_batches(file, jsonl.name_of(lines), _BATCH, template):
                    rows = [row for row in batch.rows if row.line > done]
                    runner.run(_answer_batch(team, skill, rows, target, totals, advance))
                    advance(batch.consumed)
        finally:
            runner.run(session.__aexit__(None, None, None))
    _finish(totals, as_json)


async def _answer_batch(
    team: Answerer, skill: str, rows: Sequence[jsonl.Row], target: TextIO, totals: Totals, advance: Advance
) -> None:
    async for row, found in _in_order(team, skill, rows):
        totals.count(found)
        target.write(msgspec.json.encode(_as_line(row, found)).decode() + "\n")
        target.flush()
        advance(0)


async def _in_order(
    team: Answerer, skill: str, rows: Sequence[jsonl.Row]
) -> AsyncIterator[tuple[jsonl.Row, Answer | ConcertinoError]]:
    """The answers in the order of the rows, a few at work at once. What is not the row's fault is raised."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(row: jsonl.Row) -> Answer | ConcertinoError:
        if isinstance(row.text, ConcertinoError):
            return row.text
        async with turn:
            return await _answer(team, Request((Message(Role.USER, row.text),), skill))

    tasks = [asyncio.ensure_future(one(row)) for row in rows]
    try:
        for row, task in zip(rows, tasks, strict=True):
            yield row, await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(team: Answerer, request: Request) -> Answer | ConcertinoError:
    """The answer, or the error that may stand in its place; a gateway that has enough to do is asked again."""
    for pause in (*_BUSY_S, None):
        try:
            async with team.answering(request) as run:
                async for _ in run.chunks():
                    pass
            return run.answer()
        except errors.BackendUnavailable:
            raise
        except (*_OF_THE_TEXT, *_PASSING) as error:
            return error
        except errors.Overloaded:
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _as_line(row: jsonl.Row, found: Answer | ConcertinoError) -> dict[str, Any]:
    line: dict[str, Any] = {"line": row.line} if row.id is None else {"line": row.line, "id": row.id}
    if isinstance(found, ConcertinoError):
        return line | found.to_wire()
    line |= {"output": found.text, "confidence": found.confidence, "abstained": found.abstained}
    if found.scope is not None:
        line["scope"] = found.scope
    return line | {"escalated": found.escalated} if found.escalated else line


def _done(out: Path) -> int:
    """The line that the last whole line of an earlier answer is for, 0 where there is none. Half a line is cut off."""
    if not out.exists():
        return 0
    with out.open("r+b") as file:
        last, end = b"", 0
        for line in file:
            if line.endswith(b"\n"):
                last, end = line, end + len(line)
        file.truncate(end)
    try:
        return int(msgspec.json.decode(last, type=dict[str, Any])["line"]) if last else 0
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        said = f"--out {out} was not written by this command, so --resume cannot go on in it. Name another file."
        raise typer.BadParameter(said) from error


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
def _written(out: Path | None, more: bool = False) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("a" if more else "w", encoding="utf-8", newline="\n")
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
