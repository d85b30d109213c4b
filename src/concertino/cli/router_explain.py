"""`concertino router explain`: a decision of the configured team, and why."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino import config
from concertino.cli import output, router_tables
from concertino.cli.session import ConfigOption, JsonOption, given_text
from concertino.types import Message, Request, Role

if TYPE_CHECKING:
    from concertino.orchestrator.decider import Decider
    from concertino.router.descriptions import Evidence
    from concertino.types import Decision


def explain(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text; - reads it from stdin.")],
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Look for neighbours in its training rows too."),
    ] = None,
    nearest: Annotated[int, typer.Option("--nearest", min=0, help="How many training examples to show.")] = 5,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Say who would get a text, as `concertino route` does, and why: what each word adds, descriptions that fit, and
    the nearest training examples.

    The examples are those of the configured router: the questions that ship with the package, or those that lie in the
    folder of a fitted router. With --data-dir also a draw of the other training rows. Their vectors are made once, and
    kept in the home folder.

    \b
    Examples:
      concertino router explain "can my landlord keep the deposit?"
      concertino router explain --json - < question.txt
    """
    from concertino.orchestrator.decider import engineless
    from concertino.router.conversation import ConversationRouter
    from concertino.training.routing.explain import explain_text

    said, settings = given_text(text), config.load(config_path)
    decider = engineless(settings)
    decision = asyncio.run(decider.decide_many([Request((Message(Role.USER, said),))]))[0]
    router = decider.router
    if isinstance(router, ConversationRouter):
        router = router.router
    weights = settings.router.options.get("weights")
    folder = Path(weights) if weights else None
    found = explain_text(
        said, decision, router, _described(decider, decision, said), folder, nearest,
        home=settings.home_path, data_dir=data_dir, note=output.say,
    )  # fmt: skip
    if as_json:
        output.print_json(found)
    else:
        output.print_text(router_tables.explanation(found))


def _described(decider: "Decider", decision: "Decision", text: str) -> "list[Evidence]":
    """What speaks for the described specialists that policy left."""
    if decider.newcomers is None or not any(map(str.isalnum, text)):
        return []
    eligible = [card for card in decider.settings.specialists if card.name in decision.verdict.eligible]
    domains = {domain for card in eligible for domain in card.serves}
    return [item for item in decider.newcomers.tier.evidence(text) if item.domain in domains]
