"""Of those that could answer, who does: quality against price, within what the caller allows.

The router has said what the request is about; here it is settled who answers that. Every eligible specialist is a
candidate with a predicted quality, a price and, once it has answered something, a time:

quality   how well it fits (1 for who serves the domain, `GENERALIST` for the team's default, the router's probability
          for others) times its card's `quality`, where there is one
price     of the tokens that the request has and the answer is expected to have, at the card's price; the same length
          is expected of all
time      until the first token of a stream, or the last of a whole answer, by the running estimate
budget    what the caller's budgets have left must cover the most that it can take, not what is expected

The cheapest answers whose quality is at least a share of the best one's: all of it for `auto:best`,
`router.quality_share` for `auto`, `router.cheap_share` for `auto:cheap`. Equal prices: the better one answers.

Who made the first call of an open tool loop goes on. Nobody keeps a session, so who that was is found again: from the
messages before the loop, by what the cards say and nothing that was measured. Requests with tools are therefore chosen
for by the cards alone in the first place; what a caller's limits changed in that is kept in memory (`Openings`).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate

from msgspec import Struct, structs

from concertino.config import RouterSettings, SpecialistCard
from concertino.errors import InvalidRequest, UnsupportedParameter
from concertino.orchestrator import costs
from concertino.orchestrator.budgets import Left
from concertino.router.conversation import before_tool_loop, user_turns
from concertino.specialists.handover import CHARACTERS_PER_TOKEN
from concertino.specialists.pool import BEST, CHEAP, Pool, Specialist, Target
from concertino.specialists.prompts import check_supported
from concertino.storage.budgets import Cost
from concertino.telemetry.speed import Speed, Speeds
from concertino.types import Decision, Limits, Message, Request

GENERALIST = 0.5
"""How well the team's default specialist is reckoned to answer what belongs to another."""
FLOOR = 0.5
"""Nobody whose quality is below this share of the best one's is chosen, whatever was asked for."""
REMEMBERED = 8192
"""Requests with limits and tools of which it is kept who was chosen, the last of all callers'."""


class Candidate(Struct, frozen=True):
    """A specialist as it looks for one request."""

    name: str
    quality: float
    price: float
    """In the currency of the cards, for the whole request: what is compared."""
    expected: float
    """The same by the length of the answers so far: what must keep a limit."""
    seconds: float | None
    """None as long as it has not answered anything."""
    most: Cost = Cost()
    """What it takes at the very most, where a budget is to be kept."""


class Openings:
    """Who was chosen for requests with limits and tools, by a digest of the request. No text is kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def get(self, request: Request, messages: Sequence[Message], tenant: str) -> str | None:
        return self._known.get(_key(request, messages, tenant))

    def put(self, request: Request, tenant: str, name: str) -> None:
        self._known[_key(request, request.messages, tenant)] = name
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def settle(
    pool: Pool,
    request: Request,
    decision: Decision,
    settings: RouterSettings,
    speeds: Speeds,
    left: Left | None = None,
    openings: Openings | None = None,
) -> Decision:
    """The decision for a request to `auto`, with the specialist that the trade-off gives and why.

    `left` is what the caller's budgets still allow. Raises InvalidRequest when nobody answers within the price that the
    caller set, BudgetExhausted when nobody surely answers within `left`, UnsupportedParameter when nobody can do what
    it asks for. A time that nobody keeps is no reason to refuse: the fastest answers, and it is said.

    In an open tool loop whoever made the first call goes on, unless its price or budget does not allow it.
    """
    openings = Openings() if openings is None else openings
    limited = request.limits != Limits()
    candidates = _able(pool, request, _candidates(pool, request, decision, settings, speeds, left))
    paid = _within_budget(_within_price(_good_enough(candidates), request.limits), left)
    opened = _opened(pool, request, decision, settings, openings)
    chosen, note = next((candidate for candidate in paid if candidate.name == opened), None), ""
    if chosen is None:
        chosen, note = _within_time(paid, request.limits)
    if chosen is None:
        chosen, note = _cheapest(_in_time(paid, request.limits), _share(request, settings))
    if request.tools and limited and opened is None:
        openings.put(request, decision.verdict.facts.tenant, chosen.name)
    earlier = _earlier(pool, request, decision, settings, speeds)
    if limited:  # the same was chosen for the earlier turns on the subject, as far as anybody can tell
        same = zip(decision.earlier, earlier, strict=True)
        earlier = tuple(chosen.name if name == decision.specialist else found for name, found in same)
    if chosen.name == opened and opened != decision.specialist:
        note = f" {opened} made the first call, so it goes on."
    name = opened or decision.specialist
    if chosen.name != name and (opened or not note):
        was = next((candidate for candidate in candidates if candidate.name == name), None)
        note = _why(name, was, chosen, request.limits, left)
    return structs.replace(decision, specialist=chosen.name, reason=f"{decision.reason}{note}", earlier=earlier)


def _opened(
    pool: Pool, request: Request, decision: Decision, settings: RouterSettings, openings: Openings
) -> str | None:
    """Who made the first call of an open tool loop; None where none is open."""
    opening = before_tool_loop(request.messages)
    if opening is None:
        return None
    known = openings.get(request, opening, decision.verdict.facts.tenant)
    if known in decision.verdict.eligible:
        return known
    first = structs.replace(request, messages=tuple(opening))
    candidates = _able(pool, first, _candidates(pool, first, decision, settings, Speeds(), None))
    return _cheapest(_good_enough(candidates), _share(request, settings))[0].name


def _key(request: Request, messages: Sequence[Message], tenant: str) -> bytes:
    digest = hashlib.blake2b(f"{tenant}\0{request.model}\0{request.limits}".encode(), digest_size=16)
    for message in messages:
        digest.update(f"\0{message.role.value}\0{len(message.text)}\0".encode())
        digest.update(message.text.encode("utf-8", "replace"))
    return digest.digest()


def _share(request: Request, settings: RouterSettings) -> float:
    return {BEST: 1.0, CHEAP: settings.cheap_share}.get(request.model, settings.quality_share)


def _good_enough(candidates: Sequence[Candidate]) -> list[Candidate]:
    best = max(candidate.quality for candidate in candidates)
    return [candidate for candidate in candidates if candidate.quality >= FLOOR * best]


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
    cards = {name: pool.get(name).card for name in names}
    compared, expected = _lengths(request, cards, speeds)
    characters = len(request.text)
    found = []
    for name, card in cards.items():
        if name == decision.specialist or (domain is not None and domain in card.serves):
            fit = 1.0
        else:
            fit = GENERALIST if name == settings.default else decision.scores.get(name, 0.0)
        speed = speeds.get(name)
        seconds = _seconds(request, card, speed) if speed else None
        most = Cost() if left is None else costs.most(pool, Target(pool.get(name)), request)
        price, likely = (_price(card, characters, tokens) for tokens in (compared, expected))
        found.append(Candidate(name, _quality(card, fit), price, likely, seconds, most))
    return found


def _lengths(request: Request, cards: Mapping[str, SpecialistCard], speeds: Speeds) -> tuple[float, float]:
    """Tokens of an answer, the same for whoever gives it: to compare prices by, and to keep a limit by.

    Both are the mean over those of `cards` that have answered something, at most what the request allows; as long as
    nobody has, what it allows, or the mean of what the cards do. With tools, prices are compared by that mean alone.
    """
    asked = request.sampling.max_tokens
    by_cards = sum(card.max_tokens for card in cards.values()) / len(cards)
    longest = asked if isinstance(asked, int) else by_cards
    measured = [speed.answer_tokens for name in cards if (speed := speeds.get(name)) is not None]
    likely = min(longest, sum(measured) / len(measured)) if measured else longest
    has_tools = bool(request.tools) or before_tool_loop(request.messages) is not None
    return by_cards if has_tools else likely, likely


def _seconds(request: Request, card: SpecialistCard, speed: Speed) -> float:
    """Until the first token of a stream, or the last one of an answer of the specialist's usual length."""
    asked = request.sampling.max_tokens
    longest = asked if isinstance(asked, int) else card.max_tokens
    return speed.seconds(None if request.limits.first_token else min(longest, speed.answer_tokens))


