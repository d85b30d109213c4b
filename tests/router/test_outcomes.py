"""Outcome models on tables small enough to check by hand, and the routers that stand on them."""

from pathlib import Path

import numpy as np
import pytest

from concertino import plugins
from concertino.errors import ConfigurationError
from concertino.router.alternatives import ClusterRouter, FactorRouter, FittedRouter, KnnRouter, calibrated
from concertino.router.conversation import ConversationRouter
from concertino.router.fitted import ARRAYS, BASE, DOMAINS, HEAD, MANIFEST, OUTCOMES, FittedManifest, write_fitted
from concertino.router.outcomes import ClusterOutcomes, FactorOutcomes, NeighbourOutcomes, make_model, utility
from concertino.training.routing.fit import clusters, factors, fit_method, neighbours
from concertino.types import FunctionCall, Message, Role, ToolCall

NAN = float("nan")
EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def around(centre: list[float], count: int, seed: int) -> np.ndarray:
    """Unit vectors near a centre, `[count, 2]`."""
    rows = np.array(centre) + np.random.default_rng(seed).normal(scale=0.05, size=(count, 2))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


VECTORS = np.vstack([around(EAST, 30, 1), around(NORTH, 30, 2)])
QUALITY = np.repeat([[1.0, 0.0], [0.0, 1.0]], 30, axis=0)


@pytest.mark.parametrize("method", ["knn", "clusters", "matrix-factorisation"])
def test_each_method_learns_who_is_good_where(method: str) -> None:
    model = make_model(method, fit_method(method, VECTORS, QUALITY, 4))
    predicted = model.predict(np.array([EAST, NORTH], dtype=np.float32))
    assert predicted.argmax(axis=1).tolist() == [0, 1]
    assert predicted.min() >= 0.0
    assert predicted.max() <= 1.0


@pytest.mark.parametrize("method", ["knn", "clusters", "matrix-factorisation"])
def test_holes_in_the_table_are_neither_right_nor_wrong(method: str) -> None:
    holed = QUALITY.copy()
    holed[::2, 1] = NAN
    model = make_model(method, fit_method(method, VECTORS, holed, 4))
    predicted = model.predict(np.array([EAST, NORTH], dtype=np.float32))
    assert predicted.argmax(axis=1).tolist() == [0, 1]
    assert not np.isnan(predicted).any()


def test_a_neighbourhood_of_holes_tells_the_overall_mean() -> None:
    holed = QUALITY.copy()
    holed[:30, 1] = NAN
    model = NeighbourOutcomes(neighbours(VECTORS, holed, 5))
    assert model.predict(np.array([EAST]))[0].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_more_clusters_than_texts_is_no_error() -> None:
    model = ClusterOutcomes(clusters(VECTORS[:3], QUALITY[:3], 60))
    assert model.predict(VECTORS[:2]).shape == (2, 2)


