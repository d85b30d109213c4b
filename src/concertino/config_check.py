"""What a configuration's types alone cannot say: names that must be unique, references that must resolve, ranges."""

import re

from concertino.errors import ConfigurationError
from concertino.settings import MOST_BEAMS, Settings
from concertino.template import problem_with


def check(settings: Settings, source: str) -> None:
    """Raises ConfigurationError that names `source`, the setting and what to do."""

    def refuse(where: str, what: str) -> None:
        raise ConfigurationError(f"{source}: {where}: {what}", param=where)

    names = [card.name for card in settings.specialists]
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
            refuse("specialists", f"{name!r} is not a usable name; use lower-case letters, digits, '.', '_' and '-'.")
        if name in ("auto", "several"):
            refuse("specialists", f"{name!r} is the router's own name; call the specialist something else.")
        if names.count(name) > 1:
            refuse("specialists", f"{name!r} is declared twice; give each specialist a name of its own.")
    for card in settings.specialists:
        if card.backend not in settings.backends:
            known = ", ".join(sorted(settings.backends)) or "none"
            refuse(f"specialists.{card.name}.backend", f"no backend {card.backend!r}; declared backends: {known}.")
        for field_name, words in (("knowledge", ("off", "optional", "required")), ("scope", ("off", "note", "strict"))):
            if (value := getattr(card, field_name)) not in words:
                refuse(f"specialists.{card.name}.{field_name}", f"{value!r} must be one of: {', '.join(words)}.")
        for skill in card.skills:
            if skill.backend and skill.backend not in settings.backends:
                refuse(f"specialists.{card.name}.skills.{skill.name}.backend", f"no backend {skill.backend!r}.")
            if skill.on_low_confidence not in ("abstain", "escalate"):
                where = f"specialists.{card.name}.skills.{skill.name}.on_low_confidence"
                refuse(where, f"{skill.on_low_confidence!r} must be abstain or escalate.")
            if problem := problem_with(skill.template):
                refuse(f"specialists.{card.name}.skills.{skill.name}.template", f"{skill.template!r}: {problem}")
            if skill.labels and skill.json_schema:
                refuse(f"specialists.{card.name}.skills.{skill.name}", "give labels or json_schema, not both.")
            if not 1 <= skill.beams <= MOST_BEAMS:
                where = f"specialists.{card.name}.skills.{skill.name}.beams"
                refuse(where, f"{skill.beams} must lie between 1 and {MOST_BEAMS}.")
            if skill.beams > 1 and (skill.labels or skill.json_schema):
                refuse(f"specialists.{card.name}.skills.{skill.name}.beams", "only free text is searched for.")
            if skill.calculate and (skill.labels or skill.json_schema):
                refuse(f"specialists.{card.name}.skills.{skill.name}.calculate", "only free text is calculated.")
    if settings.specialists and settings.router.default not in names:
        refuse("router.default", f"no specialist {settings.router.default!r}; choose one of: {', '.join(names)}.")
    for setting in ("hand_over_price", "quality_share", "cheap_share"):
        if not 0 <= (share := getattr(settings.router, setting)) <= 1:
            refuse(f"router.{setting}", f"{share} must lie between 0 and 1.")
    language = settings.router.language
    for setting in ("below", "weight"):
        if not 0 <= (share := getattr(language, setting)) <= 1:
            refuse(f"router.language.{setting}", f"{share} must lie between 0 and 1.")
    if language.timeout_s <= 0:
        refuse("router.language.timeout_s", f"{language.timeout_s} must be more than 0.")
    workflow = settings.workflow
    for field_name, one, other in (("planner", "segments", "model"), ("answer", "parts", "composed")):
        if (value := getattr(workflow, field_name)) not in (one, other):
            refuse(f"workflow.{field_name}", f"{value!r} must be {one} or {other}.")
    if not 2 <= workflow.max_parts <= 6:
        refuse("workflow.max_parts", f"{workflow.max_parts} must lie between 2 and 6.")
    for field_name in ("concurrency", "deadline_s", "max_tokens"):
        if not getattr(workflow, field_name) > 0:
            refuse(f"workflow.{field_name}", f"{getattr(workflow, field_name)} must be above 0.")
    for tenant, allowed in settings.policy.tenants.items():
        for name in set(allowed) - set(names):
            refuse(f"policy.tenants.{tenant}", f"no specialist {name!r}; choose from: {', '.join(names)}.")
    for embedding in settings.embeddings:
        if embedding.backend not in settings.backends:
            known = ", ".join(sorted(settings.backends)) or "none"
            refuse(f"embeddings.{embedding.model}", f"no backend {embedding.backend!r}; declared backends: {known}.")
    for key in settings.keys:
        if not re.fullmatch(r"[0-9a-f]{64}", key.sha256):
            refuse(f"keys.{key.id}", "sha256 must be 64 hexadecimal digits; make one with `concertino keys create`.")
    if not 0 <= settings.gateway.port <= 65535:
        refuse("gateway.port", f"{settings.gateway.port} is not a port; use 1 to 65535, or 0 for a free one.")
