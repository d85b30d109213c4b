"""The catalogue refuses what it does not understand, and a user's own file adds to it."""

from pathlib import Path

import pytest

from concertino.default_models import GENERALIST, SENTENCE_ENCODER, SMALL_LANGUAGE_MODEL
from concertino.errors import ConfigurationError, UnknownModel
from concertino.models import load_catalogue
from concertino.models.catalogue import HuggingFaceSource, WheelSource, parse_catalogue

OWN = """
models:
  - name: mine
    publisher: me
    licence: MIT
    licence_url: https://example.org
    parameters: 1B
    quantisation: Q8_0
    format: gguf
    context_tokens: 4096
    files:
      - name: mine.gguf
        bytes: 10
        sha256: "{sha}"
        sources:
          - {{kind: url, url: "https://example.org/mine.gguf"}}
""".format(sha="0" * 64)


def test_the_built_in_catalogue_names_four_models_that_each_have_two_sources(home: Path) -> None:
    entries = load_catalogue(home).entries
    assert list(entries) == [
        "smollm2-135m-instruct",
        "qwen2.5-coder-0.5b-instruct",
        "qwen2.5-coder-1.5b-instruct",
        "all-MiniLM-L6-v2",
    ]
    assert {SENTENCE_ENCODER, SMALL_LANGUAGE_MODEL, GENERALIST} <= entries.keys()
    for entry in entries.values():
        for file in entry.files:
            first, second = file.sources
            assert isinstance(first, WheelSource)
            assert isinstance(second, HuggingFaceSource)
            assert len(second.revision) == 40, "a branch moves, a commit does not"


def test_a_catalogue_in_the_home_folder_adds_a_model(home: Path) -> None:
    home.mkdir()
    (home / "catalogue.yaml").write_text(OWN)
    catalogue = load_catalogue(home)
    assert catalogue.entry("mine").files[0].bytes == 10
    assert "all-MiniLM-L6-v2" in catalogue.entries


def test_the_environment_names_another_catalogue_and_an_entry_of_it_replaces_the_built_in_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.yaml").write_text(OWN.replace("name: mine\n", "name: all-MiniLM-L6-v2\n"))
    monkeypatch.setenv("CONCERTINO_CATALOGUE", str(tmp_path / "other.yaml"))
    assert load_catalogue(home).entry("all-MiniLM-L6-v2").publisher == "me"


def test_a_catalogue_that_is_named_but_not_there_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCERTINO_CATALOGUE", "/nowhere/catalogue.yaml")
    with pytest.raises(ConfigurationError, match=r"/nowhere/catalogue\.yaml"):
        load_catalogue(home)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("licence: MIT", "license: MIT", "unknown field `license`"),
        ("https://example.org/mine.gguf", "http://example.org/mine.gguf", "use https"),
        ("https://example.org/mine.gguf", "file:///etc/passwd", "use https"),
        ("0" * 64, "0" * 63, "64 lower-case"),
        ("bytes: 10", "bytes: 0", "exact size"),
        ("name: mine.gguf", "name: ../mine.gguf", "plain file name"),
        ("name: mine\n", "name: ../../mine\n", "no file name"),
        ("kind: url", "kind: ftp", "ftp"),
        ('{kind: url, url: "https://example.org/mine.gguf"}', "{kind: local, path: m.gguf}", "absolute"),
        (
            '{kind: url, url: "https://example.org/mine.gguf"}',
            '{kind: wheels, parts: [{requirement: "--index-url=https://x", member: m}]}',
            "pin one exact version",
        ),
        (
            '{kind: url, url: "https://example.org/mine.gguf"}',
            '{kind: wheels, parts: [{requirement: "m>=1", member: m}]}',
            "pin one exact version",
        ),
        (
            '{kind: url, url: "https://example.org/mine.gguf"}',
            "{kind: huggingface, repo: a/b, path: ../../c}",
            "leaves its repository",
        ),
    ],
)
def test_a_wrong_entry_is_refused_with_the_place_named(old: str, new: str, says: str) -> None:
    parse_catalogue(OWN, "own.yaml")
    with pytest.raises(ConfigurationError, match=says) as caught:
        parse_catalogue(OWN.replace(old, new), "own.yaml")
    assert "own.yaml" in caught.value.message


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(home: Path) -> None:
    with pytest.raises(UnknownModel, match="Did you mean 'smollm2-135m-instruct'"):
        load_catalogue(home).entry("smollm2")
