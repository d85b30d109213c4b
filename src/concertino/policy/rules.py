"""The rules: facts about a request -> which specialists may see it, and why the others may not.

Fail closed: a detector that raises or is late counts as having fired. Nothing here reads what a model wrote as
permission; text of any author only ever adds findings, and findings only ever take specialists away.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from concertino import plugins
from concertino.config import PolicySettings
from concertino.errors import ConfigurationError, PolicyRefused
from concertino.policy.base import Detector, Kind
from concertino.policy.deadline import DeadlinePool
from concertino.policy.text import everything, normalise
from concertino.types import Facts, Principal, Request, Verdict

CHARACTERS_PER_TOKEN = 3.0
"""Rough and on the low side for English (about 4), so that code and other scripts are not far off."""
FAR_OVER = 2.0
"""How many times its context a request may be estimated at before a specialist is left out; engines count exactly."""

_JSON_FORMATS = ("json_schema", "json_object")


class SpecialistFacts(Struct, frozen=True):
    """What policy must know of a specialist."""

    name: str
    compliance: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    """`tools`, `json_schema`: what its backend can do."""
    context_tokens: int = 4096


@dataclass(frozen=True)
class _Found:
    """What one detector said; `failed` means it did not answer."""

    detector: Detector
    types: tuple[str, ...] = ()
    failed: bool = False


class Policy:
    """The team's rules. `detectors` defaults to the entry points named in the settings.

    Raises ConfigurationError when a named detector is not installed or cannot be built.
    """

    def __init__(
        self,
        settings: PolicySettings,
        specialists: Sequence[SpecialistFacts],
        *,
        detectors: Sequence[Detector] | None = None,
    ) -> None:
        self._settings = settings
        self._specialists = tuple(specialists)
        self._detectors = tuple(load_detectors(settings.detectors) if detectors is None else detectors)
        self._pool = DeadlinePool()

    @property
    def unseen(self) -> tuple[Kind, ...]:
        """Kinds that no detector looks for: while there are any, nothing counts as health data."""
        kinds = {detector.kind for detector in self._detectors}
        return tuple(kind for kind in Kind if kind not in kinds)

    def close(self) -> None:
        """Give the detectors' threads back."""
        self._pool.close()

    async def evaluate(self, request: Request, principal: Principal, characters: int | None = None) -> Verdict:
        """Who may see the request. Never raises for an empty field: `eligible` is then empty, see `refuse`.

        `characters` must fit a specialist's context, where that is less than all text because it may be shortened.
        """
        text = everything(request)
        found = await self._detect(text)
        facts = _facts(request, principal, found)
        excluded: dict[str, str] = {}
        for specialist in self._specialists:
            reason = self._objection(specialist, facts, len(text) if characters is None else characters)
            if reason:
                excluded[specialist.name] = reason
        eligible = tuple(item.name for item in self._specialists if item.name not in excluded)
        return Verdict(eligible=eligible, excluded=excluded, facts=facts)

    def refuse(self, verdict: Verdict) -> PolicyRefused:
        """The refusal for a verdict with nobody eligible: why each specialist was excluded, and what to do."""
        why = " ".join(f"{name}: {reason}" for name, reason in verdict.excluded.items())
        return PolicyRefused(
            f"No specialist may see this request. {why or 'The team is empty.'} {self._remedy(verdict)}", verdict
        )

    def check(self, verdict: Verdict, specialist: str) -> None:
        """Raises PolicyRefused when `specialist` is not eligible; whoever names one (caller, fallback) must ask."""
        if specialist in verdict.eligible:
            return
        reason = verdict.excluded.get(specialist, "It is not in the team.")
        others = f" Eligible: {', '.join(verdict.eligible)}." if verdict.eligible else ""
        raise PolicyRefused(
            f"{specialist} may not see this request. {reason} {self._remedy(verdict)}{others}", verdict, param="model"
        )

    async def _detect(self, text: str) -> list[_Found]:
        """All detectors at once, on one deadline for reading and detecting together."""
        deadline = asyncio.get_running_loop().time() + self._settings.detector_timeout_s
        if not text.isascii():
            try:
                text = await self._pool.call(lambda: normalise(text), self._settings.detector_timeout_s)
            except TimeoutError:
                return [_Found(detector, failed=True) for detector in self._detectors]
        left = deadline - asyncio.get_running_loop().time()
        return await asyncio.gather(*(self._ask(detector, text, left) for detector in self._detectors))

    async def _ask(self, detector: Detector, text: str, timeout_s: float) -> _Found:
        try:
            types = await self._pool.call(
                lambda: tuple(sorted({str(finding.type) for finding in detector.detect(text)})), timeout_s
            )
        except Exception:
            # Whatever a detector raises, it did not clear the text; the verdict names it.
            return _Found(detector, failed=True)
        return _Found(detector, types)

    def _objection(self, specialist: SpecialistFacts, facts: Facts, characters: int) -> str | None:
        """Why a specialist may not see the request, in a sentence; None if it may."""
        allowed = self._settings.tenants.get(facts.tenant)
        if allowed is not None and specialist.name not in allowed:
            return f"Tenant {facts.tenant} may not use it."
        if facts.health_data and self._settings.phi_tag not in specialist.compliance:
            return f"The request holds health data and it is not tagged {self._settings.phi_tag}{_unsure(facts)}."
        if facts.needs_tools and "tools" not in specialist.capabilities:
            return "The request has tools and its backend cannot call them."
        if facts.needs_json_schema and "json_schema" not in specialist.capabilities:
            return "The request asks for JSON and its backend cannot constrain its answer."
        tokens = characters / CHARACTERS_PER_TOKEN
        if tokens > FAR_OVER * specialist.context_tokens:
            return f"The request is about {tokens:.0f} tokens and its context holds {specialist.context_tokens}."
        return None

    def _remedy(self, verdict: Verdict) -> str:
        facts = verdict.facts
        advice = []
        if facts.health_data:
            advice.append(
                f"remove the personal data, or have {self._settings.phi_tag!r} added to the `compliance` of a "
                "specialist that may see health data"
            )
        if facts.tenant in self._settings.tenants:
            advice.append(f"use a key of another tenant, or extend `policy.tenants.{facts.tenant}`")
        if facts.needs_tools:
            advice.append("send the request without `tools`")
        if facts.needs_json_schema:
            advice.append("send it without `response_format`")
        if any("its context holds" in reason for reason in verdict.excluded.values()):
            advice.append("shorten the conversation")
        return f"To be answered: {'; '.join(advice or ['choose another specialist'])}."


