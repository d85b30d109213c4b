"""The team in memory: each card with the backend that runs it. Specialists on one base share one engine."""

import asyncio
import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from concertino import plugins
from concertino.backends.base import Backend, BackendContext, Capability, Health, ModelUse, no_file
from concertino.config import BackendSettings, Settings, SkillCard, SpecialistCard
from concertino.errors import UnknownModel

AUTO = "auto"
CHEAP, BEST = "auto:cheap", "auto:best"
CHOSEN = frozenset({AUTO, CHEAP, BEST})
"""Models that leave the choice of the specialist to the router."""
ESCALATE = "escalate"
GGUF_ADAPTER = "adapter.gguf"
"""The file of an adapter folder that llama.cpp loads; where there is one, no other engine runs the folder."""


class Specialist(Struct, frozen=True):
    """A card, the backend that runs it, and the hashes that say exactly which weights answer.

    For a skill with a backend, a model or an adapter of its own there is a second one, whose card names those.
    """

    card: SpecialistCard
    backend: Backend
    model_hash: str

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.backend.capabilities


class Target(Struct, frozen=True):
    """What the `model` field names: a specialist, perhaps one of its skills. `None` for `auto`.

    With a skill, `specialist` has the backend, the model and the adapter that run the skill.
    """

    specialist: Specialist
    skill: SkillCard | None = None


