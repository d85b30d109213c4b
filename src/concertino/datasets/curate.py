"""A recipe and a data folder -> a dataset folder."""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec import structs

from concertino.datasets.contamination import Embed
from concertino.datasets.datasheet import Contents, datasheet
from concertino.datasets.folder import (
    DatasetManifest,
    ParaphraseCheck,
    Part,
    PartInfo,
    Row,
    SourceInfo,
    write_manifest,
    write_rows,
)
from concertino.datasets.gather import Gathered, InputFile, gather
from concertino.datasets.others import Guard, OtherFile, background, evaluation_sets, named_files
from concertino.datasets.output import Room, existing, room_for
from concertino.datasets.personal import PersonalDataFinder
from concertino.datasets.processes import cleaned_up_on_sigterm
from concertino.datasets.select import MOST_EMBEDDED, Progress, Selection, Selector
from concertino.datasets.split import PARTS
from concertino.datasets.staging import Fixed, Staging
from concertino.datasets.tally import Tally
from concertino.documents import find_files
from concertino.errors import DataRefused, DiskFull, RecipeInvalid
from concertino.models.file_hash import file_sha256
from concertino.recipe import PersonalData, Recipe

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FIXED = {"": Fixed.NONE, "train": Fixed.TRAIN, "test": Fixed.TEST}


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
    _check_labels(recipe)
    out = Path(os.path.normpath(out.absolute()))
    not_read: list[str] = []
    sources, sets, others = _inputs(recipe, data_dir, not_read.append)
    if not force:
        found = existing(out, recipe, [*sources, *sets, *others], embed is not None)
        if found.dataset is not None and not found.unchecked:
            note(f"{out} was made by this recipe from these files, and is used as it is.{_unchecked(found.dataset)}")
            return found.dataset
        if found.unchecked:
            note(f"{out} is made again, since paraphrases of its evaluation sets were not looked for.")
    try:
        with cleaned_up_on_sigterm(), room_for(out) as room:
            run = _Run(recipe, room, note, progress, not_read)
            manifest = run.curate(sources, sets, others, embed, why_no_embed)
            room.move(out)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"The disk that holds {out.parent} is full. Free about three times the size of the sources, and "
                "run it again."
            ) from error
        raise
    return manifest


