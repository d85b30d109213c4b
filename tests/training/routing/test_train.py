"""From rows to served weights, with a base model small enough to tune in seconds."""

import json
from pathlib import Path

import numpy as np
import pytest

from concertino.backends.encoder.session import EncoderFiles
from concertino.errors import ConfigurationError, DataRefused
from concertino.router.linear import LinearRouter
from concertino.router.untuned import quantise_columns
from concertino.training.routing.data import CLASSES, Row, Splits
from concertino.training.routing.examples import Fields, read_examples
from concertino.training.routing.export import quantise_rows
from concertino.training.routing.train import calibrate, evaluate, train, write_weights
from concertino.training.routing.tune import Recipe, digest_of, tune
from concertino.types import Message, Role
from tests.training.encoders import files_in
from tests.training.routing.own_examples import example_rows, write_rows

WORDS = {
    "code": "python git loop function compile",
    "finance": "bank stock loan dividend invoice",
    "legal": "contract court clause tenant statute",
    "medical": "fever rash insulin surgery cough",
    "general": "recipe poem travel football song",
}
RECIPE = Recipe(epochs=8, per_class=90, batch=16, encoder_rate=1e-3, head_rate=1e-2, threads=1)


def test_quantised_weights_are_within_half_a_step() -> None:
    weight = np.random.default_rng(1).normal(size=(40, 30)).astype(np.float32)
    values, scale = quantise_columns(weight)
    assert values.dtype == np.int8
    assert np.all(np.abs(values * scale - weight) <= scale / 2 + 1e-6)
    rows, row_scale = quantise_rows(weight)
    assert np.all(np.abs(rows * row_scale[:, None] - weight) <= row_scale[:, None] / 2 + 1e-6)


@pytest.fixture
def base(tmp_path: Path) -> EncoderFiles:
    return random_base(tmp_path / "base")


def random_base(folder: Path) -> EncoderFiles:
    """A random encoder with a vocabulary of a few dozen words."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "what", "is", "a", "the", "how", "about"]
    vocabulary += " ".join(WORDS.values()).split()
    places = {word: place for place, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(places, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=48, num_hidden_layers=2, num_attention_heads=12, intermediate_size=96
    )
    transformers.set_seed(1)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return files_in(folder)


def rows() -> tuple[Row, ...]:
    return tuple(
        Row(f"{start} {word}", label, word, f"seeds_{label}")
        for label in CLASSES
        for word in WORDS[label].split()
        for start in ("what is a", "how about the", "the")
    )


@pytest.mark.train
def test_tuned_exported_and_calibrated_weights_route(base: EncoderFiles, tmp_path: Path) -> None:
    out = tmp_path / "weights"
    write_weights(tune(rows(), base, RECIPE), base, out, {"seeds": "0" * 64}, RECIPE)
    manifest = calibrate(out, Splits(rows(), rows(), rows(), (), {}, 0), seed=1)
    router = LinearRouter(weights=out)
    assert manifest == router.manifest
    assert manifest.temperature != 1.0
    assert manifest.recipe["epochs"] == 8
    asked = [row for row in rows() if row.text.startswith("what")]
    rankings = router.rank([[Message(Role.USER, row.text)] for row in asked])
    right = sum(next(iter(ranking.scores)) == row.label for ranking, row in zip(rankings, asked, strict=True))
    assert right >= 0.6 * len(asked), "chance is a fifth"


@pytest.mark.train
def test_the_same_seed_gives_the_same_weights(base: EncoderFiles) -> None:
    recipe = Recipe(epochs=1, per_class=20, batch=16, threads=1)
    first, second = (digest_of(tune(rows(), base, recipe).encoder) for _ in range(2))
    assert first == second


@pytest.mark.train
def test_a_manifest_is_plain_json(base: EncoderFiles, tmp_path: Path) -> None:
    write_weights(tune(rows(), base, Recipe(epochs=1, per_class=5, threads=1)), base, tmp_path / "w", {}, RECIPE)
    manifest = json.loads((tmp_path / "w" / "router.json").read_text())
    assert manifest["classes"] == list(CLASSES)
    assert set(manifest["files"]) == {"encoder.onnx", "tables.npz", "tokenizer.json", "tokens.npy"}


def test_examples_of_other_classes_are_refused_before_training(tmp_path: Path) -> None:
    more = read_examples(write_rows(tmp_path / "mine.jsonl", example_rows()), Fields())
    files = EncoderFiles(tmp_path / "config", tmp_path / "weights", tmp_path / "tokenizer")
    with pytest.raises(DataRefused, match="'clinic', 'contracts', 'programs'"):
        train(tmp_path, files, tmp_path / "out", RECIPE, examples=more)


def test_a_fitted_folder_is_told_what_measures_it(tmp_path: Path) -> None:
    (tmp_path / "fitted.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="--examples FILE --weights"):
        evaluate(tmp_path, tmp_path)
