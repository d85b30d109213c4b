"""The nearest training texts have a say where the head is unsure, and only there."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import ConfigurationError
from concertino.models import Store
from concertino.router import neighbours
from concertino.router.alternatives import open_linear
from concertino.router.explain import explain
from concertino.router.linear import SHIPPED, LinearRouter
from concertino.router.manifest import MANIFEST, NEIGHBOURS, NeighbourSettings, load_manifest
from concertino.router.neighbours import Bank, Neighbours, read_bank
from concertino.router.published import WEIGHTS
from concertino.router.readings import read_cards
from concertino.types import Message, Role, Tier

SETTINGS = NeighbourSettings(below=0.9, share=0.6, nearest=3, width=0.05, temperature=1.0, rows=4)


class Pointing:
    """An encoder for which every text is the one vector, and which counts what it reads."""

    def __init__(self, vector: np.ndarray) -> None:
        self.vector = vector
        self.read = 0

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        self.read += len(texts)
        return np.stack([self.vector] * len(texts))


def bank(labels: Sequence[int], weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Bank:
    """Four texts of width 4 in two pieces: along each axis one."""
    centres = np.zeros((2, 256, 2), np.float32)
    centres[:, 1], centres[:, 2] = (1.0, 0.0), (0.0, 1.0)
    codes = np.array([[1, 2, 0, 0], [0, 0, 1, 2]], np.uint8)
    return Bank(codes, centres, np.array(labels), np.array(weights, np.float32))


def test_the_cosine_with_a_text_that_its_code_tells_exactly_is_exact() -> None:
    vector = np.array([0.5, 0.1, 0.7, 0.2], np.float32)
    assert bank([0, 0, 0, 0]).cosines(vector) == pytest.approx(vector)


def test_near_texts_outvote_far_ones_and_heavy_ones_light_ones() -> None:
    vector = np.array([0.9, 0.7, 0.5, 0.1], np.float32)
    votes = bank([0, 1, 1, 1]).votes(vector, 3, SETTINGS)
    assert votes.sum() == pytest.approx(1.0)
    assert votes.argmax() == 0 and votes[2] > 0, "a class without neighbours keeps the floor"
    level = np.array([0.5, 0.5, 0.0, 0.0], np.float32)
    assert bank([0, 1, 2, 2], (1.0, 3.0, 1.0, 1.0)).votes(level, 3, SETTINGS).argmax() == 1


def test_a_bank_of_fewer_texts_than_are_asked_votes_with_all() -> None:
    votes = bank([0, 1, 1, 0]).votes(np.ones(4, np.float32) / 2, 2, msgspec.structs.replace(SETTINGS, nearest=50))
    assert votes == pytest.approx([0.5, 0.5])


def looking(domain: str) -> tuple[LinearRouter, Pointing]:
    """The shipped head, and neighbours that are all of one domain whatever is asked."""
    router = LinearRouter()
    assert router.neighbours is not None and router.manifest.neighbours is not None
    place = router.manifest.classes.index(domain)
    found = read_bank(SHIPPED / NEIGHBOURS)
    text = int(np.flatnonzero(found.labels == place)[0])
    pieces = [centres[code] for centres, code in zip(found.centres, found.codes[:, text], strict=True)]
    encoder = Pointing(np.concatenate(pieces))
    settings = msgspec.structs.replace(router.manifest.neighbours, nearest=1)
    router.neighbours = Neighbours(SHIPPED, router.manifest, settings, 0.9, encoder=encoder)  # type: ignore[arg-type]
    return router, encoder


UNSURE = "What is not true about conversion?"
SURE = "How do I rebase a git branch on main?"


def test_neighbours_move_what_the_head_is_unsure_of() -> None:
    conversation = [[Message(Role.USER, UNSURE)]]
    head = LinearRouter(neighbours_below=0.0).rank(conversation)[0]
    assert head.confidence < 0.9 and head.tier is Tier.LINEAR
    for domain in ("legal", "finance"):
        router, encoder = looking(domain)
        ranking = router.rank(conversation)[0]
        assert encoder.read == 1 and ranking.tier is Tier.NEIGHBOURS
        assert ranking.scores[domain] > head.scores[domain]
        assert sum(ranking.scores.values()) == pytest.approx(1.0)
        assert ", by its neighbours too" in ranking.reason


def test_neighbours_are_not_asked_about_what_the_head_is_sure_of() -> None:
    router, encoder = looking("medical")
    ranking = router.rank([[Message(Role.USER, SURE)]])[0]
    assert (ranking.domain, ranking.tier, encoder.read) == ("code", Tier.LINEAR, 0)


def test_of_a_batch_only_the_unsure_are_looked_at() -> None:
    router, encoder = looking("legal")
    rows, asked = router.read([SURE, UNSURE, SURE])
    assert asked == {1} and encoder.read == 1
    assert rows[[0, 2]] == pytest.approx(LinearRouter(neighbours_below=0.0).probabilities([SURE, SURE]))


def test_without_the_encoder_in_the_store_the_heads_word_stands_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    router = LinearRouter(home=tmp_path)
    with caplog.at_level(logging.WARNING):
        rows = [router.probabilities([UNSURE]) for _ in range(2)]
    assert rows[0] == pytest.approx(LinearRouter(neighbours_below=0.0).probabilities([UNSURE]))
    said = [record.getMessage() for record in caplog.records if "neighbours" in record.getMessage()]
    assert len(said) == 1 and "concertino pull all-MiniLM-L6-v2" in said[0]


def stored(home: Path, weights: bytes, said: str) -> None:
    """A store whose all-MiniLM-L6-v2 has weights of these bytes, and whose manifest says that they hash to `said`."""
    store = Store(home)
    store.blobs.mkdir(parents=True)
    store.blob(said).write_bytes(weights)
    store.refs.mkdir()
    manifest = {"name": SENTENCE_ENCODER, "files": {WEIGHTS: {"sha256": said, "bytes": len(weights)}}}
    (store.refs / f"{SENTENCE_ENCODER}.json").write_bytes(msgspec.json.encode(manifest))


def damaged(home: Path) -> None:
    stored(home, b"of the right size", load_manifest(SHIPPED).base_sha256)


def without_weights(home: Path) -> None:
    stored(home, b"", load_manifest(SHIPPED).base_sha256)
    (Store(home).refs / f"{SENTENCE_ENCODER}.json").write_bytes(
        msgspec.json.encode({"name": SENTENCE_ENCODER, "files": {}})
    )


def another(home: Path) -> None:
    stored(home, b"others", "0" * 64)


@pytest.mark.parametrize(
    ("make", "told"), [(damaged, "concertino pull"), (without_weights, "KeyError"), (another, "of the store is 000000")]
)
def test_whatever_the_store_has_the_heads_word_stands_and_no_request_fails(
    make: Callable[[Path], None], told: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    make(tmp_path)
    router = LinearRouter(home=tmp_path)
    with caplog.at_level(logging.WARNING):
        rows = [router.probabilities([UNSURE]) for _ in range(2)]
    assert rows[1] == pytest.approx(LinearRouter(neighbours_below=0.0).probabilities([UNSURE]))
    said = [record.getMessage() for record in caplog.records if "neighbours" in record.getMessage()]
    assert len(said) == 1 and told in said[0]


def test_an_encoder_that_does_not_fit_the_bank_is_found_out_before_a_request_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def narrow(*_: object) -> Pointing:
        return Pointing(np.ones(12, np.float32))

    monkeypatch.setattr(neighbours, "untuned_encoder", narrow)
    monkeypatch.setattr(neighbours, "published_sha256", lambda _: load_manifest(SHIPPED).base_sha256)
    monkeypatch.setattr(Store, "resolve", lambda *_, **__: tmp_path)
    router = LinearRouter(home=tmp_path)
    assert router.read([UNSURE])[1] == set()
    assert router.neighbours is not None and "cannot be read: ValueError" in router.neighbours.trouble()


@pytest.mark.parametrize("below", [-0.1, 1.5])
def test_a_share_of_doubt_that_is_no_probability_is_refused(below: float) -> None:
    with pytest.raises(ConfigurationError, match="neighbours_below"):
        LinearRouter(neighbours_below=below)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "weights"))


def test_weights_without_a_bank_route_as_their_head_and_cannot_be_told_to_ask(copy: Path) -> None:
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes())
    del manifest["neighbours"], manifest["files"][NEIGHBOURS]
    (copy / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    (copy / NEIGHBOURS).unlink()
    router = open_linear(weights=copy)
    assert isinstance(router, LinearRouter) and router.neighbours is None
    with pytest.raises(ConfigurationError, match="train-neighbours"):
        open_linear(weights=copy, neighbours_below=0.5)


def test_a_damaged_or_missing_bank_is_refused_by_name(copy: Path) -> None:
    raw = bytearray((copy / NEIGHBOURS).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / NEIGHBOURS).write_bytes(raw)
    with pytest.raises(ConfigurationError, match=f"{NEIGHBOURS} has SHA-256"):
        load_manifest(copy)
    (copy / NEIGHBOURS).unlink()
    with pytest.raises(ConfigurationError, match=f"lack {NEIGHBOURS}"):
        load_manifest(copy)


def test_a_file_that_is_no_bank_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", codes=np.zeros((2, 3), np.uint8))
    np.savez(tmp_path / "flat.npz", codes=np.zeros(3), centres=np.zeros(3), labels=np.zeros(3), weights=np.ones(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "cut.npz").write_bytes((SHIPPED / NEIGHBOURS).read_bytes()[:5000])
    (tmp_path / "empty.npz").touch()
    for name in ("other.npz", "flat.npz", "text.npz", "cut.npz", "empty.npz"):
        with pytest.raises(ConfigurationError, match=name):
            read_bank(tmp_path / name)


def test_the_shipped_bank_is_what_its_manifest_says() -> None:
    manifest, found = load_manifest(SHIPPED), read_bank(SHIPPED / NEIGHBOURS)
    assert manifest.neighbours is not None and manifest.neighbours.rows == len(found.labels)
    assert set(found.labels.tolist()) == set(range(len(manifest.classes)))
    assert found.weights.min() > 0


@pytest.mark.models
def test_the_published_encoder_finds_the_neighbours_of_a_question() -> None:
    conversation = [[Message(Role.USER, "What does the acronym PESTLE stand for in a market analysis?")]]
    router = LinearRouter(neighbours_below=1.0)
    ranking = router.rank(conversation)[0]
    assert (ranking.domain, ranking.tier) == ("finance", Tier.NEIGHBOURS)


def test_cards_are_read_by_the_head_alone() -> None:
    router, encoder = looking("legal")
    reading = read_cards(router, {"dev": ["Helps developers."]})["dev"]
    assert encoder.read == 0 and reading["code"] > 0.5
    assert router.neighbours is not None, "the router itself goes on asking"


def test_what_words_add_is_read_as_the_whole_text_is() -> None:
    router, encoder = looking("legal")
    told = explain(router, [Message(Role.USER, UNSURE)])
    assert encoder.read == 1 + 1 + 1 + len(UNSURE.split()), (
        "the ranking, how it is read, the text and it without each word"
    )
    assert len(told.words) == len(UNSURE.split())
    encoder.read = 0
    explain(router, [Message(Role.USER, SURE)])
    assert encoder.read == 0, "what the head is unsure of when a word is missing is left to the head"
