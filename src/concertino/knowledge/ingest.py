"""Files -> an index: passages without repetitions, embedded, written to a new file that takes the old one's place."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from msgspec import Struct

from concertino.errors import ConfigurationError, DataRefused
from concertino.knowledge.index import SCHEMA, TABLES
from concertino.knowledge.passages import Passage
from concertino.knowledge.terms import terms

EMBEDDED_CHARACTERS = 200
"""What a vector is made of: the title and so much of the passage's beginning. docs/knowledge.md has the measurement."""

BATCH = 64
"""Texts embedded in one call."""

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts -> unit vectors, in order."""


class SourceFile(Struct, frozen=True):
    """A file that was read, as passages."""

    path: str
    sha256: str
    passages: tuple[Passage, ...]


class Report(Struct, frozen=True):
    """What an ingestion did."""

    index: str
    files: int
    passages: int
    """In the index, now."""
    added: int
    unchanged: int
    """Passages of these files that the index already held, embedded and all."""
    repeated: int
    """Passages of these files that stand in them more than once."""
    removed: int
    """Passages that no file holds any more."""
    bytes: int


def ingest(
    path: Path,
    files: Sequence[SourceFile],
    embed: Embed | None,
    model: str,
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Put files into the index at `path`; a file that was there is replaced, with `replace` everything else goes.

    `model` names what `embed` runs; without `embed` the index is searched by words alone. `progress` hears how many of
    how many passages are embedded. Raises DataRefused where the files hold nothing, ConfigurationError where another
    ingestion is running or the index was made with another model.
    """
    if not any(file.passages for file in files):
        names = ", ".join(Path(file.path).name for file in files) or "no files"
        raise DataRefused(f"Nothing to ingest in {names}: no text was found. Give files that hold text.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            old = _Held() if replace or not path.exists() else _Held.read(path)
            return _write(path, old, files, embed, model if embed else "", progress)
    except Timeout as error:
        raise ConfigurationError(f"Another `concertino ingest` is writing {path}. Wait until it is done.") from error


class _Held:
    """What an index holds: passages by id with their vectors, and for each file where its passages stand."""

    def __init__(self) -> None:
        self.model = ""
        self.passages: dict[str, Passage] = {}
        self.vectors: dict[str, bytes] = {}
        self.files: dict[str, tuple[str, str, list[tuple[str, str, str]]]] = {}

    @classmethod
    def read(cls, path: Path) -> "_Held":
        held = cls()
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            meta = dict(db.execute("SELECT key, value FROM meta"))
            if meta.get("schema") != SCHEMA:
                raise sqlite3.DatabaseError(f"schema {meta.get('schema')!r}, not {SCHEMA!r}")
            held.model = meta["model"]
            for number, file_path, sha256, when in db.execute("SELECT * FROM file ORDER BY number"):
                rows = db.execute(
                    "SELECT p.id, l.source, l.place FROM location l JOIN passage p ON p.number = l.passage"
                    " WHERE l.file = ? ORDER BY l.rowid",
                    (number,),
                ).fetchall()
                held.files[file_path] = (sha256, when, rows)
            for key, title, text, vector in db.execute("SELECT id, title, text, vector FROM passage ORDER BY number"):
                held.passages[key] = Passage(title, text, "")
                if vector is not None:
                    held.vectors[key] = vector
            db.close()
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be read as a knowledge index: {error}. Ingest its files again with --replace."
            ) from error
        return held


