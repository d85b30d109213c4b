"""What an ingestion leaves on disk."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from concertino.errors import ConfigurationError, DataRefused
from concertino.knowledge.index import Index
from concertino.knowledge.ingest import BATCH, ingest
from concertino.knowledge.passages import Passage
from tests.knowledge.corpus import ALL, ASTHMA, GOUT, MALARIA, WORDS, embed_words, source


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "knowledge" / "medical" / "index.sqlite"


def test_passages_come_back_as_they_went_in(path: Path) -> None:
    report = ingest(path, [source("a.jsonl", *ALL)], embed_words, WORDS)
    index = Index(path)
    assert (report.files, report.passages, report.added, len(index)) == (1, 4, 4, 4)
    assert set(index.passages([1, 2, 3, 4]).values()) == set(ALL)
    assert index.vectors is not None
    assert index.vectors.shape == (4, 256)


def test_a_file_ingested_again_replaces_its_passages_and_embeds_only_what_is_new(path: Path) -> None:
    embedded: list[str] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        embedded.extend(texts)
        return embed_words(texts)

    ingest(path, [source("a.jsonl", GOUT, ASTHMA)], embed, WORDS)
    embedded.clear()
    report = ingest(path, [source("a.jsonl", ASTHMA, MALARIA, sha256="1" * 64)], embed, WORDS)
    assert (report.added, report.unchanged, report.removed, report.passages) == (1, 1, 1, 2)
    assert len(embedded) == 1
    assert embedded[0].startswith(MALARIA.title)
    assert set(Index(path).passages([1, 2]).values()) == {ASTHMA, MALARIA}


def test_words_that_stand_in_two_files_are_one_passage_and_outlive_one_of_them(path: Path) -> None:
    ingest(path, [source("a.jsonl", GOUT), source("b.jsonl", GOUT, ASTHMA)], None, "")
    assert len(Index(path)) == 2
    ingest(path, [source("b.jsonl", MALARIA, sha256="1" * 64)], None, "")
    assert {passage.title for passage in Index(path).passages([1, 2, 3]).values()} == {GOUT.title, MALARIA.title}


def test_a_moved_file_is_the_same_file(path: Path) -> None:
    ingest(path, [source("old.jsonl", GOUT, sha256="1" * 64)], None, "")
    ingest(path, [source("new.jsonl", GOUT, sha256="1" * 64)], None, "")
    assert [entry.path for entry in Index(path).files()] == ["new.jsonl"]


def test_replace_forgets_everything_else(path: Path) -> None:
    ingest(path, [source("a.jsonl", GOUT)], None, "")
    ingest(path, [source("b.jsonl", ASTHMA)], None, "", replace=True)
    assert [entry.path for entry in Index(path).files()] == ["b.jsonl"]
    assert len(Index(path)) == 1


def test_an_open_index_is_whole_while_a_new_one_is_written(path: Path) -> None:
    ingest(path, [source("a.jsonl", GOUT)], None, "")
    index = Index(path)
    ingest(path, [source("b.jsonl", ASTHMA)], None, "", replace=True)
    assert list(index.passages([1]).values()) == [GOUT]


def test_an_ingestion_that_breaks_off_leaves_the_old_index(path: Path) -> None:
    ingest(path, [source("a.jsonl", GOUT)], embed_words, WORDS)

    def broken(texts: object) -> list[list[float]]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        ingest(path, [source("b.jsonl", ASTHMA)], broken, WORDS)
    assert list(Index(path).passages([1]).values()) == [GOUT]


def test_an_ingestion_that_was_interrupted_goes_on_where_it_stopped(path: Path) -> None:
    many = [Passage("T", f"Text number {n}.", "s") for n in range(BATCH + 6)]
    embedded: list[str] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        if len(embedded) == BATCH:
            embedded.append("interrupted")
            raise KeyboardInterrupt
        embedded.extend(texts)
        return embed_words(texts)

    with pytest.raises(KeyboardInterrupt):
        ingest(path, [source("a.jsonl", *many)], embed, WORDS)
    assert not path.exists()
    embedded.clear()
    ingest(path, [source("a.jsonl", *many)], embed, WORDS)
    assert len(embedded) == 6
    assert len(Index(path)) == BATCH + 6
    assert {file.name for file in path.parent.iterdir()} == {"index.sqlite", "index.lock"}


def test_nothing_to_ingest_is_refused(path: Path) -> None:
    with pytest.raises(DataRefused, match=r"Nothing to ingest in empty\.txt"):
        ingest(path, [source("empty.txt")], None, "")
    assert not path.exists()


def test_vectors_of_two_models_do_not_mix(path: Path) -> None:
    ingest(path, [source("a.jsonl", GOUT)], embed_words, WORDS)
    with pytest.raises(ConfigurationError, match="--replace"):
        ingest(path, [source("b.jsonl", ASTHMA)], embed_words, "another")


def test_two_ingestions_at_once_are_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with FileLock(path.with_suffix(".lock")), pytest.raises(ConfigurationError, match="Another"):
        ingest(path, [source("a.jsonl", GOUT)], None, "")


def test_a_damaged_index_is_told_with_what_to_do(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigurationError, match="--replace"):
        Index(path)
    with pytest.raises(ConfigurationError, match="--replace"):
        ingest(path, [source("a.jsonl", GOUT)], None, "")
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    with pytest.raises(ConfigurationError, match="schema None"):
        Index(path)


def test_odd_text_is_kept(path: Path) -> None:
    odd = Passage('" OR 1 \u2028', 'NEAR("a" * \x00 {b}) AND -c ：', "s")
    ingest(path, [source("a.txt", odd, GOUT)], embed_words, WORDS)
    assert odd in Index(path).passages([1, 2]).values()
