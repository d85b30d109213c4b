"""An explanation is of the router that decided, and of what was there to learn from."""

import json
from pathlib import Path

import numpy as np
import pytest

from concertino.errors import ConfigurationError
from concertino.router.alternatives import KnnRouter
from concertino.router.fitted import DOMAINS, EXAMPLES, HEAD, FittedManifest, open_encoder, write_fitted
from concertino.training.routing.explain import TextExplanation, bank_of, explain_text, read_rows
from concertino.training.routing.fit import neighbours
from concertino.types import Decision, Message, Ranking, Role, Tier

ROWS = [
    ("my knee hurts", "clinic"),
    ("my ear hurts", "clinic"),
    ("sort a list", "programs"),
    ("reverse a list", "programs"),
]
DECISION = Decision("clinic", 0.9, Tier.LINEAR, "Reads like clinic.", None, {"clinic": 0.9})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router of neighbours with its examples."""
    path = tmp_path_factory.mktemp("explained") / "knn"
    vectors = open_encoder(HEAD).whole([text for text, _ in ROWS])
    quality = np.eye(2)[[0, 0, 1, 1]]
    write_fitted(
        path,
        FittedManifest("knn", DOMAINS, ("clinic", "programs"), HEAD, "", ""),
        neighbours(vectors, quality, 2),
        ROWS,
    )
    return path


def explained(folder: Path, home: Path, decision: Decision = DECISION, count: int = 3) -> TextExplanation:
    router = KnnRouter(weights=folder)
    return explain_text("my ankle hurts", decision, router, (), folder, count, home=home, note=lambda _: None)


def test_a_router_of_neighbours_is_explained_by_its_own_examples(folder: Path, tmp_path: Path) -> None:
    found = explained(folder, tmp_path)
    assert (found.best, found.decision, found.examples) == ("clinic", DECISION, f"examples in {folder}")
    assert [item.word for item in found.words] == ["my", "ankle", "hurts"]
    assert {(item.text, item.label) for item in found.nearest[:2]} == set(ROWS[:2])
    assert len(found.nearest) == 3
    assert explained(folder, tmp_path).nearest == found.nearest, "by the vectors that were kept"


def test_what_policy_decided_alone_has_no_words(folder: Path, tmp_path: Path) -> None:
    decision = Decision("clinic", 1.0, Tier.POLICY, "Only clinic is eligible.")
    found = explained(folder, tmp_path, decision)
    assert (found.best, found.words, found.nearest, found.examples) == (None, (), (), "the router was not asked")


def test_none_asked_for_reads_nothing(folder: Path, tmp_path: Path) -> None:
    assert explained(folder, tmp_path, count=0).nearest == ()
    assert not list(tmp_path.iterdir())


def test_a_router_of_any_other_kind_shows_the_decision(tmp_path: Path) -> None:
    class Constant:
        def rank(self, conversations: object) -> list[Ranking]:
            return [Ranking({"clinic": 1.0}, 1.0, "clinic", "always")]

    found = explain_text("x", DECISION, Constant(), (), None, 3, home=tmp_path, note=lambda _: None)
    assert (found.best, found.words, found.examples) == (None, (), "no examples are stored with the router")


def test_any_text_can_lie_beside_a_router(tmp_path: Path) -> None:
    rows = [("one \ud83d half", "clinic"), ("Ärzte\u2028and \U0001f600", "clinic")]
    manifest = FittedManifest("knn", DOMAINS, ("clinic", "programs"), HEAD, "", "")
    write_fitted(tmp_path, manifest, {"k": np.array(1)}, rows)
    assert read_rows(tmp_path / EXAMPLES) == rows


def test_damaged_examples_are_named(folder: Path, tmp_path: Path) -> None:
    router = KnnRouter(weights=folder)
    copy = tmp_path / "copy"
    copy.mkdir()
    assert bank_of(router, copy, None, lambda _: None) is None
    (copy / EXAMPLES).write_text(json.dumps({"text": "x"}))
    with pytest.raises(ConfigurationError, match=r"the examples in .* cannot be read"):
        bank_of(router, copy, None, lambda _: None)
    assert router.rank([[Message(Role.USER, "my ankle hurts")]])[0].domain == "clinic", "routing needs none of them"
