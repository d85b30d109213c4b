"""`concertino doctor`: what is wrong with this machine and this configuration, and what to do."""

from typing import Annotated

import msgspec
import typer

from concertino.cli import output
from concertino.cli.checks import Finding, State, examine
from concertino.cli.session import ConfigOption, JsonOption

_SIGNS = {State.OK: "ok", State.WARNING: "warning", State.PROBLEM: "problem"}
_COLOURS = {State.OK: "\x1b[32m", State.WARNING: "\x1b[33m", State.PROBLEM: "\x1b[31m"}


def doctor(
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte of the models; takes seconds.")] = False,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Check this machine and this configuration, and say what to do.

    Processor, memory, disk, configuration, home folder, models, audit log, port. Nothing is changed. Exit status 1 if
    there is a problem; a warning is none.

    \b
    Examples:
      concertino doctor
      concertino doctor --verify
      concertino doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    with output.Spinner("Looking"):
        findings = examine(config_path, verify)
    worst = State.PROBLEM in {finding.state for finding in findings}
    if as_json:
        output.print_json({"healthy": not worst, "findings": msgspec.to_builtins(findings)})
    else:
        for finding in findings:
            output.print_text(_as_line(finding))
        _say_summary(findings)
    if worst:
        raise typer.Exit(output.FAILED)


def _as_line(finding: Finding) -> str:
    line = f"{_SIGNS[finding.state]:<8} {finding.check:<14} {finding.message}"
    return f"{line}\n{'':<23} -> {finding.remedy}" if finding.remedy else line


def _say_summary(findings: tuple[Finding, ...]) -> None:
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    warnings = sum(finding.state is State.WARNING for finding in findings)
    output.say(
        f"{problems} problem(s), {warnings} warning(s), {len(findings)} checks."
        if problems or warnings
        else "All is well."
    )
