"""Scopes of a language model's adapters: the file, the encoder that reads with it, and what an answer's chunks say."""

import json
import logging
from pathlib import Path

import pytest

from concertino.backends.base import BackendContext, Generation, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.backends.scope import FILE, Scope, Scopes, read_scope, write_scope
from concertino.confidence import within
from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import ConfigurationError, ModelMissing
from concertino.evaluation.scope import open_scope_encoder
from concertino.models import Store
from concertino.models.file_hash import file_sha256
from concertino.types import Message, Role
from tests.backends.lora import write_adapter


def context(adapter: Path, home: Path) -> BackendContext:
    use = ModelUse("smol", (str(adapter),), context_tokens=512)
    return BackendContext("local", {}, (use,), lambda name: Store(home).resolve(name), Store(home).resolve)


def asked(adapter: str | None, text: str) -> Generation:
    return Generation("smol", (Message(Role.SYSTEM, "Answer."), Message(Role.USER, text)), adapter=adapter)


@pytest.mark.parametrize(
    ("confidence", "scope", "expected"),
    [(0.8, None, 0.8), (None, None, None), (0.8, 0.9, 0.8), (0.8, 0.25, 0.4), (None, 0.25, 0.25), (0.8, 0.0, 0.0)],
)
def test_a_confidence_falls_with_the_scope_from_even_odds_down(
    confidence: float | None, scope: float | None, expected: float | None
) -> None:
    assert within(confidence, scope) == expected


def test_the_file_comes_back_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_scope(tmp_path) is None
    scope = Scope(SENTENCE_ENCODER, "0" * 64, (0.5, -0.25), 1.0)
    write_scope(tmp_path, scope)
    assert read_scope(tmp_path) == scope
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ConfigurationError, match=r"scope\.json that cannot be read"):
        read_scope(tmp_path)


def test_without_the_encoder_nothing_is_said_and_the_log_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scope(tmp_path, Scope(SENTENCE_ENCODER, "0" * 64, (1.0,) * 384, 0.0))
    adapter = tmp_path / "adapter.gguf"
    with pytest.raises(ModelMissing):
        Store(tmp_path / "home").require(SENTENCE_ENCODER)
    with caplog.at_level(logging.WARNING):
        scopes = Scopes(context(adapter, tmp_path / "home"))
    assert str(adapter) not in scopes
    assert f"concertino pull {SENTENCE_ENCODER}" in caplog.text


@pytest.mark.models
def test_one_that_was_fitted_with_another_encoder_is_not_used(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scope(tmp_path, Scope(SENTENCE_ENCODER, "0" * 64, (1.0,) * 384, 0.0))
    with caplog.at_level(logging.WARNING):
        scopes = Scopes(context(tmp_path / "adapter.gguf", published))
    assert str(tmp_path / "adapter.gguf") not in scopes
    assert "was fitted with another" in caplog.text


@pytest.mark.models
async def test_a_generation_with_the_adapter_says_its_scope_once_and_one_without_says_none(
    published: Path, smol: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    adapter = write_adapter(folder / "adapter.gguf", smol, 1)
    sha256 = file_sha256(Store(published).resolve(SENTENCE_ENCODER, "model.safetensors"))
    # Weights that point from one text to another: the first is out of scope, the second in it.
    encoder = open_scope_encoder(Store(published))
    outside, inside = "What are symptoms of anaemia?", "list all files by size"
    away = encoder.embed(inside)[0] - encoder.embed(outside)[0]
    write_scope(folder, Scope(SENTENCE_ENCODER, sha256, tuple(float(value) for value in 10 * away), 0.0))
    assert json.loads((folder / FILE).read_text())["encoder"] == SENTENCE_ENCODER
    use = ModelUse("smol", (str(adapter),), context_tokens=512)
    backend = LlamaCppBackend(BackendContext("local", {}, (use,), lambda _: smol, Store(published).resolve))
    await backend.start()
    try:
        said = {}
        for path, text in ((str(adapter), inside), (str(adapter), outside), (None, inside)):
            chunks = [chunk async for chunk in backend.generate(asked(path, text))]
            said[path, text] = [chunk.scope for chunk in chunks if chunk.scope is not None]
        assert len(said[str(adapter), inside]) == len(said[str(adapter), outside]) == 1
        assert said[str(adapter), inside][0] > 0.9 and said[str(adapter), outside][0] < 0.1
        assert said[None, inside] == []
    finally:
        await backend.close()