def _price(card: SpecialistCard, characters: int, tokens: float) -> float:
    return (characters / CHARACTERS_PER_TOKEN * card.price.prompt + tokens * card.price.completion) / 1e6


def _quality(card: SpecialistCard, fit: float) -> float:
    return fit * (1.0 if card.quality is None else card.quality)


def _earlier(
    pool: Pool, request: Request, decision: Decision, settings: RouterSettings, speeds: Speeds
) -> tuple[str, ...]:
    """Who answered the user's earlier turns: the same trade-off, without limits, on what the conversation then was.

    What the router said of others than the domain's then is not known, so only who serves it and the default count.
    """
    eligible = [pool.get(name).card for name in decision.verdict.eligible]
    sizes = list(accumulate(len(message.text) + 1 for message in request.messages))
    places = user_turns(request.messages)
    tokens, _ = _lengths(request, {card.name: card for card in eligible}, speeds)
    found = list(decision.earlier)
    for turn, name in enumerate(found[: len(places)]):
        serves = set(pool.get(name).card.serves)
        offers = []
        for card in sorted(eligible, key=lambda card: card.name != name):  # who the decision would name comes first
            price = _price(card, sizes[places[turn]], tokens)
            fit = 1.0 if serves & set(card.serves) else GENERALIST * (card.name == settings.default)
            offers.append(Candidate(card.name, _quality(card, fit), price, price, None))
        if name in decision.verdict.eligible:
            found[turn] = _cheapest(_good_enough(offers), _share(request, settings))[0].name
    return tuple(found)


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
    paid = [candidate for candidate in candidates if candidate.expected <= limits.max_cost]
    if not paid:
        least = min(candidates, key=lambda candidate: candidate.expected)
        raise InvalidRequest(
            f"Nobody who could answer this does so for {limits.max_cost:g}: the cheapest, {least.name}, takes about "
            f"{least.expected:.2g}. Raise max_cost, set a lower max_tokens, or shorten the conversation.",
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
    if limits.max_cost is not None and was.expected > limits.max_cost:
        return f" {name} would cost about {was.expected:.2g}, so {chosen.name} answers."
    if left is not None and not left.fits(was.most):
        return f" {name} could take more than the budget has left, so {chosen.name} answers."
    if limits.max_latency_ms is not None and was.seconds is not None and was.seconds * 1000 > limits.max_latency_ms:
        return f" {name} takes about {was.seconds * 1000:.0f} ms, so {chosen.name} answers."
    better = "cheaper, and as good" if chosen.quality == was.quality else "better by its card's figure"
    return f" {chosen.name} answers: it is {better}."
