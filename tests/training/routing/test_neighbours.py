"""The bank of the router's neighbours: which texts, how they are quantised, and weights that have one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from concertino.backends.encoder.session import EncoderFiles
from concertino.errors import ConfigurationError
from concertino.router.encoder import tuned_encoder
from concertino.router.linear import SHIPPED, LinearRouter
from concertino.router.manifest import NEIGHBOURS, load_manifest
from concertino.router.neighbours import read_bank
from concertino.router.untuned import untuned_encoder
from concertino.training.routing.data import CLASSES, Row, Splits
from concertino.training.routing.neighbours import NeighbourRecipe, add_neighbours, bank_rows, copied, quantised
from concertino.training.routing.train import calibrate, write_weights
from concertino.training.routing.tune import Recipe, tune
from tests.training.routing.test_train import WORDS, random_base


@pytest.fixture
def base(tmp_path: Path) -> EncoderFiles:
    return random_base(tmp_path / "base")


def rows(source: str, label: str, count: int) -> list[Row]:
    return [Row(f"{source} {number}", label, f"{source} {number}", source) for number in range(count)]


def test_written_and_exam_questions_are_all_in_the_bank_and_of_other_sources_a_sample() -> None:
    train = [
        *rows("seeds_code", "code", 40), *rows("nl2bash", "code", 90), *rows("mmlu_legal", "legal", 50),
        *rows("mmlu_lettered_legal", "legal", 50), *rows("unheard_of", "legal", 50),
    ]  # fmt: skip
    chosen, weights = bank_rows(train, NeighbourRecipe(per_source=30, heaviest=100.0))
    assert Counter(row.source for row in chosen) == {"seeds_code": 40, "nl2bash": 30, "mmlu_legal": 50}
    told = {name: weights[[row.source == name for row in chosen]].sum() for name in ("seeds_code", "nl2bash")}
    assert told["seeds_code"] == pytest.approx(3 * told["nl2bash"]), "sources weigh as their shares in training do"
    capped, at_most = bank_rows(train, NeighbourRecipe(per_source=30, heaviest=1.2))
    assert capped == chosen and at_most.max() <= 1.2


def test_vectors_are_near_to_what_their_codes_say() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(600, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes, centres = quantised(vectors, 8, seed=1)
    assert codes.shape == (8, 600) and codes.dtype == np.uint8 and centres.shape == (8, 256, 2)
    back = np.concatenate([centre[code] for centre, code in zip(centres, codes, strict=True)], axis=1)
    assert float((vectors * back).sum(axis=1).mean()) > 0.97
    again = quantised(vectors, 8, seed=1)
    assert np.array_equal(again[0], codes) and np.array_equal(again[1], centres)


def test_fewer_texts_than_centres_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="255 texts are too few"):
        quantised(np.ones((255, 16), np.float32), 8, seed=1)


def many() -> tuple[Row, ...]:
    return tuple(
        Row(f"{start} {one} {other}", label, f"{one} {other} {start}", f"seeds_{label}")
        for label in CLASSES
        for one in WORDS[label].split()
        for other in WORDS[label].split()
        for start in ("what is a", "how about the", "the")
    )


def test_weights_are_copied_where_they_are_weights_and_not_there_already(tmp_path: Path) -> None:
    copied(None, tmp_path / "weights")
    copied(tmp_path / "weights", tmp_path / "weights")
    assert load_manifest(tmp_path / "weights") == load_manifest(SHIPPED)
    with pytest.raises(ConfigurationError, match=r"router\.json"):
        copied(tmp_path / "nothing", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.train
def test_weights_with_a_bank_say_what_it_adds_and_ask_it(base: EncoderFiles, tmp_path: Path) -> None:
    out, recipe = tmp_path / "weights", Recipe(epochs=1, per_class=40, batch=16, threads=1)
    write_weights(tune(many(), base, recipe), base, out, {"seeds": "0" * 64}, recipe)
    splits = Splits(many(), many()[::2], many()[::3], (), {}, 0)
    calibrate(out, splits, seed=1)
    asked = NeighbourRecipe(pieces=8, below=1.0)
    manifest, gains = add_neighbours(out, splits, base, asked, per_class=60)
    assert load_manifest(out) == manifest and manifest.neighbours is not None
    assert manifest.neighbours.rows == len(many()) == len(read_bank(out / NEIGHBOURS).labels)
    assert gains == [], "every calibration row is one of the bank's"
    again, _ = add_neighbours(out, splits, base, NeighbourRecipe(seed=9, pieces=8, below=1.0), per_class=60)
    assert again.files[NEIGHBOURS] != manifest.files[NEIGHBOURS], "a bank made anew takes the place of the one before"
    apart = Splits(
        many(), tuple(Row(f"of {row.text}", row.label, row.group, row.source) for row in many()), (), (), {}, 0
    )
    _, gains = add_neighbours(out, apart, base, asked, per_class=60)
    assert [gain.share for gain in gains] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert all(gain.asked == 1.0 and 0.0 <= gain.accuracy["written"] <= 1.0 for gain in gains)
    assert gains[3].accuracy["written"] > gains[0].accuracy["written"], "one epoch leaves the head near chance"
    with pytest.raises(ConfigurationError, match="were tuned from another"):
        base.weights.write_bytes(base.weights.read_bytes() + b"\0")
        add_neighbours(out, splits, base, asked, per_class=60)


@pytest.mark.train
def test_a_router_with_a_bank_reads_it_where_the_store_has_another_encoder(
    base: EncoderFiles,
    tmp_path: Path,
) -> None:
    out, recipe = tmp_path / "weights", Recipe(epochs=1, per_class=40, batch=16, threads=1)
    write_weights(tune(many(), base, recipe), base, out, {}, recipe)
    add_neighbours(out, Splits(many(), many(), (), (), {}, 0), base, NeighbourRecipe(pieces=8, below=1.0), per_class=60)
    texts = [row.text for row in many()[:5]]
    head = LinearRouter(weights=out, neighbours_below=0.0).probabilities(texts)
    assert LinearRouter(weights=out).probabilities(texts) == pytest.approx(head)


@pytest.mark.train
def test_the_untuned_encoder_is_the_base_in_the_graph_of_what_was_tuned_from_it(
    base: EncoderFiles, tmp_path: Path
) -> None:
    texts = [row.text for row in many()[::20]]
    kept, moved = (
        Recipe(epochs=0, per_class=40, threads=1),
        Recipe(epochs=2, per_class=40, encoder_rate=1e-2, threads=1),
    )
    for name, recipe in (("kept", kept), ("moved", moved)):
        write_weights(tune(many(), base, recipe), base, tmp_path / name, {}, recipe)
    untuned = tuned_encoder(tmp_path / "kept").whole(texts)
    assert not np.allclose(tuned_encoder(tmp_path / "moved").whole(texts), untuned, atol=0.05)
    again = untuned_encoder(tmp_path / "moved", base.weights, {"layers": 2.0})
    assert again.whole(texts) == pytest.approx(untuned, abs=1e-5)
