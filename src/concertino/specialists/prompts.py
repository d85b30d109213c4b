"""A chat request as a generation for one specialist: its system message, its defaults, what its engine can do."""

from collections.abc import Sequence

from msgspec import UNSET, structs

from concertino.backends.base import Capability, Generation
from concertino.errors import UnsupportedParameter
from concertino.specialists.handover import fitting, marked, shortened
from concertino.specialists.pool import CHOSEN, Specialist, Target
from concertino.specialists.skills import skill_generation
from concertino.types import Message, Request, Role

_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)


def generation_for(target: Target, request: Request, earlier: Sequence[str] = ()) -> Generation:
    """What the target's backend is asked to run. Raises UnsupportedParameter, naming the field and who could do it.

    `earlier` names who answered the earlier turns of a conversation that the router follows.
    """
    specialist = target.specialist
    check_supported(specialist, request)
    if target.skill is not None:
        _check_skill_request(specialist.card.name, target.skill.name, request)
        text = next(message.text for message in reversed(request.messages) if message.role is Role.USER)
        return skill_generation(specialist.card, target.skill, text, specialist.capabilities)
    card = specialist.card
    sampling = structs.replace(
        request.sampling,
        max_tokens=card.max_tokens if request.sampling.max_tokens is UNSET else request.sampling.max_tokens,
        temperature=card.temperature if request.sampling.temperature is UNSET else request.sampling.temperature,
    )
    messages = _with_system(card.system, tuple(map(_in_one_string, request.messages)))
    if request.model in CHOSEN:
        messages = shortened(marked(messages, earlier, card.name), fitting(request, card))
    return Generation(
        model=card.model,
        messages=messages,
        sampling=sampling,
        adapter=card.adapter,
        response_format=_constraining(request),
        tools=request.tools,
        tool_choice=request.tool_choice,
        extra=request.extra,
    )


def _with_system(system: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The specialist's own system message first, unless the caller brought one."""
    if not system or any(message.role in _INSTRUCTING for message in messages):
        return messages
    return (Message(Role.SYSTEM, system), *messages)


def _in_one_string(message: Message) -> Message:
    """Content in parts of text as a string, which every engine reads."""
    if not isinstance(message.content, tuple) or any(part.text is None for part in message.content):
        return message
    return structs.replace(message, content=message.text)


def _constraining(request: Request) -> dict[str, object] | None:
    chosen = request.response_format
    return None if chosen is None or chosen.get("type") == "text" else chosen


def check_supported(specialist: Specialist, request: Request) -> None:
    """Raises UnsupportedParameter for what the specialist's engine cannot do."""
    needs = {
        "tools": (bool(request.tools), Capability.TOOLS),
        "response_format": (_constraining(request) is not None, Capability.JSON_SCHEMA),
        "logprobs": (request.sampling.logprobs, Capability.LOGPROBS),
        "seed": (request.sampling.seed is not UNSET, Capability.SEED),
    }
    for field, (asked, capability) in needs.items():
        if asked and capability not in specialist.capabilities:
            raise UnsupportedParameter(
                f"{specialist.card.name} runs on backend {specialist.card.backend!r}, which cannot do {field!r}. "
                f"Leave {field!r} out, or ask a specialist that can.",
                param=field,
            )
    if request.extra and Capability.EXTRA not in specialist.capabilities:
        unknown = sorted(request.extra)
        limit = unknown[0] in ("max_latency_ms", "max_cost")
        advice = f'A limit is sent as "concertino": {{"{unknown[0]}": ...}}.' if limit else "Leave it out."
        raise UnsupportedParameter(
            f"Unknown parameter {unknown[0]!r}: {specialist.card.name} has no use for it. {advice}",
            param=unknown[0],
        )


def _check_skill_request(specialist: str, skill: str, request: Request) -> None:
    """A skill brings its own instruction and contract, so a caller cannot set them."""
    for field, given in (("tools", bool(request.tools)), ("response_format", _constraining(request) is not None)):
        if given:
            raise UnsupportedParameter(
                f"The skill {specialist}/{skill} has a fixed contract, so {field!r} cannot be set. "
                f"Ask model {specialist!r} instead.",
                param=field,
            )
    if not any(message.role is Role.USER and message.text for message in request.messages):
        raise UnsupportedParameter(
            f"The skill {specialist}/{skill} reads the last user message, and there is none.", param="messages"
        )
