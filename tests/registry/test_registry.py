"""The registry: names that content gives, changes that happen whole or not at all, and the way back."""

import errno
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from concertino.config import build
from concertino.errors import PromotionRefused, RegistryCorrupt, UnknownVersion
from concertino.registry import Registry, overlay, read_version, state
from concertino.registry.overlay import SHIPPED
from concertino.registry.registry import UNREGISTERED
from tests.registry.versions import SKILL, files, registry_team, version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def promote(registry: Registry, answer: str) -> str:
    return registry.promote(version(answer), files(answer)).version


def current(registry: Registry) -> str | None:
    entry = registry.state().skills.get(SKILL)
    return entry.version if entry else None


def test_a_version_is_named_by_its_content_and_the_same_content_has_one_name(registry: Registry) -> None:
    first = promote(registry, "a")
    assert promote(registry, "a") == first
    assert len(registry.history()) == 1 and len(registry.versions(SKILL)) == 1
    assert promote(registry, "b") != first
    changed = registry.promote(version("a"), files("a") | {"MODEL_CARD.md": b"other"}).version
    assert changed != first
    assert registry.folder(SKILL, first).name == first[:12]


def test_what_a_skill_reads_of_a_row_is_part_of_its_version_and_serves(registry: Registry, tmp_path: Path) -> None:
    plain = promote(registry, "a")
    made = registry.promote(version("a", template="{text}\n{contexts}"), files("a")).version
    assert made != plain
    assert registry.read(SKILL, made).card.template == "{text}\n{contexts}"
    team = overlay(build(registry_team(tmp_path), "a test"))
    card = team.card("legal")
    assert card is not None and card.skills[0].template == "{text}\n{contexts}"


def test_versions_of_before_templates_keep_their_names() -> None:
    shipped = sorted(Path(str(resources.files("concertino").joinpath(SHIPPED))).glob("*/*/version.json"))
    before = [path for path in shipped if "template" not in json.loads(path.read_bytes())["card"]]
    assert before
    assert all(read_version(path.parent).card.template == "text" for path in before)
    verdict = next(path for path in shipped if path.parent.name == "pubmed-verdict")
    assert read_version(verdict.parent).card.template == "{text}\n{contexts}"


def test_a_promoted_version_serves_and_the_one_before_comes_back(registry: Registry) -> None:
    first, second = promote(registry, "a"), promote(registry, "b")
    assert current(registry) == second
    assert registry.rollback(SKILL).after == first
    assert current(registry) == first
    assert registry.rollback(SKILL).after == UNREGISTERED
    assert current(registry) is None
    with pytest.raises(UnknownVersion, match="nothing to roll back"):
        registry.rollback(SKILL)


def test_a_version_can_be_named_to_come_back(registry: Registry) -> None:
    first, second, third = (promote(registry, answer) for answer in "abc")
    registry.rollback(SKILL, to=first[:6])
    assert current(registry) == first
    registry.rollback(SKILL)
    assert current(registry) == third
    with pytest.raises(UnknownVersion, match="No version begins with 'zz'"):
        registry.rollback(SKILL, to="zz")
    assert second[:12] in registry.versions(SKILL)


def test_rolling_back_to_what_serves_changes_nothing_and_the_next_rollback_steps_back(registry: Registry) -> None:
    first, second = promote(registry, "a"), promote(registry, "b")
    before = registry.current_path.read_bytes()
    with pytest.raises(UnknownVersion, match=f"{second[:12]} is what it is set to already"):
        registry.rollback(SKILL, to=second[:8])
    assert registry.current_path.read_bytes() == before and len(registry.history()) == 2
    assert registry.rollback(SKILL).after == first


def test_a_rollback_steps_over_what_serves_already(registry: Registry) -> None:
    """With the one between deleted, the version that serves stands last among those before it."""
    first, second = promote(registry, "a"), promote(registry, "b")
    third = promote(registry, "c")
    registry.rollback(SKILL, to=second[:12])
    registry.delete(SKILL)
    assert registry.versions(SKILL) == [second[:12]] and {first, third} & set(registry.versions(SKILL)) == set()
    assert registry.rollback(SKILL).after == UNREGISTERED


def test_every_digit_that_names_a_version_counts(registry: Registry) -> None:
    first = promote(registry, "a")
    promote(registry, "b")
    wrong = first[:20] + ("0" if first[20] != "0" else "1")
    with pytest.raises(UnknownVersion, match=f"No version begins with '{wrong}'"):
        registry.rollback(SKILL, to=wrong)
    assert registry.rollback(SKILL, to=first[:21].upper()).after == first


@pytest.mark.parametrize("digits", [8, 64])
def test_a_damaged_version_is_not_rolled_back_to_and_it_is_said_what_to_do(registry: Registry, digits: int) -> None:
    first, second, third = (promote(registry, answer) for answer in "abc")
    (registry.folder(SKILL, second) / "MODEL_CARD.md").unlink()
    advice = rf"Promote its run again.*rollback {SKILL} --to` \(.*{first[:12]}"
    with pytest.raises(RegistryCorrupt, match=advice):
        registry.rollback(SKILL, to=second[:digits])
    with pytest.raises(RegistryCorrupt, match=advice):
        registry.rollback(SKILL)
    assert current(registry) == third


