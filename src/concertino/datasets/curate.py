"""A recipe and a data folder -> a dataset folder."""

import errno
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec import structs

from concertino.datasets.contamination import Embed
from concertino.datasets.datasheet import Contents, datasheet
from concertino.datasets.folder import (
    MANIFEST,
    DatasetManifest,
    Part,
    PartInfo,
    Row,
    SourceInfo,
    open_dataset,
    write_manifest,
    write_rows,
)
from concertino.datasets.gather import Gathered, InputFile, gather
from concertino.datasets.others import OtherFile, background, evaluation_sets, named_files
from concertino.datasets.select import Progress, Selection, Selector
from concertino.datasets.split import PARTS
from concertino.datasets.staging import Fixed, Staging
from concertino.datasets.tally import Tally
from concertino.documents import find_files
from concertino.errors import DataRefused, DiskFull
from concertino.models.adapters import file_sha256
from concertino.recipe import Recipe

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FIXED = {"": Fixed.NONE, "train": Fixed.TRAIN, "test": Fixed.TEST}
_SCRATCH = "scratch"


def _no_progress(what: str, done: int, total: int) -> None:
    """Nobody is looking."""


def curate(
    recipe: Recipe,
    data_dir: Path,
    out: Path,
    note: Callable[[str], None],
    embed: Embed | None = None,
    *,
    force: bool = False,
    progress: Progress = _no_progress,
    why_no_embed: str = "no embedding model was at hand",
) -> DatasetManifest:
    """Make the dataset of a recipe in the folder `out`, or use the one there where nothing has changed since.

    `note` is told sentences for a person, `progress` of rows done. `embed` gives unit vectors for texts, and is used
    where the recipe names evaluation sets. `force` replaces another dataset. The folder appears when it is complete.
    Raises DataRefused, RecipeInvalid, ConfigurationError (a library is missing), DiskFull.
    """
    sources, sets, others = _inputs(recipe, data_dir)
    existing = _existing(out, recipe, [*sources, *sets, *others], force)
    if existing is not None:
        note(f"{out} was made by this recipe from these files, and is used as it is.")
        return existing
    try:
        with _partial(out) as folder:
            run = _Run(recipe, folder, note, progress)
            manifest = run.curate(sources, sets, others, embed, why_no_embed)
            shutil.rmtree(folder / _SCRATCH)
            _replace(folder, out)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"The disk that holds {out.parent} is full. Free about three times the size of the sources, and "
                "run it again."
            ) from error
        raise
    return manifest


class _Run:
    """One curation into an empty folder."""

    def __init__(self, recipe: Recipe, folder: Path, note: Callable[[str], None], progress: Progress) -> None:
        self._recipe = recipe
        self._folder = folder
        self._note = note
        self._progress = progress
        self._tally = Tally()
        self._scratch = folder / _SCRATCH
        self._scratch.mkdir()

    def curate(
        self,
        files: Sequence[InputFile],
        sets: Sequence[InputFile],
        others: Sequence[InputFile],
        embed: Embed | None,
        why_no_embed: str,
    ) -> DatasetManifest:
        recipe, data = self._recipe, self._recipe.data
        staging = Staging(self._scratch, [_FIXED[source.part] for source in data.sources])
        try:
            gathered = self._gather(files, staging)
            evaluations = evaluation_sets([_other(each) for each in sets], data.max_characters)
            selector = Selector(recipe, staging, self._tally, self._scratch, self._progress)
            selection = selector.select(evaluations, embed)
            parts, contents = self._write(staging, selection)
            own = np.unique(staging.index["key"])
        finally:
            staging.close()
        contents.paraphrases = _paraphrases(embed is not None, why_no_embed)
        if others:
            rows, contents.background = background(
                [_other(each) for each in others], own, data.max_characters, data.split.seed
            )
            parts[Part.BACKGROUND] = write_rows(self._folder / "background.jsonl", rows)
        infos = [*_infos(recipe, files, gathered), *_other_infos(sets, "evaluation set, kept clear of", {})]
        infos += _other_infos(others, "background texts", contents.background)
        manifest = DatasetManifest(
            name=recipe.name,
            recipe_digest=recipe.data_digest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            parts=parts,
            labels={label: contents.labels[label].total() for label in sorted(contents.labels)},
            sources=tuple(infos),
        )
        self._check(parts, contents)
        self._tally.write(self._folder)
        sheet = datasheet(recipe, manifest, self._tally, gathered, contents)
        (self._folder / "datasheet.md").write_text(sheet, "utf-8")
        write_manifest(self._folder, manifest)
        for warning in self._tally.warnings:
            self._note(warning)
        return manifest

    def _gather(self, files: Sequence[InputFile], staging: Staging) -> Gathered:
        read = 0

        def advance(rows: int) -> None:
            nonlocal read
            read += rows
            self._progress("reading", read, 0)

        gathered = gather(self._recipe, files, staging, self._tally, advance)
        staging.finish()
        if not len(staging.index):
            raise DataRefused(f"No row of the sources can be used: {_reasons(self._tally)}.")
        return gathered

    def _write(self, staging: Staging, selection: Selection) -> tuple[dict[Part, PartInfo], Contents]:
        contents = Contents({}, Counter(), {}, "")
        infos: dict[Part, PartInfo] = {}
        for number, part in enumerate(PARTS):
            places = np.flatnonzero(selection.alive & (selection.parts == number))
            self._progress(f"writing {part}", 0, len(places))
            rows = _counted(_finished(staging, places, selection), part, contents)
            infos[part] = write_rows(self._folder / f"{part}.jsonl", rows)
        return infos, contents

    def _check(self, parts: dict[Part, PartInfo], contents: Contents) -> None:
        """Raises DataRefused where nothing is left to learn from; warns of what is odd."""
        if not parts[Part.TRAIN].rows:
            raise DataRefused(f"No row is left to train on: {_reasons(self._tally)}.")
        empty = [part.value for part in PARTS if not parts[part].rows]
        if empty:
            self._tally.warnings.append(f"No row is in {', '.join(empty)}: there are too few rows, or groups.")
        for part, named in ((Part.TRAIN, "training"), (Part.TEST, "test")):
            without = sorted(label for label, counts in contents.labels.items() if not counts[part])
            if without and parts[part].rows:
                listed = ", ".join(f"`{label}`" for label in without[:20])
                self._tally.warnings.append(f"{len(without)} labels have no {named} row: {listed}.")
        folded: dict[str, list[str]] = {}
        for label in sorted(contents.labels):
            folded.setdefault(" ".join(label.casefold().split()), []).append(label)
        for alike in folded.values():
            if len(alike) > 1:
                listed = ", ".join(f"`{label}`" for label in alike)
                self._tally.warnings.append(f"Labels that differ only in case or blanks count as different: {listed}.")


