"""Versions of echo skills for tests: an echo under a grammar answers with the first label that the text names, or else
with the first of all, so the first label tells which version answered."""

from pathlib import Path
from typing import Any

from concertino.config import SkillCard
from concertino.registry.version import Figures, Lineage, Version
from tests.teams import echo_team

SKILL = "legal/overruling"


def version(answer: str, skill: str = SKILL, **card: Any) -> Version:
    """A version that answers `answer` to texts that name no label."""
    about = {"labels": (answer, "no"), "backend": "echo", "model": "echo", "adapter": "adapter"} | card
    return Version(
        name=skill,
        card=SkillCard(skill.split("/")[1], "Whether it overrules.", "Answer: {labels}.", **about),
        base="echo",
        base_sha256="0" * 64,
        figures=Figures("accuracy", 0.9, 0.8, 0.95, 100),
        lineage=Lineage("1" * 64, "2" * 64, "run"),
        files={},
    )


def files(answer: str) -> dict[str, Path | bytes]:
    """An adapter folder that belongs to no engine, and the rest of a version."""
    manifest = b'{"engine": "encoder", "base": "echo", "base_sha256": "", "rank": 1, "alpha": 2.0, "files": {}}'
    return {"adapter/adapter.json": manifest, "MODEL_CARD.md": answer.encode()}


def registry_team(home: Path) -> dict[str, Any]:
    """The echo team's configuration with `home`."""
    return echo_team(home=str(home))
