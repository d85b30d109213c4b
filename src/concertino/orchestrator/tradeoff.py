"""Of those that could answer, who does: quality against price, within what the caller allows.

The router has said what the request is about; here it is settled who answers that. Every eligible specialist is a
candidate with a predicted quality, a price and, once it has answered something, a time:

quality   how well it fits (1 for who serves the domain, `GENERALIST` for the team's default, the router's probability
          for others) times its card's `quality`, where there is one
price     of the tokens that the request has and the answer is expected to have, at the card's price
time      until the first token of a stream, or the last of a whole answer, by the running estimate
budget    what the caller's budgets have left must cover the most that it can take, not what is expected

The cheapest answers whose quality is at least a share of the best one's: all of it for `auto:best`,
`router.quality_share` for `auto`, `router.cheap_share` for `auto:cheap`. Equal prices: the better one answers.
"""

from collections.abc import Sequence

from msgspec import Struct, structs

from concertino.config import RouterSettings
from concertino.errors import InvalidRequest, UnsupportedParameter
from concertino.orchestrator import costs
from concertino.orchestrator.budgets import Left
from concertino.specialists.handover import CHARACTERS_PER_TOKEN
from concertino.specialists.pool import BEST, CHEAP, Pool, Specialist, Target
from concertino.specialists.prompts import check_supported
from concertino.storage.budgets import Cost
from concertino.telemetry.speed import Speeds
from concertino.types import Decision, Limits, Request

GENERALIST = 0.5
"""How well the team's default specialist is reckoned to answer what belongs to another."""
FLOOR = 0.5
"""Nobody whose quality is below this share of the best one's is chosen, whatever was asked for."""


class Candidate(Struct, frozen=True):
    """A specialist as it looks for one request."""

    name: str
    quality: float
    price: float
    """In the currency of the cards, for the whole request."""
    seconds: float | None
    """None as long as it has not answered anything."""
    most: Cost = Cost()
    """What it takes at the very most, where a budget is to be kept."""


def settle(
    pool: Pool,
    request: Request,
    decision: Decision,
    settings: RouterSettings,
    speeds: Speeds,
    left: Left | None = None,
) -> Decision:
    """The decision for a request to `auto`, with the specialist that the trade-off gives and why.

    `left` is what the caller's budgets still allow. Raises InvalidRequest when nobody answers within the price that the
    caller set, BudgetExhausted when nobody surely answers within `left`, UnsupportedParameter when nobody can do what
    it asks for. A time that nobody keeps is no reason to refuse: the fastest answers, and it is said.
    """
    candidates = _able(pool, request, _candidates(pool, request, decision, settings, speeds, left))
    best = max(candidate.quality for candidate in candidates)
    enough = [candidate for candidate in candidates if candidate.quality >= FLOOR * best]
    paid = _within_budget(_within_price(enough, request.limits), left)
    chosen, note = _within_time(paid, request.limits)
    if chosen is None:
        share = {BEST: 1.0, CHEAP: settings.cheap_share}.get(request.model, settings.quality_share)
        chosen, note = _cheapest(_in_time(paid, request.limits), share)
    if chosen.name == decision.specialist:
        return structs.replace(decision, reason=f"{decision.reason}{note}")
    was = next((candidate for candidate in candidates if candidate.name == decision.specialist), None)
    why = note or _why(decision.specialist, was, chosen, request.limits, left)
    return structs.replace(
        decision,
        specialist=chosen.name,
        reason=f"{decision.reason}{why}",
        # The same was chosen for the earlier turns on the subject, as far as anybody can tell.
        earlier=tuple(chosen.name if name == decision.specialist else name for name in decision.earlier),
    )


def refuse_limits(request: Request) -> None:
    """Raises InvalidRequest where a specialist is named, so that there is nothing to choose."""
    if request.limits != Limits():
        given = "max_latency_ms" if request.limits.max_latency_ms is not None else "max_cost"
        raise InvalidRequest(
            f"{given!r} is kept by the choice of the specialist, but the request names {request.model!r}. "
            f"Leave it out, or ask model 'auto'.",
            param=f"concertino.{given}",
        )


