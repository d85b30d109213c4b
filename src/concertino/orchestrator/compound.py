"""Requests that ask several specialists for something, recognised by their words and the router, at no cost to others.

A request is compound where at least two of its segments are, each by itself, surely of two specialists' domains, or
where it is an explicit list of tasks. Everything else stays one request. The verdict is the whole request's: a part
goes to one of those who may see all of it, and to nobody else.
"""

import asyncio
from collections.abc import Sequence

from msgspec import UNSET, Struct, structs

from concertino.config import WorkflowSettings
from concertino.errors import ConcertinoError
from concertino.orchestrator import choice
from concertino.orchestrator.segments import Segment, Segments, segment
from concertino.router.base import Router
from concertino.router.wrapping import question_in
from concertino.specialists.pool import AUTO, Pool
from concertino.types import Decision, Message, Plan, Ranking, Request, Role, SubTask, Tier, Verdict

SEVERAL = "several"
"""Stands for the specialist in a compound request's Decision."""

SURE, SURE_DEFAULT = 0.8, 0.93
"""From this confidence on a segment speaks for its specialist, and for the default one, whose domain is all the rest.
`bench/conductor.py recognise` measures both kinds of error."""
FEWEST_WORDS = 4
"""Shorter segments say too little."""
FEWEST_OWN_WORDS, FEWEST_OWN_WORDS_DEFAULT = 1, 2
"""Words of a segment that say what it is about: "What should I do?" has none, and reads like everyday talk."""
FEWEST_TOKENS = 48
"""For each part; where a request allows less, it is not divided."""


class Stretch(Struct, frozen=True):
    """Neighbouring segments that one specialist is asked for together: what becomes a part."""

    segments: tuple[Segment, ...]
    decision: Decision
    """Who would answer this part, within the verdict on the whole request."""

    @property
    def first(self) -> Segment:
        return self.segments[0]


async def divide(
    decided: Sequence[Decision | ConcertinoError],
    requests: Sequence[Request],
    pool: Pool,
    router: Router,
    settings: WorkflowSettings,
    default: str,
) -> list[Decision | ConcertinoError]:
    """The same decisions, those of compound requests with a plan. Only segments of turns with several are routed."""
    found = list(decided)
    if not settings.enabled:
        return found
    places: dict[int, Segments] = {}
    for place, (item, request) in enumerate(zip(decided, requests, strict=True)):
        if isinstance(item, Decision) and _may_be_divided(item, request):
            text = request.messages[-1].text
            core = question_in(text)
            if core is not None and len(segment(core).found) < 2:
                continue  # what a prompt template says around one question is no request of its own
            segments = segment(text)
            if len(segments.found) > 1:
                places[place] = segments
    if not places:
        return found
    rankings = iter(await asyncio.to_thread(_ranked, router, [one for each in places.values() for one in each.found]))
    for place, segments in places.items():
        mine = [next(rankings) for _ in segments.found]
        decision = decided[place]
        assert isinstance(decision, Decision)
        found[place] = _decision(decision, requests[place], segments, mine, pool, settings, default)
    return found


def _ranked(router: Router, segments: Sequence[Segment]) -> list[Ranking]:
    """A ranking for each segment: as sure as the less sure one of its own words and of them with what it is given."""
    given = [one for one in segments if one.context]
    texts = [*(one.text for one in segments), *(f"{one.context}\n\n{one.text}" for one in given)]
    rankings = router.rank([(Message(Role.USER, text),) for text in texts])
    others = iter(rankings[len(segments) :])
    return [
        _as_sure_as(ranking, next(others)) if one.context else ranking
        for one, ranking in zip(segments, rankings[: len(segments)], strict=True)
    ]


def _as_sure_as(ranking: Ranking, other: Ranking) -> Ranking:
    if ranking.domain is None:
        return ranking
    sure = other.confidence if other.domain == ranking.domain else other.scores.get(ranking.domain, 0.0)
    return structs.replace(ranking, confidence=min(ranking.confidence, sure))


def _may_be_divided(decision: Decision, request: Request) -> bool:
    """Whether it is a person's own turn to the whole team; a program that set the terms of its answer is left alone."""
    sampling = request.sampling
    contract = request.tools or request.extra or (request.response_format or {}).get("type", "text") != "text"
    limited = request.limits.max_latency_ms is not None or request.limits.max_cost is not None
    return (
        request.model == AUTO
        and not limited
        and len(decision.verdict.eligible) > 1
        and not contract
        and not (sampling.logprobs or sampling.stop)
        and request.messages[-1].role is Role.USER
        and all(message.role in (Role.USER, Role.ASSISTANT) and not message.tool_calls for message in request.messages)
    )


def _decision(
    whole: Decision,
    request: Request,
    segments: Segments,
    rankings: Sequence[Ranking],
    pool: Pool,
    settings: WorkflowSettings,
    default: str,
) -> Decision:
    """The compound Decision, or `whole` where one specialist is to answer."""
    verdict = whole.verdict
    parts = _parts(segments, rankings, verdict, pool, default)
    if not _is_compound(parts, segments, default):
        return whole
    if len(parts) > settings.max_parts:
        parts = _joined(parts)
    kept = parts[: settings.max_parts]
    most = request.sampling.max_tokens
    if len(kept) < 2 or (most is not UNSET and most < FEWEST_TOKENS * len(kept)):
        return whole
    left_out = sum(len(part.segments) for part in parts[len(kept) :])
    plan = Plan(tuple(_tasks(kept, segments.lead, request)), left_out)
    return several(plan, whole)


