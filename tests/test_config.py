"""concertino.yaml: what is read, what is refused, and in which words."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from concertino.config import Settings, build, load
from concertino.errors import ConfigurationError
from tests.teams import echo_team


def test_the_built_in_team_has_five_specialists_that_share_a_backend() -> None:
    settings = load()
    assert [card.name for card in settings.specialists] == ["general", "code", "legal", "finance", "medical"]
    assert settings.specialists[4].compliance == ("on_prem", "phi")
    assert {card.backend for card in settings.specialists} <= settings.backends.keys()


def test_a_section_of_a_file_replaces_the_built_in_one_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("gateway: {port: 9000}\n")
    settings = load(path)
    assert settings.gateway.port == 9000
    assert settings.gateway.host == "127.0.0.1"
    assert len(settings.specialists) == 5


SKILL = """
backends: {echo: {type: echo}}
specialists:
  - {name: general, description: d, backend: echo, model: m, skills: [{name: s, description: d, instruction: i, SET}]}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gatway: {}", "unknown key 'gatway'. Did you mean 'gateway'?"),
        ("gateway: {prot: 1}", "unknown key 'prot' under gateway. Did you mean 'port'?"),
        ("gateway: {port: high}", "Expected `int`, got `str` - at `$.gateway.port`"),
        ("gateway: {port: 70000}", "70000 is not a port"),
        ("- a list", "must be a mapping"),
        ("gateway: [", "is not valid YAML"),
        ("router: {default: nobody}", "no specialist 'nobody'"),
        ("keys: [{id: a, sha256: short}]", "64 hexadecimal digits"),
        ("policy: {tenants: {acme: [ghost]}}", "no specialist 'ghost'"),
        (SKILL.replace("SET", "template: '{text:shouted}'"), "general.skills.s.template: '{text:shouted}': "),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Cannot read"):
        load(tmp_path / "absent.yaml")


def test_two_specialists_of_one_name_and_an_undeclared_backend_are_refused() -> None:
    raw = echo_team()
    raw["specialists"][1]["name"] = "general"
    with pytest.raises(ConfigurationError, match="declared twice"):
        build(raw, "a test")
    raw = echo_team()
    raw["specialists"][1]["backend"] = "ghost"
    with pytest.raises(ConfigurationError, match="no backend 'ghost'; declared backends: echo"):
        build(raw, "a test")


@pytest.mark.parametrize(
    ("skill", "said"),
    [
        ({"labels": [], "beams": 9}, "beams: 9 must lie between 1 and 8"),
        ({"labels": [], "beams": 0}, "beams: 0 must lie between 1 and 8"),
        ({"labels": ["yes", "no"], "beams": 4}, "beams: only free text is searched for"),
    ],
)
def test_beams_are_for_free_text_and_not_too_many(skill: dict[str, Any], said: str) -> None:
    raw = echo_team()
    card = next(card for card in raw["specialists"] if card.get("skills"))
    card["skills"][0] |= skill
    with pytest.raises(ConfigurationError, match=said):
        build(raw, "a test")


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().home = "x"  # type: ignore[misc]


def test_built_in_embeddings_stay_only_where_their_backend_does(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    team = "specialists: [{name: general, description: d, backend: mine, model: m}]\n"
    path.write_text("backends: {mine: {type: echo}}\n" + team)
    assert load(path).embeddings == ()
    path.write_text("backends: {mine: {type: echo}, encoder: {type: encoder}}\n" + team)
    assert [one.model for one in load(path).embeddings] == ["all-MiniLM-L6-v2"]
    path.write_text("backends: {mine: {type: echo}}\nembeddings: [{model: e, backend: theirs}]\n" + team)
    with pytest.raises(ConfigurationError, match="no backend 'theirs'; declared backends: mine"):
        load(path)


MANUAL = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
FENCE = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[dict[str, Any]]:
    """The configurations in the manual; a recipe or a catalogue has other keys."""
    known = {item.name for item in msgspec.structs.fields(Settings)}
    found = [yaml.safe_load(text) for page in MANUAL for text in FENCE.findall(page.read_text("utf-8"))]
    return [one for one in found if one.keys() <= known]


def test_every_configuration_in_the_manual_can_be_loaded(tmp_path: Path) -> None:
    shown = examples()
    assert len(shown) >= 4
    for number, one in enumerate(shown):
        cards = one.get("specialists", [])
        if cards and "general" not in {card["name"] for card in cards}:
            one["specialists"] = [*cards, {**cards[0], "name": "general"}]  # the page shows the one that it is about
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(one), "utf-8")
        load(path)
