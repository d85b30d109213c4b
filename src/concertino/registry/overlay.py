"""What the registry and the package add to a configured team: the versions that serve its skills."""

import logging
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from msgspec import Struct, structs

from concertino.config import BackendSettings, Settings, SkillCard, SpecialistCard, built_in_team
from concertino.errors import RegistryCorrupt
from concertino.models.catalogue import Catalogue, load_catalogue
from concertino.models.inventory import FROM_CATALOGUE
from concertino.registry.registry import Registry
from concertino.registry.state import Entry
from concertino.registry.version import ADAPTER, MANIFEST, Version, read_version

SHIPPED = "shipped"
"""Folder of the package with the versions that come with it."""
PROMOTED = "promoted"

log = logging.getLogger("concertino.registry")


class Served(Struct, frozen=True):
    """A version that serves a skill, and whether it was promoted here or came with the package."""

    skill: str
    version: Version
    origin: str
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.version.short} ({self.origin})"


class Overlay(Struct, frozen=True):
    """A team with the versions that serve it, and what is wrong with those that should and do not."""

    settings: Settings
    served: tuple[Served, ...] = ()
    problems: tuple[RegistryCorrupt, ...] = ()

    def by_skill(self) -> dict[str, Served]:
        return {served.skill: served for served in self.served}


def overlay(settings: Settings, home: Path | None = None) -> Settings:
    """The settings with the skills that versions serve. What is damaged is logged, and not served."""
    found = lay_over(settings, home)
    for problem in found.problems:
        log.warning("%s", problem.message)
    return found.settings


def lay_over(settings: Settings, home: Path | None = None, shipped: Path | None = None) -> Overlay:
    """Shipped versions under the built-in team, and those promoted in `home` over any team.

    A version replaces the skill of its name, or adds it. One that is damaged, or whose base the catalogue lacks, is a
    problem, and the one that served before it, the shipped one, or the prompted card takes its place.
    """
    registry = Registry(home or settings.home_path)
    problems: list[RegistryCorrupt] = []
    try:
        entries = registry.state().skills
    except RegistryCorrupt as error:
        problems.append(error)
        entries = {}
    folders = _shipped(settings, shipped)
    names = [name for name in dict.fromkeys([*folders, *entries]) if settings.card(name.split("/")[0]) is not None]
    if not names:
        return Overlay(settings, (), tuple(problems))
    catalogue, served, result = load_catalogue(registry.root.parent), [], settings
    for name in names:
        candidates = _candidates(registry, name, entries.get(name), folders.get(name))
        found = _first_whole(name, candidates, catalogue, problems)
        if found is not None:
            result = _with_version(result, found.version, found.folder)
            served.append(found)
    return Overlay(result, tuple(served), tuple(problems))


def serving(settings: Settings, name: str, shipped: Path | None = None) -> Served | None:
    """The version that serves a skill, or that would if the team had its specialist. Raises RegistryCorrupt where
    nobody can tell."""
    registry = Registry(settings.home_path)
    candidates = _candidates(registry, name, registry.state().skills.get(name), _shipped(settings, shipped).get(name))
    return _first_whole(name, candidates, load_catalogue(settings.home_path), [])


def known_skills(settings: Settings, shipped: Path | None = None) -> list[str]:
    """Skills that the configuration describes, that came with the package, or that the registry knows."""
    configured = {f"{card.name}/{skill.name}" for card in settings.specialists for skill in card.skills}
    return sorted(configured | _shipped(settings, shipped).keys() | set(Registry(settings.home_path).skills()))


def _first_whole(
    name: str, candidates: Iterator[tuple[str, Path]], catalogue: Catalogue, problems: list[RegistryCorrupt]
) -> Served | None:
    """The first of the candidates that can serve; what is wrong with those before it joins `problems`."""
    for origin, folder in candidates:
        try:
            version = read_version(folder)
            _check(version, name, folder, catalogue)
        except RegistryCorrupt as error:
            problems.append(error)
            continue
        return Served(name, version, origin, folder)
    return None


def _shipped(settings: Settings, root: Path | None) -> dict[str, Path]:
    """Folders of the versions that came with the package, for the team that came with it."""
    if settings.specialists != built_in_team():
        return {}
    base = root or Path(str(resources.files("concertino").joinpath(SHIPPED)))
    return {
        f"{path.parent.parent.name}/{path.parent.name}": path.parent for path in sorted(base.glob(f"*/*/{MANIFEST}"))
    }


def _candidates(registry: Registry, name: str, entry: Entry | None, shipped: Path | None) -> Iterator[tuple[str, Path]]:
    """Folders of the versions that may serve a skill, the one that should first. None for a retired skill, and none of
    those that served before it was retired: they were taken away on purpose."""
    if entry is not None:
        for version in dict.fromkeys((entry.version, *reversed(entry.before))):
            if not version:
                return
            yield PROMOTED, registry.folder(name, version)
    if shipped is not None:
        yield SHIPPED, shipped


def _check(version: Version, name: str, folder: Path, catalogue: Catalogue) -> None:
    if version.name != name:
        raise RegistryCorrupt(f"The version in {folder} is one of {version.name}, so it does not serve {name}.")
    if version.card.backend not in FROM_CATALOGUE:
        return
    entry = catalogue.entries.get(version.base)
    if entry is None or version.base_sha256 not in {file.sha256 for file in entry.files}:
        what = "has no model" if entry is None else "has other bytes for"
        raise RegistryCorrupt(
            f"The version {version.short} of {name} is for the base {version.base} "
            f"({version.base_sha256[:12]}…), and the catalogue {what} {version.base}, so it does not serve."
        )


def _with_version(settings: Settings, version: Version, folder: Path) -> Settings:
    name, skill_name = version.name.split("/")
    specialist = settings.card(name)
    assert specialist is not None
    backend, backends = _backend(settings, specialist, version.card.backend)
    adapter = str(folder / ADAPTER) if version.card.adapter else None
    card = structs.replace(
        version.card,
        name=skill_name,
        backend=backend,
        model=version.card.model or version.base,
        adapter=adapter,
        version=version.version,
    )
    skills = tuple(card if skill.name == skill_name else skill for skill in specialist.skills)
    if specialist.skill(skill_name) is None:
        skills = (*skills, card)
    return structs.replace(settings, backends=backends, specialists=_replaced(settings, specialist, skills))


def _replaced(
    settings: Settings, specialist: SpecialistCard, skills: tuple[SkillCard, ...]
) -> tuple[SpecialistCard, ...]:
    changed = structs.replace(specialist, skills=skills)
    return tuple(changed if card is specialist else card for card in settings.specialists)


def _backend(settings: Settings, specialist: SpecialistCard, kind: str) -> tuple[str, dict[str, BackendSettings]]:
    """The backend that runs an engine's versions: the specialist's where it is of that type, else the first that is,
    else a new one."""
    backends = settings.backends
    fitting = [name for name, declared in backends.items() if declared.type == kind]
    if specialist.backend in fitting:
        return specialist.backend, backends
    if fitting:
        return fitting[0], backends
    name = kind if kind not in backends else f"{kind}-of-registry"
    return name, {**backends, name: BackendSettings(kind)}