def several(plan: Plan, whole: Decision) -> Decision:
    """The Decision for a compound request: as sure as its least sure part."""
    asked = ", ".join(f"{task.id} {task.specialist}" for task in plan.tasks)
    more = f" {plan.left_out} more would be too many." if plan.left_out else ""
    return structs.replace(
        whole,
        specialist=SEVERAL,
        confidence=min(task.confidence for task in plan.tasks),
        tier=Tier.SEVERAL,
        reason=f"The request asks for {len(plan.tasks)} things: {asked}.{more}",
        plan=plan,
    )


def given_to(decision: Decision, id: int, specialist: str, reason: str, why: str) -> Decision:
    """The decision once somebody else than planned answers the part `id`; `why` is told of the whole."""
    plan = decision.plan
    if plan is None:
        return structs.replace(decision, specialist=specialist, reason=reason)
    tasks = tuple(
        structs.replace(task, specialist=specialist, reason=reason) if task.id == id else task for task in plan.tasks
    )
    plan = structs.replace(plan, tasks=tasks)
    return structs.replace(decision, reason=f"{decision.reason} Part {id}: {why}", plan=plan)


def routed(pool: Pool, ranking: Ranking, verdict: Verdict, default: str) -> Decision:
    """Who answers one part: a specialist that the verdict on the whole request lets see it."""
    return choice.ranked(pool, ranking, verdict, default)


def _parts(
    segments: Segments, rankings: Sequence[Ranking], verdict: Verdict, pool: Pool, default: str
) -> list[Stretch]:
    """The segments, those joined that one specialist should answer in one go."""
    parts: list[Stretch] = []
    for one, ranking in zip(segments.found, rankings, strict=True):
        decision = routed(pool, ranking, verdict, default)
        before = parts[-1] if parts else None
        if before is not None and not one.item:
            same = decision.specialist == before.decision.specialist and not before.first.item
            weak = (one.leans or one.words < FEWEST_WORDS) and not _speaks(one, decision, default)
            if same or (not one.follows and (weak or one.leans)):
                parts[-1] = _with(before, one, decision)
                continue
        if before is not None and one.leans and not _speaks(one, decision, default):
            decision = _of_what_it_leans_on(decision, one, before, default)
        parts.append(Stretch((one,), decision))
    return parts


def _of_what_it_leans_on(decision: Decision, one: Segment, before: Stretch, default: str) -> Decision:
    """ "Then summarise it" belongs to whoever wrote it, and "compare both" to the default specialist."""
    wanted = default if one.leans_on_all else before.decision.specialist
    name = wanted if wanted in decision.verdict.eligible else before.decision.specialist
    reason = f"It builds on what {before.decision.specialist} answers."
    return structs.replace(decision, specialist=name, reason=reason)


def _with(part: Stretch, one: Segment, decision: Decision) -> Stretch:
    surer = decision.confidence > part.decision.confidence and decision.specialist == part.decision.specialist
    segments = (*part.segments, one)
    return Stretch(segments, decision) if surer else structs.replace(part, segments=segments)


def _speaks(one: Segment, decision: Decision, default: str) -> bool:
    """Whether a segment is surely of its specialist's domain."""
    return _sure((one,), decision, default)


def _sure(segments: Sequence[Segment], decision: Decision, default: str) -> bool:
    other = decision.specialist != default
    sure, own = (SURE, FEWEST_OWN_WORDS) if other else (SURE_DEFAULT, FEWEST_OWN_WORDS_DEFAULT)
    return (
        decision.tier is not Tier.DEFAULT
        and decision.confidence >= sure
        and sum(one.words for one in segments) >= FEWEST_WORDS
        and sum(one.own_words for one in segments) >= own
    )


def _is_compound(parts: Sequence[Stretch], segments: Segments, default: str) -> bool:
    if len(parts) < 2:
        return False
    sure = {
        part.decision.specialist
        for part in parts
        if (not part.first.leans or (part.first.follows and part.decision.specialist != default))
        and any(one.asks for one in part.segments)
        and _sure(part.segments, part.decision, default)
    }
    return len(sure) > 1 or segments.listed


def _joined(parts: Sequence[Stretch]) -> list[Stretch]:
    """Neighbours for the same specialist as one part: more things can be answered so."""
    joined: list[Stretch] = []
    for part in parts:
        if joined and joined[-1].decision.specialist == part.decision.specialist:
            joined[-1] = structs.replace(joined[-1], segments=(*joined[-1].segments, *part.segments))
        else:
            joined.append(part)
    return joined


def _tasks(parts: Sequence[Stretch], lead: str, request: Request) -> list[SubTask]:
    turn = request.messages[-1].text
    tasks: list[SubTask] = []
    for place, part in enumerate(parts):
        depends: tuple[int, ...] = ()
        if place and part.first.leans:
            depends = tuple(range(1, place + 1)) if part.first.leans_on_all else (place,)
        tasks.append(
            SubTask(
                id=place + 1,
                text="\n\n".join(filter(None, (lead, _context(part, turn), _text(part, turn)))),
                specialist=part.decision.specialist,
                depends_on=depends,
                confidence=part.decision.confidence,
                reason=part.decision.reason,
            )
        )
    return tasks


def _context(part: Stretch, turn: str) -> str:
    """What stands before other parts and is said for this one too, but for what it holds itself."""
    context = next((one.context for one in part.segments if one.context), "")
    return "" if context in turn[part.first.start : part.segments[-1].end] else context


def _text(part: Stretch, turn: str) -> str:
    """A part in the words of the turn. A single segment loses the words that tied it to what stood before."""
    if len(part.segments) == 1:
        return part.first.text.rstrip(" ,;:–—-\n")
    if part.first.item:
        return "\n".join(one.text for one in part.segments)
    tied = turn[part.first.end : part.segments[-1].end]
    return f"{part.first.text}{turn[part.first.end - 1] if turn[part.first.end - 1].isspace() else ''}{tied}".strip()