class Pool:
    """Builds every backend that a card or an embedding model names, and finds specialists by name.

    `resolve` gives the file of a catalogue model that llama.cpp loads, `file` one of the model's files by its name,
    `model_hash` the content hash of a card's weights. A backend of `before` that is asked for the same is kept.
    """

    def __init__(
        self,
        settings: Settings,
        resolve: Callable[[str], Path],
        model_hash: Callable[[SpecialistCard], str],
        file: Callable[[str, str], Path] = no_file,
        before: "Pool | None" = None,
    ) -> None:
        self.settings = settings
        self.runs = 0
        """Requests that were decided on this pool and are not over."""
        self._made_for: dict[str, tuple[BackendSettings, tuple[ModelUse, ...]]] = {}
        uses = model_uses(settings)
        self.backends: dict[str, Backend] = {}
        for name, declared in settings.backends.items():
            if not uses.get(name):
                continue  # declared but used by nobody: nothing to start
            self._made_for[name] = (declared, tuple(uses[name]))
            if before is not None and before._made_for.get(name) == self._made_for[name]:
                self.backends[name] = before.backends[name]
                continue
            make = plugins.load(plugins.BACKENDS, declared.type, f"backends.{name}.type")
            self.backends[name] = make(BackendContext(name, declared.options, tuple(uses[name]), resolve, file))

        def member(card: SpecialistCard) -> Specialist:
            return Specialist(card, self.backends[card.backend], model_hash(card))

        self._specialists = {card.name: member(as_run(card)) for card in settings.specialists}
        self._own_weights = {
            (card.name, skill.name): member(as_run(card, skill))
            for card in settings.specialists
            for skill in card.skills
            if as_run(card, skill) != as_run(card)
        }

    def __iter__(self) -> Iterator[Specialist]:
        return iter(self._specialists.values())

    def __len__(self) -> int:
        return len(self._specialists)

    def get(self, name: str) -> Specialist:
        return self._specialists[name]

    def serving(self, domain: str) -> list[str]:
        """Names of the specialists that serve a router's domain, in the team's order."""
        return [card.name for card in self.settings.specialists if domain in card.serves]

    def target(self, model: str) -> Target | None:
        """What a request's `model` names, None where the router chooses. Raises UnknownModel with the nearest name."""
        if model in CHOSEN:
            return None
        name, _, skill_name = model.partition("/")
        specialist = self._specialists.get(name)
        if specialist is None:
            raise self._unknown(model)
        if not skill_name:
            return Target(specialist)
        skill = specialist.card.skill(skill_name)
        if skill is None:
            raise self._unknown(model)
        return Target(self._own_weights.get((name, skill_name), specialist), skill)

    def escalation(self, target: Target, default: str) -> Target | None:
        """Where a skill's text goes if the skill is not sure enough: `default`, told what the skill's card says."""
        skill = target.skill
        if skill is None or skill.on_low_confidence != ESCALATE:
            return None
        limited = skill.threshold is not None or skill.scope_threshold is not None
        # A scope is told by the adapter that it was fitted for, whatever is known of the answer's confidence.
        told = bool(skill.labels) or skill.text_temperature is not None or skill.threshold is None
        if not limited or not told:  # nothing would ever call for it, or everything
            return None
        bare = structs.replace(
            skill,
            threshold=None,
            scope_threshold=None,
            text_temperature=None,
            beams=1,
            backend="",
            model="",
            adapter=None,
        )
        return Target(self.get(default), bare)

    def names(self) -> list[str]:
        """Every name that `model` may take, `auto` first."""
        listed = [AUTO, CHEAP, BEST]
        for card in self.settings.specialists:
            listed.append(card.name)
            listed.extend(f"{card.name}/{skill.name}" for skill in card.skills)
        return listed

    def _unknown(self, model: str) -> UnknownModel:
        nearest = difflib.get_close_matches(model, self.names(), n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        return UnknownModel(
            f"No model {model[:80]!r} here.{hint} GET /v1/models or `concertino specialists` lists them.", param="model"
        )

    async def start(self, running: "Pool | None" = None, only: str | None = None) -> None:
        """Start every backend at once, but those that `running` has, or the one named `only`.

        If one fails, those that came up are closed.
        """
        fresh = self.not_in(running) if running is not None else list(self.backends.values())
        if only is not None:
            fresh = [self.backends[only]]
        try:
            await asyncio.gather(*(backend.start() for backend in fresh))
        except BaseException:
            await close_all(fresh)
            raise

    def not_in(self, *others: "Pool") -> list[Backend]:
        """The backends that none of the others has."""
        kept = {id(backend) for other in others for backend in other.backends.values()}
        return [backend for backend in self.backends.values() if id(backend) not in kept]

    async def close(self) -> None:
        await close_all(self.backends.values())

    def health(self) -> dict[str, Health]:
        return {name: backend.health() for name, backend in self.backends.items()}


async def close_all(backends: Iterable[Backend]) -> None:
    """Close backends at once; one that fails to close keeps none of the others open."""
    await asyncio.gather(*(backend.close() for backend in backends), return_exceptions=True)


def as_run(card: SpecialistCard, skill: SkillCard | None = None) -> SpecialistCard:
    """The card with what really runs it, or `skill`; its adapter is the path that the engine is given.

    An adapter is a file, or a folder: llama.cpp is given the `adapter.gguf` in it, other engines the folder.
    """
    running = card.as_run(skill)
    if running.adapter is None:
        return running
    path = Path(running.adapter).expanduser()
    inside = path / GGUF_ADAPTER
    return structs.replace(running, adapter=str(inside if inside.is_file() else path))


def model_uses(settings: Settings) -> dict[str, list[ModelUse]]:
    """What each backend will be asked for: one ModelUse per base model, whoever shares it."""
    uses: dict[str, list[ModelUse]] = {}
    by_base: dict[tuple[str, str], list[SpecialistCard]] = {}
    for card in settings.specialists:
        for running in (as_run(card), *(structs.replace(as_run(card, skill), system="") for skill in card.skills)):
            by_base.setdefault((running.backend, running.model), []).append(running)
    for (backend, model), cards in by_base.items():
        use = ModelUse(
            model=model,
            adapters=tuple(dict.fromkeys(card.adapter for card in cards if card.adapter)),
            context_tokens=max(card.context_tokens for card in cards),
            preambles=tuple(dict.fromkeys(card.system for card in cards if card.system)),
        )
        uses.setdefault(backend, []).append(use)
    for embedding in settings.embeddings:
        uses.setdefault(embedding.backend, []).append(ModelUse(embedding.model, context_tokens=512, embed=True))
    return uses