def _candidates(
    pool: Pool, request: Request, decision: Decision, settings: RouterSettings, speeds: Speeds, left: Left | None
) -> list[Candidate]:
    """Who the decision names first, then the others in the team's order."""
    domain = decision.domain
    names = [decision.specialist, *(name for name in decision.verdict.eligible if name != decision.specialist)]
    found = []
    for name in names:
        card = pool.get(name).card
        if name == decision.specialist or (domain is not None and domain in card.serves):
            fit = 1.0
        else:
            fit = GENERALIST if name == settings.default else decision.scores.get(name, 0.0)
        speed = speeds.get(name)
        asked = request.sampling.max_tokens
        longest = asked if isinstance(asked, int) else card.max_tokens
        tokens = min(longest, speed.answer_tokens) if speed else longest
        price = len(request.text) / CHARACTERS_PER_TOKEN * card.price.prompt + tokens * card.price.completion
        seconds = speed.seconds(None if request.limits.first_token else tokens) if speed else None
        most = Cost() if left is None else costs.most(pool, Target(pool.get(name)), request)
        found.append(Candidate(name, fit * (1.0 if card.quality is None else card.quality), price / 1e6, seconds, most))
    return found


def _able(pool: Pool, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those whose engine can do what is asked. Raises what the first of them raises when nobody can."""
    able, refusal = [], None
    for candidate in candidates:
        problem = _problem(pool.get(candidate.name), request)
        if problem is None:
            able.append(candidate)
        refusal = refusal or problem
    if not able and refusal is not None:
        raise refusal
    return able


def _problem(specialist: Specialist, request: Request) -> UnsupportedParameter | None:
    try:
        check_supported(specialist, request)
    except UnsupportedParameter as error:
        return error
    return None


def _within_price(candidates: Sequence[Candidate], limits: Limits) -> list[Candidate]:
    if limits.max_cost is None:
        return list(candidates)
    paid = [candidate for candidate in candidates if candidate.price <= limits.max_cost]
    if not paid:
        least = min(candidates, key=lambda candidate: candidate.price)
        raise InvalidRequest(
            f"Nobody who could answer this does so for {limits.max_cost:g}: the cheapest, {least.name}, takes about "
            f"{least.price:.2g}. Raise max_cost, set a lower max_tokens, or shorten the conversation.",
            param="concertino.max_cost",
        )
    return paid


def _within_budget(candidates: Sequence[Candidate], left: Left | None) -> list[Candidate]:
    if left is None:
        return list(candidates)
    paid = [candidate for candidate in candidates if left.fits(candidate.most)]
    if not paid:
        least = min(candidates, key=lambda candidate: (candidate.most.amount, candidate.most.tokens))
        raise left.refusal(least.most, least.name)
    return paid


def _in_time(candidates: Sequence[Candidate], limits: Limits) -> list[Candidate]:
    """Who is fast enough, or has not been timed yet."""
    most = limits.max_latency_ms
    return [c for c in candidates if most is None or c.seconds is None or c.seconds * 1000 <= most]


def _within_time(candidates: Sequence[Candidate], limits: Limits) -> tuple[Candidate | None, str]:
    """The fastest and a note, where nobody is fast enough."""
    if _in_time(candidates, limits):
        return None, ""
    fastest = min(candidates, key=lambda candidate: candidate.seconds or 0.0)
    took = f"{(fastest.seconds or 0.0) * 1000:.0f} ms"
    return fastest, f" Nobody keeps {limits.max_latency_ms:g} ms; {fastest.name} is the fastest, about {took}."


def _cheapest(candidates: Sequence[Candidate], share: float) -> tuple[Candidate, str]:
    best = max(candidates, key=lambda candidate: candidate.quality)
    enough = [candidate for candidate in candidates if candidate.quality >= share * best.quality]
    chosen = min(enough, key=lambda candidate: (candidate.price, -candidate.quality))
    if chosen.price == best.price or chosen.quality == best.quality:
        return chosen, ""
    said = f" {chosen.name} answers: about {chosen.quality / best.quality:.0%} of the quality of {best.name}"
    return chosen, f"{said} at {chosen.price / best.price:.0%} of the price."


def _why(name: str, was: Candidate | None, chosen: Candidate, limits: Limits, left: Left | None) -> str:
    """Why `chosen` answers in the place of `name`, where the price was not the reason."""
    if was is None:
        return f" {name} cannot do what is asked for, so {chosen.name} answers."
    if limits.max_cost is not None and was.price > limits.max_cost:
        return f" {name} would cost about {was.price:.2g}, so {chosen.name} answers."
    if left is not None and not left.fits(was.most):
        return f" {name} could take more than the budget has left, so {chosen.name} answers."
    if limits.max_latency_ms is not None and was.seconds is not None and was.seconds * 1000 > limits.max_latency_ms:
        return f" {name} takes about {was.seconds * 1000:.0f} ms, so {chosen.name} answers."
    better = "cheaper, and as good" if chosen.quality == was.quality else "better by its card's figure"
    return f" {chosen.name} answers: it is {better}."
