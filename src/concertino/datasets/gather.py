"""Every source of a recipe -> staged rows."""

import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

from msgspec import Struct, field

from concertino.datasets.prepare import STEPS, Batch, Preparer, RawRow
from concertino.datasets.processes import end_with
from concertino.datasets.staging import Staging
from concertino.datasets.tally import Tally
from concertino.documents import Documents, Encoding, Problem, Record
from concertino.recipe import Recipe

_BATCH = 500
_FILES = 5
"""Files with bytes that could not be decoded that are named."""
_PROCESSES_FROM = 48 * 1024 * 1024
"""Bytes of sources from which starting processes pays."""


class InputFile(Struct, frozen=True):
    """A file that is read, by its path relative to the data folder. `source` is its number in the recipe, or -1."""

    path: str
    file: Path
    source: int
    sha256: str
    bytes: int


class Gathered(Struct):
    """What reading found, beside the rows."""

    records: dict[int, int] = field(default_factory=dict)
    """Place of a file in the list -> records read from it."""
    encodings: Counter[str] = field(default_factory=Counter)
    """Encoding -> files."""
    bad_bytes: dict[str, int] = field(default_factory=dict)
    """Path -> bytes that could not be decoded."""
    personal: Counter[str] = field(default_factory=Counter)
    with_personal: int = 0


def gather(
    recipe: Recipe, files: Sequence[InputFile], staging: Staging, tally: Tally, advance: Callable[[int], None]
) -> Gathered:
    """Read the files in order into the staging area, and count what is refused on the way."""
    gathered = Gathered()
    unread = Counter[str]()
    refused = Counter[str]()
    read = 0
    with (
        closing(_raws(recipe, files, tally, gathered, unread)) as raws,
        closing(_prepared(recipe, raws, sum(file.bytes for file in files))) as batches,
    ):
        for size, batch in batches:
            staging.add(batch.rows)
            for each in batch.refused:
                tally.remove(each.reason, each.text, each.source, each.because)
                refused[each.step] += 1
            gathered.personal.update(batch.personal)
            gathered.with_personal += batch.with_personal
            read += size
            advance(size)
    if gathered.bad_bytes:
        tally.warn(_undecoded(gathered.bad_bytes))
    rows = read + unread.total()
    tally.step("read", rows, read)
    for name in STEPS[1:]:
        tally.step(name, read, read - refused[name])
        read -= refused[name]
    return gathered


def _undecoded(bad_bytes: Mapping[str, int]) -> str:
    worst = sorted(bad_bytes, key=lambda path: -bad_bytes[path])
    more = f" and {len(worst) - _FILES} more files" if len(worst) > _FILES else ""
    count = sum(bad_bytes.values())
    named = ", ".join(f"`{path}` ({bad_bytes[path]})" for path in worst[:_FILES])
    return (
        f"{count} {'byte' if count == 1 else 'bytes'} could not be decoded, and what rows have of them became U+FFFD: "
        f"in {named}{more}. Save the files as UTF-8, and curate again."
    )


def _raws(
    recipe: Recipe, files: Sequence[InputFile], tally: Tally, gathered: Gathered, unread: Counter[str]
) -> Generator[RawRow, None, None]:
    with Documents(recipe.data.max_characters) as documents:
        for number, file in enumerate(files):
            document = file.path if documents.is_document(file.file) else ""
            count = 0
            for event in documents.read(file.file):
                if isinstance(event, Record):
                    count += 1
                    yield RawRow(event.fields, file.source, f"{file.path}:{event.place}", document)
                elif isinstance(event, Problem):
                    place = f"{file.path}:{event.place}" if event.place else file.path
                    tally.unread(event.reason, event.sample, place, event.because)
                    unread[event.reason] += 1
                elif isinstance(event, Encoding):
                    gathered.encodings.update(event.lines.keys())
                    if len(event.lines) > 1:
                        parts = ", ".join(f"{lines} lines of {name}" for name, lines in sorted(event.lines.items()))
                        tally.warn(f"`{file.path}` mixes encodings: {parts}.")
                    if event.bad_bytes:
                        gathered.bad_bytes[file.path] = event.bad_bytes
            gathered.records[number] = count


def _prepared(recipe: Recipe, raws: Iterator[RawRow], size: int) -> Generator[tuple[int, Batch], None, None]:
    """Batches in order, by several processes where there is enough to do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2 or size < _PROCESSES_FROM:
        preparer = Preparer(recipe)
        while raw := list(islice(raws, _BATCH)):
            yield len(raw), preparer.prepare(raw)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cores, context, _start, (recipe, os.getpid()))
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    try:
        while True:
            raw = list(islice(raws, _BATCH))
            if raw:
                waiting.append((len(raw), pool.submit(_prepare, raw)))
            if not waiting:
                return
            if not raw or len(waiting) > 4 * cores:
                count, future = waiting.popleft()
                yield count, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_preparer: list[Preparer] = []
"""One in a worker process, set when it starts."""


def _start(recipe: Recipe, parent: int) -> None:
    end_with(parent)
    _preparer.append(Preparer(recipe))


def _prepare(raws: list[RawRow]) -> Batch:
    return _preparer[0].prepare(raws)
