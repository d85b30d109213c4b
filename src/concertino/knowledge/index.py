"""One specialist's index on disk, as answers read it: passages, their words (SQLite FTS5) and their vectors.

The file is never changed in place: `ingest` writes a new one beside it and moves it there, so that an open index stays
whole and a running gateway sees the new one at its next question.
"""

import json
import sqlite3
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.knowledge.passages import Passage

INDEX_NAME = "index.sqlite"
SCHEMA = "1"
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE file (number INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, sha256 TEXT NOT NULL, ingested TEXT NOT NULL);
CREATE TABLE passage (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
                      vector BLOB);
CREATE TABLE location (passage INTEGER NOT NULL REFERENCES passage, file INTEGER NOT NULL REFERENCES file,
                       source TEXT NOT NULL, place TEXT NOT NULL);
CREATE INDEX location_of_passage ON location (passage);
CREATE VIRTUAL TABLE words USING fts5(title, text, content='', tokenize='unicode61');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, 'row');
"""
"""`words` holds the stems of `terms`, which are made here and not by SQLite, so that both sides of a search agree."""

TITLE_WEIGHT = 2.0
"""What a word of the title counts for in BM25, against one of the text."""


class FileEntry(Struct, frozen=True):
    """A file that was ingested, and how many passages it gave."""

    path: str
    sha256: str
    ingested: str
    passages: int


def index_path(home: Path, specialist: str) -> Path:
    """Where a specialist's index lies."""
    return home / "knowledge" / specialist / INDEX_NAME


class Index:
    """Reads one index file. Safe in several threads. Raises ConfigurationError for a file that is no index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            meta = dict(self._db.execute("SELECT key, value FROM meta"))
            if meta.get("schema") != SCHEMA:
                raise sqlite3.DatabaseError(f"schema {meta.get('schema')!r}, not {SCHEMA!r}")
            rows = self._db.execute("SELECT number, vector FROM passage ORDER BY number").fetchall()
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be read as a knowledge index: {error}. Ingest its files again with --replace."
            ) from error
        self.model = meta["model"]
        """The embedding model of the vectors, or empty where there are none."""
        self.numbers = np.array([number for number, _ in rows], dtype=np.int64)
        self.vectors = (
            np.frombuffer(b"".join(blob for _, blob in rows), dtype=np.float16)
            .reshape(len(rows), -1)
            .astype(np.float32)
            if self.model and rows
            else None
        )
        """Unit vectors, float32 `[passages, dimensions]`, in the order of `numbers`."""
        self.dimensions = 0 if self.vectors is None else int(self.vectors.shape[1])
        self.frequency = lru_cache(maxsize=4096)(self._frequency)

    def __len__(self) -> int:
        return len(self.numbers)

    def _frequency(self, term: str) -> int:
        """How many passages hold a term."""
        with self._lock:
            row = self._db.execute("SELECT doc FROM vocabulary WHERE term = ?", (term,)).fetchone()
        return int(row[0]) if row else 0

    def lexical(self, terms: Sequence[str], limit: int) -> list[int]:
        """Numbers of the passages that BM25 puts first for any of the terms, best first."""
        if not terms:
            return []
        query = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms))
        with self._lock:
            found = self._db.execute(
                "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, ?, 1.0) LIMIT ?",
                (query, TITLE_WEIGHT, limit),
            ).fetchall()
        return [number for (number,) in found]

    def nearest(self, vector: np.ndarray, limit: int) -> list[int]:
        """Numbers of the passages whose vectors are nearest, best first."""
        if self.vectors is None:
            return []
        cosines = self.vectors @ vector
        count = min(limit, len(cosines))
        best = np.argpartition(-cosines, count - 1)[:count]
        best = best[np.argsort(-cosines[best], kind="stable")]
        return [int(number) for number in self.numbers[best]]

    def cosine(self, number: int, vector: np.ndarray) -> float:
        """The cosine of one passage."""
        assert self.vectors is not None
        return float(self.vectors[int(np.searchsorted(self.numbers, number))] @ vector)

    def passages(self, numbers: Sequence[int]) -> dict[int, Passage]:
        """Passages by number; of several places where the same words stand, the first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT p.number, p.title, p.text, l.source, l.place FROM passage p JOIN location l"
                " ON l.passage = p.number WHERE p.number IN (SELECT value FROM json_each(?)) ORDER BY l.rowid DESC",
                (json.dumps([int(number) for number in numbers]),),
            ).fetchall()
        return {number: Passage(*fields) for number, *fields in rows}

    def files(self) -> list[FileEntry]:
        """What was ingested."""
        with self._lock:
            rows = self._db.execute(
                "SELECT f.path, f.sha256, f.ingested, count(l.passage) FROM file f LEFT JOIN location l"
                " ON l.file = f.number GROUP BY f.number ORDER BY f.number"
            ).fetchall()
        return [FileEntry(*row) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()