def load_detectors(names: Sequence[str]) -> list[Detector]:
    """Build detectors from the `concertino.detectors` entry points. Raises ConfigurationError."""
    detectors: list[Detector] = []
    for name in names:
        make = plugins.load(plugins.DETECTORS, name, "policy.detectors")
        try:
            detectors.append(make())
        except Exception as error:
            raise ConfigurationError(
                f"Detector {name!r} cannot be built: {error}. Mend or remove it from `policy.detectors`.",
                param="policy.detectors",
            ) from error
    return detectors


def _unsure(facts: Facts) -> str:
    """Says so when the health verdict rests on a detector that did not answer."""
    if not facts.failed_detectors:
        return ""
    return f" (detector {', '.join(facts.failed_detectors)} did not answer, which counts as a finding)"


def _facts(request: Request, principal: Principal, found: Sequence[_Found]) -> Facts:
    def types(kind: Kind) -> tuple[str, ...]:
        return tuple(sorted({name for item in found if item.detector.kind == kind for name in item.types}))

    def fired(kind: Kind) -> bool:
        return any(item.failed or item.types for item in found if item.detector.kind == kind)

    wanted = (request.response_format or {}).get("type")
    return Facts(
        tenant=principal.tenant,
        needs_tools=bool(request.tools),
        needs_json_schema=wanted in _JSON_FORMATS,
        identifiers=types(Kind.IDENTIFIER),
        health_terms=types(Kind.HEALTH),
        failed_detectors=tuple(item.detector.name for item in found if item.failed),
        health_data=fired(Kind.IDENTIFIER) and fired(Kind.HEALTH),
    )