class _Run:
    """One curation into an empty room."""

    def __init__(
        self, recipe: Recipe, room: Room, note: Callable[[str], None], progress: Progress, not_read: Sequence[str]
    ) -> None:
        self._recipe = recipe
        self._folder = room.dataset
        self._scratch = room.scratch
        self._note = note
        self._progress = progress
        policy, finder = recipe.data.personal_data, PersonalDataFinder()
        self._guard = Guard(policy, finder)
        self._tally = Tally(None if policy is PersonalData.KEEP else finder)
        for sentence in not_read:
            self._tally.warn(sentence)

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
            evaluations, records = evaluation_sets(
                [_other(each) for each in sets], data.max_characters, self._guard, self._tally
            )
            selector = Selector(recipe, staging, self._tally, self._scratch, self._progress)
            selection = selector.select(evaluations, embed)
            parts, contents = self._write(staging, selection)
            own = np.unique(staging.index["key"])
        finally:
            staging.close()
        contents.paraphrases = _paraphrases(selection.paraphrases, why_no_embed)
        if others:
            drawn = background(
                [_other(each) for each in others],
                own,
                data.max_characters,
                data.split.seed,
                self._guard,
                self._tally,
            )
            parts[Part.BACKGROUND] = write_rows(self._folder / "background.jsonl", drawn.rows)
            contents.background, contents.background_personal = drawn.drawn, drawn.personal
            records |= drawn.records
        infos = [
            *_infos(recipe, files, gathered),
            *_other_infos(recipe, sets, "evaluation set, kept clear of", records),
        ]
        infos += _other_infos(recipe, others, "background texts", records)
        manifest = DatasetManifest(
            name=recipe.name,
            recipe_digest=recipe.data_digest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            parts=parts,
            labels={label: contents.labels[label].total() for label in sorted(contents.labels)},
            sources=tuple(infos),
            paraphrases=selection.paraphrases,
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
            self._tally.warn(f"No row is in {', '.join(empty)}: there are too few rows, or groups.")
        wanted = set(contents.labels).union(() if self._recipe.free_text else self._recipe.labels)
        counts = {label: contents.labels.get(label, Counter()) for label in sorted(wanted)}
        untaught = [f"`{label}` ({each.total()})" for label, each in counts.items() if not each[Part.TRAIN]]
        if untaught:
            fewest = self._recipe.data.min_label_rows
            self._tally.warn(
                f"{_have(untaught)} no training row, so that no model can learn this (rows in all parts in brackets): "
                f"{', '.join(untaught)}. Give more rows, or leave out what is rare by a data.min_label_rows above "
                f"{fewest}."
            )
        untested = [f"`{label}`" for label, each in counts.items() if not each[Part.TEST]]
        if untested and parts[Part.TEST].rows:
            self._tally.warn(f"{_have(untested)} no test row: {', '.join(untested)}.")
        folded: dict[str, list[str]] = {}
        for label in sorted(contents.labels):
            folded.setdefault(" ".join(label.casefold().split()), []).append(label)
        for alike in folded.values():
            if len(alike) > 1:
                listed = ", ".join(f"`{label}`" for label in alike)
                self._tally.warn(f"Labels that differ only in case or blanks count as different: {listed}.")


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


def _paraphrases(outcome: ParaphraseCheck, why_not: str) -> str:
    if outcome is ParaphraseCheck.DONE:
        return "Nor is a row closer than a cosine of 0.9 to any of their texts."
    if outcome is ParaphraseCheck.TOO_MANY:
        why_not = f"there are more than {MOST_EMBEDDED:,} texts"
    return f"Paraphrases were not looked for: {why_not}."


def _unchecked(manifest: DatasetManifest) -> str:
    left_out = manifest.paraphrases is ParaphraseCheck.LEFT_OUT
    return " Paraphrases of its evaluation sets were not looked for." if left_out else ""


def _check_labels(recipe: Recipe) -> None:
    """Raises RecipeInvalid where rows would have no label to learn."""
    for number, source in enumerate(recipe.data.sources):
        if not source.label and not recipe.free_text:
            raise RecipeInvalid(
                f"data.sources[{number}] ({source.path}) names no label, and every row of a skill that answers with "
                "labels needs one. Name the field with `label`; texts that the skill is not for go under "
                "data.background; a skill that answers in words has `free_text: true`.",
                param=f"data.sources[{number}].label",
            )


def _inputs(
    recipe: Recipe, data_dir: Path, note: Callable[[str], None]
) -> tuple[list[InputFile], list[InputFile], list[InputFile]]:
    """Every file that decides the outcome: of sources, of evaluation sets, of background texts."""
    if not data_dir.is_dir():
        raise DataRefused(f"The data folder {data_dir} does not exist. Name it with --data-dir.")
    sources = [
        _input(file.relative_to(data_dir).as_posix(), file, number)
        for number, source in enumerate(recipe.data.sources)
        for file in find_files(data_dir, source.path, note)
    ]
    sets, others = (
        [_input(f"{each.path}#{each.field}" if each.field else each.path, each.file, -1) for each in files]
        for files in (
            named_files(data_dir, recipe.data.decontaminate, note),
            named_files(data_dir, recipe.data.background, note),
        )
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


def _other_infos(recipe: Recipe, files: Sequence[InputFile], origin: str, rows: dict[str, int]) -> Iterator[SourceInfo]:
    for each in files:
        licence = recipe.data.licence_of(each.path)
        yield SourceInfo(each.path, each.sha256, each.bytes, rows[each.path], licence, origin)


def _have(labels: Sequence[str]) -> str:
    return "1 label has" if len(labels) == 1 else f"{len(labels)} labels have"
