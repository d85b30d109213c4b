"""`concertino ask`: one question, the answer streamed to stdout."""

import asyncio
from typing import Annotated, Any

import msgspec
import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import (
    ConfigOption,
    GatewayOption,
    JsonOption,
    KeyOption,
    TextArgument,
    UrlOption,
    answerer,
    gateway_url,
    given_text,
)
from concertino.types import Answer, Decision, FinishReason, Message, Request, Role, Sampling


def ask(
    text: TextArgument,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME", help="auto, a specialist, or specialist/skill."),
    ] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", "-x", help="Say on stderr who answers, why, and what it took.")
    ] = False,
    as_json: JsonOption = False,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="A system message in place of the specialist's own.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, max=2, help="0 is the likeliest answer each time.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="Draw the same way again.")] = None,
    no_gateway: GatewayOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    config_path: ConfigOption = None,
) -> None:
    """Ask the team, or one specialist, and stream the answer to stdout.

    The gateway that runs on this machine answers; without one the team is loaded into this process, which takes some
    seconds each time.

    \b
    Examples:
      concertino ask "Write a regular expression for an ISBN-13."
      concertino ask --explain "May my landlord raise the rent by a fifth?"
      concertino ask - --model legal/clause-type --json < clause.txt
    """
    settings = config.load(config_path)
    messages = [Message(Role.SYSTEM, system)] if system else []
    request = Request(
        (*messages, Message(Role.USER, given_text(text))),
        model,
        Sampling(
            max_tokens=msgspec.UNSET if max_tokens is None else max_tokens,
            temperature=msgspec.UNSET if temperature is None else temperature,
            seed=msgspec.UNSET if seed is None else seed,
        ),
    )
    where = gateway_url(settings, url, no_gateway)
    answer = asyncio.run(_stream(settings, where, api_key, request, explain, as_json))
    if as_json:
        output.print_json(as_object(answer))
    _say_how_it_ended(answer)
    if explain:
        _say_what_it_took(answer)


async def _stream(
    settings: config.Settings, url: str | None, api_key: str | None, request: Request, explain: bool, as_json: bool
) -> Answer:
    async with answerer(settings, url, api_key) as team, team.answering(request) as run:
        if explain:
            _say_decision(run.decision)
        last = ""
        async for chunk in run.chunks():
            if chunk.text and not as_json:
                output.print_text(chunk.text, end="")
                last = chunk.text
    if not as_json and not last.endswith("\n"):
        output.print_text("")
    return run.answer()


def as_object(answer: Answer) -> dict[str, Any]:
    """What `--json` prints."""
    found: dict[str, Any] = {
        "id": answer.id,
        "answer": answer.text,
        "specialist": answer.specialist,
        "finish_reason": answer.finish_reason.value,
        "decision": msgspec.to_builtins(answer.decision),
        "usage": msgspec.to_builtins(answer.usage) | {"total_tokens": answer.usage.total_tokens},
    }
    if answer.decision.skill:
        found |= {"confidence": answer.confidence, "abstained": answer.abstained}
        if answer.scope is not None:
            found["scope"] = answer.scope
    if answer.parts:
        found["parts"] = msgspec.to_builtins(answer.parts)
    return found


def _say_decision(decision: Decision) -> None:
    name = f"{decision.specialist}/{decision.skill}" if decision.skill else decision.specialist
    output.say(f"{name} answers (confidence {decision.confidence:.2f}, tier {decision.tier.value}): {decision.reason}")
    if len(decision.scores) > 1:
        output.say("scores: " + "  ".join(f"{name} {score:.2f}" for name, score in decision.scores.items()))


def _say_how_it_ended(answer: Answer) -> None:
    if answer.abstained:
        sure = "unknown" if answer.confidence is None else f"{answer.confidence:.2f}"
        scope = "" if answer.scope is None else f", or that the text is one for it ({answer.scope:.2f}),"
        output.say(f"Abstained: the confidence ({sure}){scope} is below the skill's threshold, so do not rely on this.")
    if answer.finish_reason is FinishReason.LENGTH:
        output.say(f"Cut off after {answer.usage.completion_tokens} tokens; --max-tokens allows more.")


def _say_what_it_took(answer: Answer) -> None:
    usage = answer.usage
    output.say(
        f"usage: {usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached), "
        f"{usage.completion_tokens} completion tokens; {answer.id}"
    )
    for part in answer.parts:
        output.say(
            f"part {part.id}: {part.specialist}, {part.state.value}"
            f"{f' ({part.error})' if part.error else ''}, {part.usage.total_tokens} tokens"
        )
    if answer.confidence is not None:
        output.say(f"confidence in the answer: {answer.confidence:.2f}")