@pytest.mark.parametrize("between", ["another", "retired"])
def test_what_was_judged_against_another_version_is_not_promoted(registry: Registry, between: str) -> None:
    first = promote(registry, "a")
    seen = registry.state()
    if between == "another":
        changed = promote(registry, "b")
    else:
        registry.retire(SKILL)
        changed = "retired"
    with pytest.raises(PromotionRefused, match=f"from {first[:12]} to {changed[:12]}. Promote it again"):
        registry.promote(version("c"), files("c"), seen=seen)
    assert current(registry) == ("" if between == "retired" else changed)
    lying = registry.versions(SKILL)
    assert len(lying) == (1 if between == "retired" else 2) and not list((registry.root / "partial").glob("*"))
    assert registry.promote(version("c"), files("c"), seen=registry.state()).version == current(registry)


def test_two_that_promote_the_same_at_once_both_succeed(registry: Registry) -> None:
    seen = registry.state()
    promoted = [registry.promote(version("a"), files("a"), seen=seen).version for _ in range(2)]
    assert promoted == [current(registry)] * 2 and len(registry.history()) == 1


def test_a_retired_skill_has_no_version_until_it_is_rolled_back(registry: Registry) -> None:
    first = promote(registry, "a")
    registry.retire(SKILL, "not needed")
    assert current(registry) == ""
    with pytest.raises(UnknownVersion, match="retired already"):
        registry.retire(SKILL)
    registry.rollback(SKILL)
    assert current(registry) == first
    assert [(one.what, one.why) for one in registry.history()] == [
        ("promote", ""),
        ("retire", "not needed"),
        ("rollback", ""),
    ]


def test_delete_removes_what_neither_serves_nor_is_leased(registry: Registry) -> None:
    first, second, third = (promote(registry, answer) for answer in "abc")
    with registry.lease(SKILL, first):
        removed, in_use = registry.delete(SKILL)
    assert (removed, in_use) == ([second[:12]], [first[:12]])
    assert sorted(registry.versions(SKILL)) == sorted([first[:12], third[:12]])
    registry.rollback(SKILL)
    assert current(registry) == first  # the one between is gone, so it is not stepped on
    with pytest.raises(RegistryCorrupt, match="gone"), registry.lease(SKILL, second):
        pass


@pytest.mark.parametrize("damage", ["change", "remove", "add", "manifest", "manifest-version"])
def test_a_damaged_version_is_never_read(registry: Registry, damage: str) -> None:
    folder = registry.folder(SKILL, promote(registry, "a"))
    manifest, card = folder / "version.json", folder / "MODEL_CARD.md"
    for path in (manifest, card):
        path.chmod(0o644)
    if damage == "change":
        card.write_text("b")
    elif damage == "remove":
        card.unlink()
    elif damage == "add":
        (folder / "adapter" / "adapter.gguf").write_bytes(b"another engine's")
    elif damage == "manifest":
        manifest.write_text(manifest.read_text().replace('"lower": 0.8', '"lower": 0.9'))
    else:
        manifest.write_text("{")
    with pytest.raises(RegistryCorrupt):
        read_version(folder)
    again = promote(registry, "a")  # the same content takes the damaged folder's place
    assert read_version(registry.folder(SKILL, again)).version == again


def test_a_skill_s_name_leads_nowhere_else(registry: Registry) -> None:
    for name in ("../../etc", "legal", "legal/..", "Legal/x"):
        with pytest.raises(UnknownVersion, match="no skill"):
            registry.promote(structs.replace(version("a"), name=name), files("a"))


def test_a_change_that_is_made_stands_though_its_history_has_no_room(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(registry, "a")
    calls: list[Path] = []

    def full(root: Path) -> None:
        calls.append(root)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(state, "_append_missing", full)
        assert registry.rollback(SKILL).before == first
    assert SKILL not in registry.state().skills
    registry.retire(SKILL)
    assert [one.what for one in registry.history()] == ["promote", "rollback", "retire"]


def test_a_torn_line_of_the_history_is_mended_by_the_next_change(registry: Registry) -> None:
    promote(registry, "a")
    promote(registry, "b")
    history = registry.root / "history.jsonl"
    history.write_bytes(history.read_bytes()[:-20])
    assert [one.number for one in registry.history()] == [1, 2]
    promote(registry, "c")
    assert [one.number for one in registry.history()] == [1, 2, 3]
    assert history.read_bytes().count(b"\n") == 3


def test_a_current_file_that_is_no_json_is_told_and_not_overwritten(registry: Registry) -> None:
    promote(registry, "a")
    registry.current_path.write_text("{")
    with pytest.raises(RegistryCorrupt, match="cannot be read"):
        promote(registry, "b")
    assert registry.current_path.read_text() == "{"


def die_at(step: int, home: Path) -> int:
    """Promote in a process of its own that ends at its step-th durable step; its exit status, 9 if it did."""
    child = os.fork()
    if child == 0:
        left = step

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os._exit(9)
                return real(*arguments, **named)

            return call

        for name in ("fsync", "rename", "replace", "mkdir", "chmod"):
            setattr(os, name, dying(getattr(os, name)))
        promote(Registry(home), "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_promotion_that_dies_at_any_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """A process is killed at its first durable step, another at its second, until one has no such step left."""
    step, seen, status = 0, set(), 9
    while status:
        step += 1
        home = tmp_path / f"home{step}"
        registry = Registry(home)
        old = promote(registry, "old")
        status = die_at(step, home)
        assert status in (0, 9)
        now = current(registry)
        assert now is not None
        found = registry.read(SKILL, now)  # whatever serves is whole
        seen.add(found.card.labels[0])
        assert (now == old) == (found.card.labels[0] == "old")
        history = registry.history()
        assert history[-1].after == now and len({one.number for one in history}) == len(history)
        again = promote(registry, "new")  # and the next promotion goes through
        assert current(registry) == again and registry.history()[-1].after == again
        assert not list((registry.root / "partial").glob("*"))
    assert seen == {"old", "new"} and step > 10
