"""`concertino ingest`, the real command, and the answers that follow."""

import json
from pathlib import Path

import pytest

from concertino.knowledge.index import Index, index_path
from tests.cli.conftest import Command
from tests.conftest import pulled

ROWS = (
    {
        "q": "What is gout?",
        "a": "Gout is a painful arthritis. Uric acid crystals cause gout.",
        "url": "https://e.org/1",
    },
    {"q": "What is asthma?", "a": "Asthma narrows the airways.\u2028An inhaler helps.", "url": "https://e.org/2"},
    {"q": "Empty", "a": "", "url": "https://e.org/3"},
)


@pytest.fixture
def concertino(concertino: Command) -> Command:
    """The usual team, whose medical specialist answers from sources alone."""
    team = concertino.config.read_text()
    concertino.config.write_text(team.replace("name: medical,", "name: medical, knowledge: required,"))
    return concertino


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), "utf-8")
    return path


def test_rows_become_passages_that_are_quoted_in_answers(concertino: Command, rows: Path) -> None:
    done = concertino("ingest", "medical", str(rows), "--text", "a", "--title", "q", "--source", "url", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["passages"], said["added"], said["not_read"]) == (2, 2, {"no text in 'a' (rows.jsonl)": 1})
    answer = concertino("ask", "--model", "medical", "--no-gateway", "which crystals cause gout?")
    assert "Uric acid crystals" in answer.stdout
    assert "[1] What is gout? (https://e.org/1, rows.jsonl line 1)" in answer.stdout


def test_documents_are_called_by_their_heading_and_cited_by_line(concertino: Command, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "rules.md").write_text("# House rules\n\nNo smoking in the lift.\n", "utf-8")
    (folder / "lease.txt").write_text("The rent is due on the third day of each month.\n", "utf-8")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    done = concertino("ingest", "legal", str(folder))
    assert done.returncode == 0, done.stderr
    index = Index(index_path(concertino.home, "legal"))
    cited = {(p.title, p.source, p.place) for p in index.passages([1, 2, 3]).values()}
    assert cited == {("House rules", "rules.md", "line 1"), ("lease", "lease.txt", "line 1")}


def test_ingesting_again_adds_nothing_and_replace_forgets(concertino: Command, rows: Path, tmp_path: Path) -> None:
    concertino("ingest", "medical", str(rows), "--text", "a")
    again = json.loads(concertino("ingest", "medical", str(rows), "--text", "a", "--json").stdout)
    assert (again["added"], again["unchanged"], again["removed"]) == (0, 2, 0)
    other = tmp_path / "other.txt"
    other.write_text("Measles is a virus.", "utf-8")
    forgotten = json.loads(concertino("ingest", "medical", str(other), "--replace", "--json").stdout)
    assert (forgotten["passages"], forgotten["files"], forgotten["added"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "rows.jsonl"), "No specialist 'nobody'"),
        (("medical", "missing.jsonl"), "no file 'missing.jsonl'"),
        (("medical", "rows.jsonl", "--text", "b"), "no field 'b'. It has: q, a, url"),
        (("medical", "rows.jsonl", "--text", "a", "--title", "b"), "Correct --title"),
        (("medical", "photo.png"), "of no kind that can be read"),
        (("medical", "empty.txt"), "Nothing to ingest"),
    ],
)
def test_what_cannot_be_ingested_is_told_and_nothing_is_written(
    concertino: Command, rows: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty.txt").write_bytes(b"")
    done = concertino("ingest", *arguments)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not index_path(concertino.home, "medical").exists()


@pytest.mark.models
def test_a_real_encoder_finds_what_is_asked_in_other_words(concertino: Command, rows: Path, real_home: Path) -> None:
    pulled(real_home, "all-MiniLM-L6-v2")
    concertino.home.mkdir()
    (concertino.home / "models").symlink_to(real_home / "models")
    config = concertino.config.read_text().replace(
        "embeddings: []", "embeddings: [{model: all-MiniLM-L6-v2, backend: encoder}]"
    )
    concertino.config.write_text(config.replace("backends: {", "backends: {encoder: {type: encoder}, "))
    done = concertino("ingest", "medical", str(rows), "--text", "a", "--title", "q")
    assert done.returncode == 0, done.stderr
    index = Index(index_path(concertino.home, "medical"))
    assert (index.model, index.dimensions) == ("all-MiniLM-L6-v2", 384)
    answer = concertino("ask", "--model", "medical", "--no-gateway", "what causes the pain of gout arthritis?")
    assert "Uric acid" in answer.stdout


@pytest.mark.models
def test_a_real_model_is_given_the_sources_and_they_are_named_after_its_words(
    concertino: Command, rows: Path, smol: Path, real_home: Path
) -> None:
    assert smol.is_file()
    concertino.home.mkdir()
    (concertino.home / "models").symlink_to(real_home / "models")
    medical = "backend: small, model: smollm2-135m-instruct, max_tokens: 40, knowledge: optional"
    config = concertino.config.read_text().replace("backends: {", "backends: {small: {type: llamacpp}, ")
    concertino.config.write_text(
        config.replace("backend: echo, model: echo, compliance: [phi]", f"{medical}, compliance: [phi]").replace(
            "name: medical, knowledge: required,", "name: medical,"
        )
    )
    concertino("ingest", "medical", str(rows), "--text", "a", "--title", "q")
    done = concertino("ask", "--model", "medical", "--no-gateway", "which crystals cause gout?", timeout=240)
    assert done.returncode == 0, done.stderr
    words, _, sources = done.stdout.rpartition("\n\nSources:\n")  # a small model may write such a heading too
    assert words.strip()
    assert sources.startswith("[1] What is gout? (rows.jsonl, line 1)")
