"""The one protocol of a reader, and what it reads a file into."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct


class Record(Struct, frozen=True, tag=True):
    """One row of a table, or one paragraph of a document."""

    place: str
    """Where in the file: a line, a page."""
    fields: dict[str, Any]


class Problem(Struct, frozen=True, tag=True):
    """Something that could not be read. The rest of the file is still read where that is possible."""

    reason: str
    """A few words that are the same for all problems of a kind, since problems are counted by them."""
    because: str
    place: str = ""
    sample: str = ""


class Encoding(Struct, frozen=True, tag=True):
    """How the text of a file was encoded, said once at its end."""

    lines: dict[str, int]
    """Encoding -> lines that were read by it."""
    bad_bytes: int = 0
    """Bytes that are in no encoding and were replaced by U+FFFD."""


Event = Record | Problem | Encoding


class Reader(Protocol):
    """Reads one kind of file. Built without arguments from a `concertino.readers` entry point named by the suffix."""

    paragraphs: bool
    """True where records are paragraphs (`fields["text"]`) of one document, to be joined into passages."""
    limited: bool
    """True where the parser is complex enough that a hostile file gets a process of its own, with limits."""

    def read(self, path: Path) -> Iterator[Event]:
        """What is in the file, in order. May raise anything on a damaged one, which ends that file only."""
        ...
