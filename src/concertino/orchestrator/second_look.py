"""The language-model tier: asked about requests that the tiers before it are unsure of, it reads what the cards say.

It is a skill like any other (`router.language.skill`), made by the factory; who answers is one letter, decoded under a
grammar, with its probability among the letters of this team. A model reads the request, so it is asked only where
policy lets the skill's specialist see that. Where it cannot be asked, or takes too long, the ranking stands.
"""

import asyncio
import logging
import math
from collections.abc import Collection, Sequence

from msgspec import Struct, structs

from concertino.backends.base import Capability, Generation, Health
from concertino.config import LanguageTierSettings, Settings
from concertino.errors import BackendError, ConcertinoError, ConfigurationError
from concertino.orchestrator import costs
from concertino.orchestrator.budgets import Left
from concertino.orchestrator.costs import Spending
from concertino.router.conversation import before_tool_loop
from concertino.router.language import LETTERS, question, reading, team_lines
from concertino.specialists.pool import Pool, Target
from concertino.specialists.skills import label_grammar, skill_generation
from concertino.types import Chunk, Message, Ranking, Tier, Verdict

log = logging.getLogger("concertino.orchestrator")

LIKELY = 0.1
"""From this probability on a specialist that only its description tells of is asked about, however sure the router is
of another: the router does not know it."""
_AT_ONCE = 2
"""Requests that are asked about together; an engine of llama.cpp has few places, and answers need them."""


class Member(Struct, frozen=True):
    """A line of the question: the domain that a letter stands for, and what is said of it."""

    domain: str
    description: str
    servers: frozenset[str]


class Opinions:
    """What the skill said of one request, and what that took. A decision that is made again asks nothing again."""

    def __init__(self) -> None:
        self.spending = Spending()
        self.known: dict[tuple[str, ...], list[float]] = {}
        """The text and the domains that were asked about -> probabilities."""