def _finished(staging: Staging, places: np.ndarray, selection: Selection) -> Iterator[Row]:
    """Rows without rare labels, each id given once."""
    for place, row in zip(places.tolist(), staging.rows(places), strict=True):
        labels = row.labels
        if selection.rare:
            labels = tuple(label for label in labels if label not in selection.rare)
        again = selection.renamed.get(place)
        identity = row.id if again is None else f"{row.id}#{again}"
        yield structs.replace(row, id=identity, labels=labels)


def _counted(rows: Iterator[Row], part: Part, contents: Contents) -> Iterator[Row]:
    for row in rows:
        contents.lengths[len(row.text).bit_length()] += 1
        for label in row.labels:
            contents.labels.setdefault(label, Counter())[part] += 1
        yield row


def _reasons(tally: Tally) -> str:
    listed = (
        f"{count} times {reason} (as in {example.source}: {example.because})"
        for reason, count in tally.reasons.most_common(3)
        if (example := tally.example(reason)) is not None
    )
    return "; ".join(listed) or "the sources are empty"


def _paraphrases(looked: bool, why_not: str) -> str:
    if looked:
        return "Nor is a row closer than a cosine of 0.9 to any of their texts."
    return f"Paraphrases were not looked for: {why_not}."


def _inputs(recipe: Recipe, data_dir: Path) -> tuple[list[InputFile], list[InputFile], list[InputFile]]:
    """Every file that decides the outcome: of sources, of evaluation sets, of background texts."""
    if not data_dir.is_dir():
        raise DataRefused(f"The data folder {data_dir} does not exist. Name it with --data-dir.")
    sources = [
        _input(file.relative_to(data_dir).as_posix(), file, number)
        for number, source in enumerate(recipe.data.sources)
        for file in find_files(data_dir, source.path)
    ]
    sets, others = (
        [_input(f"{each.path}#{each.field}" if each.field else each.path, each.file, -1) for each in files]
        for files in (named_files(data_dir, recipe.data.decontaminate), named_files(data_dir, recipe.data.background))
    )
    return sources, sets, others


def _input(path: str, file: Path, source: int) -> InputFile:
    try:
        return InputFile(path, file, source, file_sha256(file), file.stat().st_size)
    except OSError as error:
        raise DataRefused(f"{file} cannot be read: {error.strerror}.") from error


def _other(each: InputFile) -> OtherFile:
    path, _, field = each.path.partition("#")
    return OtherFile(path, each.file, each.path, field)


def _infos(recipe: Recipe, files: Sequence[InputFile], gathered: Gathered) -> Iterator[SourceInfo]:
    for number, each in enumerate(files):
        source = recipe.data.sources[each.source]
        rows = gathered.records[number]
        yield SourceInfo(each.path, each.sha256, each.bytes, rows, source.licence, source.origin)


def _other_infos(files: Sequence[InputFile], origin: str, rows: dict[str, int]) -> Iterator[SourceInfo]:
    for each in files:
        yield SourceInfo(each.path, each.sha256, each.bytes, rows.get(each.path.partition("#")[0], 0), "", origin)


def _existing(out: Path, recipe: Recipe, files: Sequence[InputFile], force: bool) -> DatasetManifest | None:
    """The dataset in `out` where it is the one wanted; None where there is none or it may be replaced."""
    if force or not out.exists():
        return None
    if not (out / MANIFEST).exists():
        if out.is_dir() and not any(out.iterdir()):
            return None
        raise DataRefused(f"{out} exists and is no dataset. Name another folder with --out, or move it away.")
    manifest = open_dataset(out).manifest
    if manifest.recipe_digest != recipe.data_digest:
        what = "by another recipe, or before this one was changed"
    elif [(each.path, each.sha256) for each in manifest.sources] != [(each.path, each.sha256) for each in files]:
        what = "from other files, or before these were changed"
    else:
        return manifest
    raise DataRefused(f"{out} holds a dataset that was made {what}. Name another folder, or replace it with --force.")


@contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; gone afterwards. What an interrupted run left is cleared away."""
    folder = out.with_name(f"{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataRefused(f"Another run is writing {out}. Wait for it.") from error
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _replace(folder: Path, out: Path) -> None:
    """Move the finished folder to its place; a dataset that stood there is gone only then."""
    if out.exists():
        if not (out / MANIFEST).exists() and any(out.iterdir()):
            raise DataRefused(f"{out} exists and is no dataset. Name another folder with --out, or move it away.")
        old = out.with_name(f"{out.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
        folder.rename(out)
        shutil.rmtree(old)
    else:
        folder.rename(out)
