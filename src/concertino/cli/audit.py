"""`concertino audit`: the last requests, one request, and whether the chain holds."""

import time
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from concertino import config
from concertino.audit.read import AuditReader, ChainState, Entry
from concertino.cli.session import ConfigOption
from concertino.errors import NotFound

app = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
_COLUMNS = ("time", "id", "tenant", "model", "specialist", "tier", "outcome", "tokens", "seconds")


def _reader(path: str | None) -> AuditReader:
    return AuditReader(config.load(path).audit_path)


@app.command()
def tail(
    n: Annotated[int, typer.Option("-n", min=1, help="How many requests.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as requests come in.")] = False,
    as_json: Json = False,
    config_path: ConfigOption = None,
) -> None:
    """The last requests, oldest first. One that was begun and never ended is `unfinished`.

    \b
    Examples:
      concertino audit tail -n 5
      concertino audit tail --follow --json | jq .outcome
    """
    reader = _reader(config_path)
    try:
        entries = reader.tail(n)
    except NotFound:
        if not follow:
            raise
        entries = []
    if as_json or follow:
        _lines(entries, as_json)
    else:
        _table(entries)
    if follow:
        _follow(reader, entries, as_json)


@app.command()
def show(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The id in `x-request-id`, or how it begins.")],
    as_json: Json = False,
    config_path: ConfigOption = None,
) -> None:
    """Both records of one request, by its id or the beginning of it.

    \b
    Example:
      concertino audit show chatcmpl-7dbe
    """
    entry = _reader(config_path).show(request_id)
    if as_json:
        typer.echo(msgspec.json.encode(entry))
        return
    typer.echo(f"request {entry.id}  outcome {entry.outcome}  record {entry.seq}")
    for half in ("begin", "end"):
        stored = entry.begin if half == "begin" else entry.end
        typer.echo(f"\n{half}:" if stored else f"\n{half}: none (still running, or the process died)")
        if stored:
            typer.echo(msgspec.json.format(msgspec.json.encode(stored), indent=2))


@app.command()
def verify(as_json: Json = False, config_path: ConfigOption = None) -> None:
    """Recompute the hash chain. Exit code 1 and the first bad record when it is broken.

    \b
    Example:
      concertino audit verify
    """
    result = _reader(config_path).verify()
    if as_json:
        typer.echo(msgspec.json.encode(result))
    elif result.state is ChainState.INTACT:
        typer.echo(f"intact: {result.records} records, {result.unfinished} requests unfinished\nhead: {result.head}")
    else:
        typer.echo(f"BROKEN at record {result.bad_seq}: {result.reason}\ngood before it: {result.records} records")
    if result.state is ChainState.BROKEN:
        raise typer.Exit(1)


def _row(entry: Entry) -> tuple[str, ...]:
    decision: dict[str, Any] = entry.begin.get("decision") or {}
    end = entry.end or {}
    usage = end.get("usage") or {}
    tokens = f"{usage['prompt_tokens']}+{usage['completion_tokens']}" if usage else "-"
    return (
        datetime.fromtimestamp(entry.begin["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        entry.id,
        entry.begin["tenant"],
        _short(entry.begin["model"]),
        decision.get("specialist", "-"),
        decision.get("tier", "-"),
        entry.outcome + (f" ({end['error_code']})" if end.get("error_code") else ""),
        tokens,
        f"{end['duration_s']:.2f}" if end else "-",
    )


def _short(model: str) -> str:
    """A digest stands where a caller named no model of the team; its beginning is enough for a table."""
    return model[:20] + "…" if model.startswith("hmac-sha256:") else model


def _lines(entries: list[Entry], as_json: bool) -> None:
    for entry in entries:
        typer.echo(msgspec.json.encode(entry).decode() if as_json else "  ".join(_row(entry)))


def _table(entries: list[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"completed": "green", "failed": "red", "refused": "yellow", "unfinished": "magenta"}
    console = Console()
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for entry in entries:
        table.add_row(*_row(entry), style=colours.get(entry.outcome) if console.is_terminal else None)
    if console.is_terminal:
        console.print(table)
    else:
        # A pipe has no width: nothing is to be cut.
        typer.echo("\t".join(_COLUMNS))
        for entry in entries:
            typer.echo("\t".join(_row(entry)))


def _follow(reader: AuditReader, seen: list[Entry], as_json: bool) -> None:
    """New requests as they begin, and unfinished ones again when they end."""
    last = max((entry.seq for entry in seen), default=0)
    waiting = {entry.id for entry in seen if entry.end is None}
    while True:
        time.sleep(0.5)
        try:
            fresh = reader.tail(1000, after=last)
            ended = [entry for entry in map(reader.show, sorted(waiting)) if entry.end]
        except NotFound:
            continue
        _lines(ended + fresh, as_json)
        waiting -= {entry.id for entry in ended}
        waiting |= {entry.id for entry in fresh if entry.end is None}
        last = max((entry.seq for entry in fresh), default=last)
