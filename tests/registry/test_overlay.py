"""What serves: promoted over shipped over prompted, and nothing that is damaged."""

from pathlib import Path

import pytest
from msgspec import structs

from concertino.config import Settings, SkillCard, build, load
from concertino.models.catalogue import load_catalogue
from concertino.registry import Registry, known_skills, lay_over, overlay, serving
from concertino.registry.registry import write_version
from tests.registry.versions import SKILL, files, registry_team, version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return build(registry_team(tmp_path / "home"), "a test")


def skill_of(settings: Settings, name: str = SKILL) -> SkillCard:
    specialist, skill = name.split("/")
    card = settings.card(specialist)
    assert card is not None
    found = card.skill(skill)
    assert found is not None
    return found


def test_without_a_registry_the_team_is_as_configured(settings: Settings) -> None:
    assert lay_over(settings).settings == settings


def test_a_promoted_version_replaces_the_skill_of_its_name(settings: Settings, registry: Registry) -> None:
    promoted = registry.promote(version("a"), files("a"))
    card = skill_of(overlay(settings))
    assert card.labels == ("a", "no")
    assert card.version == promoted.version
    assert card.adapter == str(registry.folder(SKILL, promoted.version) / "adapter")
    assert [one.name for one in overlay(settings).specialists] == [one.name for one in settings.specialists]


def test_a_promoted_version_adds_a_skill_that_the_configuration_lacks(settings: Settings, registry: Registry) -> None:
    registry.promote(version("a", "legal/fresh"), files("a"))
    assert skill_of(overlay(settings), "legal/fresh").labels == ("a", "no")
    assert skill_of(overlay(settings)) == skill_of(settings)


def test_a_version_of_a_specialist_that_the_team_lacks_serves_nobody(settings: Settings, registry: Registry) -> None:
    registry.promote(version("a", "tax/fresh"), files("a"))
    found = lay_over(settings)
    assert (found.settings, found.problems) == (settings, ())


def test_a_retired_skill_is_prompted_again(settings: Settings, registry: Registry) -> None:
    registry.promote(version("a"), files("a"))
    registry.retire(SKILL)
    assert overlay(settings) == settings


def test_a_damaged_version_is_reported_and_the_one_before_serves(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.promote(version("a"), files("a"))
    second = registry.promote(version("b"), files("b"))
    (registry.folder(SKILL, second.version) / "MODEL_CARD.md").unlink()
    assert skill_of(overlay(settings)).labels == ("a", "no")
    assert "MODEL_CARD.md" in caplog.text
    first = lay_over(settings).by_skill()[SKILL]
    (registry.folder(SKILL, first.version.version) / "MODEL_CARD.md").unlink()
    found = lay_over(settings)
    assert found.settings == settings and len(found.problems) == 2


def test_what_was_retired_does_not_serve_again_where_a_later_version_is_damaged(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    registry.promote(version("a"), files("a"))
    registry.retire(SKILL, "it told one customer of another")
    broken = registry.promote(version("b"), files("b"))
    (registry.folder(SKILL, broken.version) / "MODEL_CARD.md").unlink()
    shipped(tmp_path / "shipped", "s")
    found = lay_over(structs.replace(load(), home=settings.home), shipped=tmp_path / "shipped")
    assert [served.skill for served in found.served] == [] and len(found.problems) == 1
    assert lay_over(settings).settings == settings


def test_a_current_file_that_is_no_json_leaves_the_team_as_configured(settings: Settings, registry: Registry) -> None:
    registry.promote(version("a"), files("a"))
    registry.current_path.write_text("{")
    found = lay_over(settings)
    assert found.settings == settings
    assert "cannot be read" in found.problems[0].message


@pytest.mark.parametrize(("base", "digest"), [("no-such-base", "0" * 64), ("all-MiniLM-L6-v2", "0" * 64)])
def test_a_version_for_a_base_that_the_catalogue_lacks_is_not_served(
    settings: Settings, registry: Registry, base: str, digest: str
) -> None:
    odd = version("a", backend="encoder", model=base)
    registry.promote(structs.replace(odd, base=base, base_sha256=digest), files("a"))
    found = lay_over(settings)
    assert found.settings == settings
    assert base in found.problems[0].message


def test_an_engine_that_the_configuration_lacks_is_added_for_the_version(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    entry = load_catalogue(tmp_path).entry("all-MiniLM-L6-v2")
    weights = next(file for file in entry.files if file.name == "model.safetensors")
    made = structs.replace(version("a", backend="encoder", model=""), base=entry.name, base_sha256=weights.sha256)
    registry.promote(made, files("a"))
    team = overlay(settings)
    card = skill_of(team)
    assert (card.backend, card.model) == ("encoder", "all-MiniLM-L6-v2")
    assert team.backends["encoder"].type == "encoder"
    raw = registry_team(tmp_path / "home")
    raw["backends"] |= {"encoder": {"type": "echo"}, "vectors": {"type": "encoder"}}
    assert skill_of(overlay(build(raw, "a test"))).backend == "vectors"


def shipped(folder: Path, answer: str, skill: str = SKILL) -> None:
    write_version(folder / skill, version(answer, skill), files(answer))


def test_a_shipped_version_serves_the_built_in_team_alone_and_lies_under_a_promoted_one(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    shipped(tmp_path / "shipped", "shipped")
    built_in = structs.replace(load(), home=str(tmp_path / "home"))

    def first_label(team: Settings) -> str:
        return skill_of(lay_over(team, shipped=tmp_path / "shipped").settings).labels[0]

    assert first_label(built_in) == "shipped"
    assert first_label(settings) == "yes"
    registry.promote(version("a"), files("a"))
    assert first_label(built_in) == first_label(settings) == "a"
    registry.rollback(SKILL)
    assert first_label(built_in) == "shipped"
    registry.retire(SKILL)
    assert first_label(built_in) == "yes"


def test_what_serves_is_told_with_its_folder_shipped_or_promoted(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    place = tmp_path / "shipped"
    shipped(place, "shipped")
    built_in = structs.replace(load(), home=str(tmp_path / "home"))

    def folder(team: Settings, name: str = SKILL) -> Path | None:
        found = serving(team, name, place)
        return found.folder if found else None

    assert folder(built_in) == place / SKILL and folder(settings) is None
    first = registry.promote(version("a"), files("a"))
    second = registry.promote(version("b"), files("b"))
    assert folder(built_in) == folder(settings) == registry.folder(SKILL, second.version)
    (registry.folder(SKILL, second.version) / "MODEL_CARD.md").unlink()
    assert folder(built_in) == registry.folder(SKILL, first.version)  # damaged, so the one before serves
    registry.retire(SKILL)
    assert folder(built_in) is None
    registry.promote(version("a", "tax/fresh"), files("a"))
    assert folder(settings, "tax/fresh") is not None  # it would serve, if the team had a specialist tax
    assert {SKILL, "tax/fresh", "legal/clause"} & set(known_skills(settings, place)) == {SKILL, "tax/fresh"}