class SecondLook:
    """Asks the skill that `router.language` names. Raises ConfigurationError where it is no chooser."""

    def __init__(self, pool: Pool, settings: Settings, described: Collection[str] = ()) -> None:
        """`described` are the domains that the tiers before know from descriptions alone."""
        self.settings: LanguageTierSettings = settings.router.language
        self._default = settings.router.default
        target = find_target(pool, self.settings.skill)
        if not set(LETTERS) <= set(target.skill.labels if target.skill else ()):
            raise ConfigurationError(
                f"router.language.skill: {self.settings.skill} does not answer with the letters {LETTERS[0]} to "
                f"{LETTERS[-1]}, so it cannot choose among descriptions.",
                param="router.language.skill",
            )
        self._described = frozenset(described)
        self._members = _members(settings)
        self._rest = next((card.description for card in settings.specialists if card.name == self._default), "")
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def refine(
        self,
        pool: Pool,
        conversations: Sequence[Sequence[Message]],
        rankings: Sequence[Ranking],
        verdicts: Sequence[Verdict],
        opinions: Opinions | None = None,
        left: Left | None = None,
    ) -> list[Ranking]:
        """The same rankings, those that are unsure with what the skill says. Needs its engine to be up.

        What it takes is counted in `opinions`, where it must fit within `left`.
        """
        opinions = Opinions() if opinions is None else opinions
        target = find_target(pool, self.settings.skill)
        if target.specialist.backend.health() is not Health.READY:
            return list(rankings)
        return list(
            await asyncio.gather(
                *(
                    self._refined(target, conversation, ranking, verdict, opinions, left)
                    for conversation, ranking, verdict in zip(conversations, rankings, verdicts, strict=True)
                )
            )
        )

    def is_due(self, conversation: Sequence[Message], ranking: Ranking, verdict: Verdict) -> bool:
        """Whether this request is asked about: the tiers before are unsure, there are words, and policy allows it."""
        stranger = max((ranking.scores.get(domain, 0.0) for domain in self._described), default=0.0)
        unsure = ranking.confidence < self.settings.below or stranger >= LIKELY
        return (
            unsure
            and self.settings.skill.split("/")[0] in verdict.eligible
            and before_tool_loop(conversation) is None
            and reading(conversation) != ""
        )

    async def _refined(
        self, target: Target, conversation: Sequence[Message], ranking: Ranking, verdict: Verdict,
        opinions: Opinions, left: Left | None,
    ) -> Ranking:  # fmt: skip
        if not self.is_due(conversation, ranking, verdict):
            return ranking
        members = [member for member in self._members if not member.servers.isdisjoint(verdict.eligible)]
        members = sorted(members, key=lambda m: -ranking.scores.get(m.domain, 0.0))[: len(LETTERS) - 1]
        members = [member for member in self._members if member in members]  # in the team's order, for the prefix cache
        if not members:
            return ranking
        domains, text = [member.domain for member in members], reading(conversation)
        key = (text, *domains)
        if key in opinions.known:
            return self._combined(ranking, domains, opinions.known[key])
        generation = self.question_for(target, members, text)
        card = target.specialist.card
        if left is not None and not left.fits(opinions.spending.cost + costs.most_of(card, generation)):
            said = f"the budget has no room to ask {self.settings.skill}"
            return structs.replace(ranking, reason=f"{ranking.reason}; {said}")
        try:
            async with self._turn:
                chances = await asyncio.wait_for(
                    self.ask(target, generation, len(members) + 1, opinions.spending), self.settings.timeout_s
                )
        except (ConcertinoError, TimeoutError) as error:
            what = "took too long" if isinstance(error, TimeoutError) else f"failed ({error.code})"
            log.warning("router.language %s: the choice of the tier before stands", what)
            return structs.replace(ranking, reason=f"{ranking.reason}; {self.settings.skill} {what}")
        opinions.known[key] = chances
        return self._combined(ranking, domains, chances)

    def question_for(self, target: Target, members: Sequence[Member], text: str) -> Generation:
        """What the skill is asked about a text: a letter for each member, and one for nobody."""
        skill = target.skill
        assert skill is not None
        asked = question(team_lines([member.description for member in members], self._rest), text)
        generation = skill_generation(target.specialist.card, skill, asked, target.specialist.capabilities)
        if Capability.GRAMMAR in target.specialist.capabilities:
            generation = structs.replace(generation, grammar=label_grammar(LETTERS[: len(members) + 1]))
        return generation

    async def ask(self, target: Target, generation: Generation, letters_shown: int, spending: Spending) -> list[float]:
        """Probability of each letter that is shown, the last of which is nobody's."""
        specialist, letters = target.specialist, LETTERS[:letters_shown]
        stream = spending.metered(specialist.card, generation, specialist.backend.generate(generation))
        chunks: list[Chunk] = [chunk async for chunk in stream]
        first = next((token for chunk in chunks for token in chunk.logprobs), None)
        if first is None:
            raise BackendError("The engine gives no log-probabilities, so nothing says how sure the choice is.")
        found = {first.token.strip(): first.logprob}
        for one in first.top:  # "A" and " A" are the same letter
            found[one.token.strip()] = max(one.logprob, found.get(one.token.strip(), one.logprob))
        floor = min(found.values()) - 1.0
        powers = [math.exp(found.get(letter, floor)) for letter in letters]
        return [power / sum(powers) for power in powers]

    def _combined(self, ranking: Ranking, domains: Sequence[str], chances: Sequence[float]) -> Ranking:
        """Both opinions where the tier before knows a domain, the skill's alone where it does not."""
        share = self.settings.weight
        rest = chances[-1]
        scores = dict(ranking.scores)
        known = [name for name in scores if name not in domains]
        told = dict(zip(domains, chances, strict=False))
        for name in domains:
            strange = name in self._described or name not in scores
            scores[name] = told[name] if strange else share * told[name] + (1 - share) * scores[name]
        left = sum(ranking.scores[name] for name in known) or 1.0
        for name in known:
            scores[name] = share * rest * ranking.scores[name] / left + (1 - share) * ranking.scores[name]
        total = sum(scores.values()) or 1.0
        scores = dict(sorted(((name, score / total) for name, score in scores.items()), key=lambda item: -item[1]))
        best, confidence = next(iter(scores.items()))
        likeliest = max(told, key=lambda name: told[name])
        said = likeliest if told[likeliest] >= rest else "none of the described"
        return Ranking(
            scores,
            confidence,
            best,
            f"the router was unsure ({ranking.confidence:.2f}), so {self.settings.skill} was asked, and says {said}",
            Tier.LANGUAGE,
            ranking.earlier,
        )


def find_target(pool: Pool, skill: str) -> Target:
    """The specialist that runs the skill. Raises ConfigurationError for a name that is no skill."""
    try:
        target = pool.target(skill)
    except ConcertinoError as error:
        raise ConfigurationError(f"router.language.skill: {error.message}", param="router.language.skill") from error
    if target is None or target.skill is None:
        raise ConfigurationError(
            f"router.language.skill: {skill!r} is no skill; give SPECIALIST/SKILL.", param="router.language.skill"
        )
    return target


def _members(settings: Settings) -> list[Member]:
    """One line a domain, in the team's order; who has no description cannot be read about."""
    found: dict[str, Member] = {}
    for card in settings.specialists:
        if card.name == settings.router.default or not card.description:
            continue
        domain = card.serves[0]
        before = found.get(domain)
        servers = frozenset({card.name}) | (before.servers if before else frozenset())
        found[domain] = Member(domain, before.description if before else card.description, servers)
    return list(found.values())
