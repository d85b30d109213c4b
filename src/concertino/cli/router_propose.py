"""`concertino router propose`: what callers said of decisions, as a list to label or as examples to learn from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from concertino import config
from concertino.cli import output, router_tables
from concertino.cli.session import ConfigOption, JsonOption
from concertino.errors import ConfigurationError

if TYPE_CHECKING:
    from concertino.orchestrator.propose import Export, Labels
    from concertino.policy.base import Detector


def propose(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many to list.")] = 20,
    among: Annotated[int, typer.Option("--among", min=1, help="How many of the last requests to look at.")] = 5000,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write what callers confirmed and corrected to FILE instead, for `router fit --examples`.",
        ),
    ] = None,
    personal: Annotated[
        bool,
        typer.Option("--personal", help="Write requests too that hold health data or identify somebody."),
    ] = False,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """List the requests that are most worth a label: said to be wrong (POST /v1/feedback), then closest between two.

    Texts are shown only where the audit log keeps content (audit.keep_text); else look an id up where you keep them.

    With --export, write those that have a label: a line {"text": ..., "label": DOMAIN} for each request that was
    confirmed or corrected, a later turn with those before it. `router fit --examples` and `router train --examples`
    read it. What is left out is counted: also requests that policy held to be health data, and texts in which the
    detectors of policy.detectors find an identifier, unless --personal is given.

    \b
    Examples:
      concertino router propose -n 50
      concertino router propose --export judged.jsonl
    """
    if personal and export is None:
        raise typer.BadParameter("--personal is for --export FILE.")
    from concertino.audit.read import AuditReader
    from concertino.orchestrator import propose as run
    from concertino.storage.database import open_database
    from concertino.storage.feedback import FeedbackStore

    settings = config.load(config_path)
    entries = AuditReader(settings.audit_path).tail(among)
    engine = open_database(settings.state_url)
    try:
        feedback = FeedbackStore(engine).latest()
    finally:
        engine.dispose()
    labels = _labels(settings)
    if export is not None:
        written = run.export(entries, feedback, labels, () if personal else _identifying(settings))
        _write(written, export)
        summary = {name: value for name, value in msgspec.structs.asdict(written).items() if name != "rows"}
        if as_json:
            output.print_json({"file": str(export), "rows": len(written.rows), **summary})
        else:
            output.print_text(router_tables.exported(written, export))
        return
    found = run.propose(entries, feedback, count, labels)
    if as_json:
        output.print_json(found)
    else:
        output.print_text(router_tables.proposals(found))


def _labels(settings: config.Settings) -> "Labels":
    """By the domains that the configured router knows."""
    from concertino.orchestrator.decider import engineless
    from concertino.orchestrator.propose import Labels

    router = engineless(settings).router
    known = getattr(getattr(router, "router", router), "domains", None)
    return Labels(settings, known)


def _identifying(settings: config.Settings) -> "list[Detector]":
    """The detectors of identifiers that policy has; the built-in one where it has none, since a file is another place
    than an engine."""
    from concertino.policy.base import Kind
    from concertino.policy.rules import load_detectors

    found = [one for one in load_detectors(settings.policy.detectors) if one.kind is Kind.IDENTIFIER]
    return found or load_detectors(["identifiers"])


def _write(found: "Export", path: Path) -> None:
    """For its owner alone: it holds what people asked."""
    try:
        path.touch(mode=0o600)
        if path.is_file():  # one of before may be open to others; a pipe or a terminal is left as it is
            path.chmod(0o600)
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in found.rows))
    except OSError as error:
        raise ConfigurationError(f"the export cannot be written to {path}: {error}", param="export") from error
