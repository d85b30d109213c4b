"""`concertino plan`: the parts of a request, without running them."""

import asyncio
from typing import Annotated

import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption, given_text, started_team
from concertino.types import Decision, Message, Request, Role


def plan(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text; - reads it from stdin.")],
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Show the parts that a request would be divided into, and whom each is for. None of them is run.

    Needs no model, unless the configuration says `workflow: {planner: model}`: then the team is loaded and the
    generalist is asked for the plan. A request for one specialist has one part.

    \b
    Examples:
      concertino plan "What is a lien? Also, write a Python function that adds two numbers."
      concertino plan --json - < request.txt
    """
    settings = config.load(config_path)
    request = Request((Message(Role.USER, given_text(text)),))
    decision = asyncio.run(_plan(settings, request))
    if as_json:
        from concertino.orchestrator.plan_view import plan_object

        output.print_json(plan_object(decision, request, settings))
        return
    if decision.plan is None:
        output.print_text(f"One part, for {decision.specialist}: {decision.reason}")
        return
    output.print_text(f"{len(decision.plan.tasks)} parts, planned by {decision.plan.planned_by.value}")
    for task in decision.plan.tasks:
        after = f", after {', '.join(map(str, task.depends_on))}" if task.depends_on else ""
        output.print_text(f"{task.id}. {task.specialist} (confidence {task.confidence:.2f}{after}): {task.text}")
    if decision.plan.left_out:
        output.print_text(
            f"{decision.plan.left_out} more would be left out: {settings.workflow.max_parts} are the most."
        )


async def _plan(settings: config.Settings, request: Request) -> Decision:
    if settings.workflow.enabled and settings.workflow.planner == "model":
        async with started_team(settings) as service:
            return await service.plan(request)
    from concertino.orchestrator.decider import engineless

    return (await engineless(settings).decide_many([request]))[0]
