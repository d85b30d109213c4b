"""Verdict and ranking -> Decision: which specialist answers, and the reason in words."""

from msgspec import structs

from concertino.specialists.pool import Pool, Target
from concertino.types import Decision, Ranking, Tier, Verdict


def pinned(target: Target, verdict: Verdict) -> Decision:
    """The caller named the specialist; policy has already agreed."""
    name = target.specialist.card.name
    skill = target.skill.name if target.skill else None
    asked = f"{name}/{skill}" if skill else name
    return Decision(name, 1.0, Tier.PINNED, f"The request names {asked}.", skill, {name: 1.0}, verdict)


def only_candidate(verdict: Verdict) -> Decision:
    """Policy left one specialist."""
    name = verdict.eligible[0]
    why = " ".join(dict.fromkeys(verdict.excluded.values())) or "The team has no other specialist."
    return Decision(name, 1.0, Tier.POLICY, f"Only {name} is eligible. {why}", None, {name: 1.0}, verdict)


def ranked(pool: Pool, ranking: Ranking, verdict: Verdict, default: str) -> Decision:
    """The best eligible specialist for what the router says. Scores of excluded specialists are not shown."""
    decision = _ranked(pool, ranking, verdict, default)
    earlier = tuple(_server(pool, domain, verdict, default) for domain in ranking.earlier)
    return structs.replace(decision, domain=ranking.domain, earlier=earlier)


def _server(pool: Pool, domain: str | None, verdict: Verdict, default: str) -> str:
    """Who answered a turn of a domain: of those that the tenant may use, the first who is eligible now, or was then."""
    allowed = pool.settings.policy.tenants.get(verdict.facts.tenant)
    for names in (pool.serving(domain) if domain is not None else [], [default]):
        able = [name for name in names if allowed is None or name in allowed]
        if able:
            return next((name for name in able if name in verdict.eligible), able[0])
    return verdict.eligible[0]


def _ranked(pool: Pool, ranking: Ranking, verdict: Verdict, default: str) -> Decision:
    scores = dict.fromkeys(verdict.eligible, 0.0)
    for domain, score in ranking.scores.items():
        for name in pool.serving(domain):
            if name in scores:
                scores[name] = max(scores[name], score)
    scores = dict(sorted(scores.items(), key=lambda item: -item[1]))
    said = _sentence(ranking.reason)
    if ranking.domain is None:
        name, note = _default_or_best(default, scores)
        return Decision(name, ranking.confidence, Tier.DEFAULT, said + note, None, scores, verdict)
    able = [name for name in pool.serving(ranking.domain) if name in verdict.eligible]
    if able:
        return Decision(able[0], ranking.confidence, ranking.tier, said, None, scores, verdict)
    name, note = _default_or_best(default, scores)
    barred = pool.serving(ranking.domain)
    who = f" {barred[0]} is not eligible." if barred else f" Nobody here serves {ranking.domain}."
    return Decision(name, scores[name], Tier.DEFAULT, said + who + note, None, scores, verdict)


def _sentence(reason: str) -> str:
    """A router's reason, so that another sentence can follow it."""
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", "!", "?")) else ".")


def _default_or_best(default: str, scores: dict[str, float]) -> tuple[str, str]:
    if default in scores:
        return default, f" {default} answers."
    best = next(iter(scores))
    return best, f" {default} is not eligible, so the best of the rest, {best}, answers."