def _write(
    path: Path,
    old: _Held,
    files: Sequence[SourceFile],
    embed: Embed | None,
    model: str,
    progress: Callable[[int, int], None],
) -> Report:
    if old.passages and old.model != model:
        was, now = old.model or "no vectors", model or "none"
        raise ConfigurationError(
            f"{path} was made with {was}, and the embedding model here is {now}. "
            "Ingest every file again with --replace."
        )
    known = set(old.passages)
    repeated = sum(len(file.passages) - len({passage.id for passage in file.passages}) for file in files)
    now_there = {passage.id for file in files for passage in file.passages}
    for file in files:
        # The same bytes under another path are the same file, moved.
        gone = [name for name, (sha256, _, _) in old.files.items() if name == file.path or sha256 == file.sha256]
        for name in gone:
            del old.files[name]
        places = dict.fromkeys((passage.id, passage.source, passage.place) for passage in file.passages)
        old.files[file.path] = (file.sha256, datetime.now(UTC).isoformat(timespec="seconds"), list(places))
        old.passages.update((passage.id, passage) for passage in file.passages if passage.id not in old.passages)
    needed = dict.fromkeys(key for _, _, places in old.files.values() for key, _, _ in places)
    old.passages = {key: old.passages[key] for key in needed}
    if embed is None:
        _save(path, old, model)
    else:
        with _Partial(path, model) as partial:
            _embed_missing(old, embed, partial, progress)
            _save(path, old, model)
        partial.path.unlink()
    return Report(
        index=str(path),
        files=len(old.files),
        passages=len(old.passages),
        added=len(now_there - known),
        unchanged=len(now_there & known),
        repeated=repeated,
        removed=len(known - needed.keys()),
        bytes=path.stat().st_size,
    )


def embedded_text(passage: Passage) -> str:
    """The text that a passage's vector is made of."""
    beginning = passage.text[:EMBEDDED_CHARACTERS]
    return f"{passage.title}\n{beginning}" if passage.title else beginning


class _Partial:
    """Vectors made so far, kept beside the index, so that an ingestion that was interrupted need not begin again."""

    def __init__(self, path: Path, model: str) -> None:
        self.path = path.with_suffix(".partial")
        self._model = model

    def __enter__(self) -> "_Partial":
        self._db = sqlite3.connect(self.path)
        self._db.executescript(
            "PRAGMA synchronous = OFF;"
            "CREATE TABLE IF NOT EXISTS vector (model TEXT, id TEXT, vector BLOB, PRIMARY KEY (model, id));"
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    def vectors(self) -> dict[str, bytes]:
        return dict(self._db.execute("SELECT id, vector FROM vector WHERE model = ?", (self._model,)))

    def keep(self, vectors: dict[str, bytes]) -> None:
        rows = [(self._model, key, vector) for key, vector in vectors.items()]
        self._db.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", rows)
        self._db.commit()


def _embed_missing(held: _Held, embed: Embed, partial: _Partial, progress: Callable[[int, int], None]) -> None:
    held.vectors.update((key, made) for key, made in partial.vectors().items() if key in held.passages)
    # Texts of like length share a batch, so that little of it is padding.
    missing = sorted(held.passages.keys() - held.vectors.keys(), key=lambda key: len(embedded_text(held.passages[key])))
    progress(0, len(missing))
    for start in range(0, len(missing), BATCH):
        keys = missing[start : start + BATCH]
        vectors = np.asarray(embed([embedded_text(held.passages[key]) for key in keys]), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(keys):
            raise ConfigurationError(f"The embedding model gave {len(vectors)} vectors for {len(keys)} texts.")
        made = {key: row.tobytes() for key, row in zip(keys, vectors.astype(np.float16), strict=True)}
        partial.keep(made)
        held.vectors.update(made)
        progress(start + len(keys), len(missing))


def _save(path: Path, held: _Held, model: str) -> None:
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    try:
        db = sqlite3.connect(draft)
        db.executescript("PRAGMA journal_mode = OFF;" + TABLES)
        db.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", SCHEMA), ("model", model)])
        numbers = {key: number for number, key in enumerate(held.passages, 1)}
        for key, number in numbers.items():
            passage = held.passages[key]
            vector = held.vectors.get(key) if model else None
            db.execute("INSERT INTO passage VALUES (?, ?, ?, ?, ?)", (number, key, passage.title, passage.text, vector))
            db.execute(
                "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                (number, " ".join(terms(passage.title)), " ".join(terms(passage.text))),
            )
        for number, (name, (sha256, when, places)) in enumerate(held.files.items(), 1):
            db.execute("INSERT INTO file VALUES (?, ?, ?, ?)", (number, name, sha256, when))
            db.executemany(
                "INSERT INTO location VALUES (?, ?, ?, ?)",
                ((numbers[key], number, source, place) for key, source, place in places),
            )
        db.execute("INSERT INTO words (words) VALUES ('optimize')")
        db.commit()
        db.close()
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