def test_matrix_factorisation_is_the_formula_of_the_paper() -> None:
    arrays = factors(VECTORS, QUALITY, 4)
    unit = arrays["candidates"] / np.linalg.norm(arrays["candidates"], axis=1, keepdims=True)
    logit = (arrays["weights"] * unit[0] * (VECTORS[0] @ arrays["project"])).sum() + arrays["bias"][0]
    assert FactorOutcomes(arrays).predict(VECTORS[:1])[0, 0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_the_weight_of_cost_decides_between_equals_and_more() -> None:
    quality, costs = np.array([[0.8, 0.9]]), np.array([1.0, 10.0])
    assert utility(quality, costs, 0.0).argmax() == 1
    assert utility(quality, costs, 0.5).argmax() == 0
    assert utility(quality, np.array([3.0, 3.0]), 0.5).argmax() == 1


def test_votes_become_probabilities() -> None:
    rows = calibrated(np.array([[0.9, 0.1, 0.0]]), 0.5)
    assert rows.sum() == pytest.approx(1.0)
    assert rows[0, 0] > 0.9
    assert rows[0, 2] > 0.0


def test_the_routers_are_found_by_name_as_a_strangers_would_be() -> None:
    for name, kind in (("knn", KnnRouter), ("clusters", ClusterRouter), ("matrix-factorisation", FactorRouter)):
        assert plugins.load(plugins.ROUTERS, name, "router.type") is kind


TEXTS = ("how do I sort a list in python", "git rebase fails", "my knee hurts", "is amoxicillin an antibiotic")


@pytest.fixture
def knn(tmp_path: Path) -> Path:
    """A domain router that stands on four texts."""
    from concertino.router.fitted import open_encoder

    vectors = open_encoder(HEAD).whole(TEXTS)
    quality = np.repeat(np.eye(2), 2, axis=0)
    manifest = FittedManifest("knn", DOMAINS, ("code", "medical"), HEAD, "", "", temperature=0.5, threshold=0.6)
    write_fitted(tmp_path / "knn", manifest, neighbours(vectors, quality, 2))
    return tmp_path / "knn"


def ask(router: FittedRouter, text: str) -> tuple[str | None, float]:
    ranking = router.rank([[Message(Role.USER, text)]])[0]
    return ranking.domain, ranking.confidence


def test_neighbours_route_abstain_and_never_raise(knn: Path) -> None:
    router = KnnRouter(weights=knn)
    assert ask(router, "sort a dictionary in python")[0] == "code"
    assert ask(router, "my back hurts")[0] == "medical"
    assert ask(KnnRouter(weights=knn, threshold=1.0), "my back hurts")[0] is None
    for odd in ("", "\U0001f600", "a" * 100_000, "\ud800"):
        assert 0.0 < ask(router, odd)[1] <= 1.0
    assert router.rank([]) == []
    assert router.rank([[]])[0].domain is None


@pytest.mark.models
def test_a_table_of_outcomes_routes_to_whom_it_expects_most_of_for_the_money(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concertino.router.fitted import open_encoder

    monkeypatch.setenv("CONCERTINO_HOME", str(published))
    vectors = open_encoder(BASE).whole(TEXTS)
    quality = np.array([[0.7, 0.8], [0.7, 0.8], [0.2, 0.9], [0.2, 0.9]])
    manifest = FittedManifest("knn", OUTCOMES, ("small", "large"), BASE, "", "", costs=(1.0, 10.0))
    write_fitted(tmp_path, manifest, neighbours(vectors, quality, 2))
    assert ask(KnnRouter(weights=tmp_path), "git rebase fails")[0] == "large"
    thrifty = KnnRouter(weights=tmp_path, cost_weight=0.3)
    assert ask(thrifty, "git rebase fails")[0] == "small"
    assert ask(thrifty, "my knee hurts")[0] == "large"


def test_who_is_expected_to_do_best_is_asked_at_every_turn_of_a_conversation(tmp_path: Path) -> None:
    from concertino.router.fitted import open_encoder

    vectors = open_encoder(HEAD).whole(TEXTS)
    quality = np.array([[0.7, 0.8], [0.7, 0.8], [0.2, 0.9], [0.2, 0.9]])
    manifest = FittedManifest("knn", OUTCOMES, ("small", "large"), HEAD, "", "", costs=(1.0, 10.0))
    write_fitted(tmp_path, manifest, neighbours(vectors, quality, 2))
    router = ConversationRouter(KnnRouter(weights=tmp_path, cost_weight=0.3))
    said = [Message(Role.USER, "how do I sort a list in python")]
    assert router.rank([said])[0].domain == "small"
    for text, who in (
        ("how do I rebase a branch on main with git, please", "small"),
        ("my knee hurts when I climb the stairs to my flat", "large"),
        ("and how do I sort a dictionary by value in python", "small"),
    ):
        said += [Message(Role.ASSISTANT, "Like this."), Message(Role.USER, text)]
        ranking = router.rank([said])[0]
        assert ranking.scores == pytest.approx(router.router.rank([said])[0].scores, abs=1e-5)
        assert (ranking.domain, "cost counted" in ranking.reason) == (who, True)
    assert ranking.earlier == ("small", "small", "large")
    call = Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", FunctionCall("search", "{}")),))
    locked = router.rank([[*said, call, Message(Role.USER, "my knee hurts when I climb the stairs")]])[0]
    assert locked.domain == "small"
    assert locked.reason.startswith("kept while a tool call is open: small")


def test_bad_folders_and_options_are_refused_with_what_to_do(knn: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"needs router\.options\.weights"):
        KnnRouter()
    with pytest.raises(ConfigurationError, match="concertino router fit"):
        KnnRouter(weights=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="holds a knn router, not clusters"):
        ClusterRouter(weights=knn)
    with pytest.raises(ConfigurationError, match="cost_weight must lie between 0 and 1"):
        KnnRouter(weights=knn, cost_weight=2.0)
    manifest = (knn / MANIFEST).read_text()
    (knn / MANIFEST).write_text(manifest.replace('"encoder_sha256": "', '"encoder_sha256": "0'))
    with pytest.raises(ConfigurationError, match="another encoder"):
        KnnRouter(weights=knn)
    (knn / MANIFEST).write_text(manifest)
    (knn / ARRAYS).write_bytes(b"no archive")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KnnRouter(weights=knn)
