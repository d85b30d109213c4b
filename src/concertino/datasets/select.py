"""Staged rows -> those that are kept, each in its part: everything that compares rows with each other."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from concertino.datasets import normalise
from concertino.datasets.contamination import Embed, EvaluationSet, Paraphrases
from concertino.datasets.exact import Fate, fates
from concertino.datasets.folder import ParaphraseCheck
from concertino.datasets.near import near_duplicates
from concertino.datasets.ngrams import Words
from concertino.datasets.split import TEST, also_tested, assign, check
from concertino.datasets.staging import Fixed, Staging
from concertino.datasets.tally import Tally
from concertino.recipe import Recipe

_EMBEDDED_BATCH = 256
MOST_EMBEDDED = 50_000
"""Texts beyond which none are embedded, since a core does some tens of them a second."""

_EXACT = {
    Fate.DUPLICATE: ("exact duplicate", "the same text and labels as {}"),
    Fate.LEAK: ("copy of a test text", "the same text as the test row {}"),
    Fate.CONTRADICTION: ("contradictory labels", "labelled {labels}, and the same text otherwise at {}"),
    Fate.OTHER_GROUP: ("same text in another group", "the same text as {}, which is of another group"),
}

Progress = Callable[[str, int, int], None]
"""Told of (what is done, rows done, rows in all)."""


class Selection(Struct):
    """What is kept of the staged rows."""

    alive: np.ndarray
    parts: np.ndarray
    """Places in `split.PARTS`."""
    rare: frozenset[str] = frozenset()
    """Labels that too few rows carry."""
    renamed: dict[int, int] = {}
    """Row -> which row with its id it is, from the second on."""
    paraphrases: ParaphraseCheck = ParaphraseCheck.UNKNOWN


class Selector:
    """Goes through the comparisons one after the other, and counts what each removes."""

    def __init__(self, recipe: Recipe, staging: Staging, tally: Tally, folder: Path, progress: Progress) -> None:
        self._recipe = recipe
        self._staging = staging
        self._index = staging.index
        self._tally = tally
        self._folder = folder
        self._progress = progress
        self._alive = np.ones(len(staging.index), bool)
        self._fixed_test = any(source.part == "test" for source in recipe.data.sources)
        self._parts = assign(self._index, recipe.data.split, self._fixed_test)

    def select(self, sets: Sequence[EvaluationSet], embed: Embed | None) -> Selection:
        """The rows to keep. `sets` are what rows outside of the test part must not overlap with."""
        self._exact()
        if self._recipe.data.near_duplicate < 1:
            self._near()
        self._groups()
        self._contaminated(sets)
        checked = self._paraphrased(sets, embed) if sets else ParaphraseCheck.UNKNOWN
        rare = frozenset() if self._recipe.free_text else self._rare_labels()
        check(self._index, self._parts, self._alive)
        return Selection(self._alive, self._parts, rare, self._renamed(), checked)

    def _exact(self) -> None:
        self._progress("exact duplicates", 0, len(self._index))
        fate, against = fates(self._index, self._recipe.free_text)
        for kind, (reason, because) in _EXACT.items():
            self._drop(reason, reason, np.flatnonzero(fate == kind), because, against)

    def _near(self) -> None:
        places = np.flatnonzero(self._alive)
        # Several answers to one text: its first row speaks for all.
        _, firsts = np.unique(self._index["key"][places], return_index=True)
        places = places[np.sort(firsts)]
        outranked = (self._index["fixed"][places] != Fixed.TEST).astype(np.int8)
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            self._progress("near-duplicates", done, len(places))

        threshold = self._recipe.data.near_duplicate
        stands, unsure = near_duplicates(self._staging, places, outranked, threshold, self._folder, advance)
        if unsure:
            self._tally.warn(
                f"{unsure} rows share so much with thousands of others that they were not compared with all of them: "
                "near-duplicates may be left, some of them in two parts. Cut what the rows share, such as a disclaimer."
            )
        losers = np.flatnonzero(stands != np.arange(len(places)))
        by_key = dict(zip(self._index["key"][places[losers]].tolist(), places[stands[losers]].tolist(), strict=True))
        against = np.full(len(self._index), -1, np.int64)
        gone = np.flatnonzero(self._alive & np.isin(self._index["key"], np.array(list(by_key), np.uint64)))
        against[gone] = [by_key[key] for key in self._index["key"][gone].tolist()]
        of_test = (self._index["fixed"][against[gone]] == Fixed.TEST) & (self._index["fixed"][gone] != Fixed.TEST)
        other = (self._index["labels"][gone] != self._index["labels"][against[gone]]) & ~of_test
        if self._recipe.free_text:
            other[:] = False
        self._drop(
            "near-duplicates of test texts",
            "near-duplicate of a test text",
            gone[of_test],
            "almost the text of {}",
            against,
        )
        said = "labelled {labels}, and almost the text of {}"
        self._drop("near-duplicates with other labels", "near-duplicate with other labels", gone[other], said, against)
        self._drop("near-duplicates", "near-duplicate", gone[~of_test & ~other], "almost the text of {}", against)

    def _groups(self) -> None:
        gone = np.flatnonzero(also_tested(self._index, self._parts, self._alive))
        self._drop("groups in two parts", "group also in the test part", gone, "other rows of its group are tested on")

    def _contaminated(self, sets: Sequence[EvaluationSet]) -> None:
        learnt = np.flatnonzero(self._alive & (self._parts != TEST))
        reasons = ("the whole text", "a run of 13 words", "half of the runs of 8 words")
        for each in sets:
            found: dict[str, list[np.ndarray]] = {reason: [] for reason in reasons}
            done = 0
            for batch in self._staging.batches(learnt):
                self._progress(f"overlap with {each.name}", done, len(learnt))
                done += len(batch)
                words = Words([normalise.words(row.text) for row in self._staging.rows(batch)])
                truths = each.overlaps(words, self._index["key"][batch])
                seen = np.zeros(len(batch), bool)
                for reason, true in zip(reasons, truths, strict=True):
                    found[reason].append(batch[true & ~seen])
                    seen |= true
            for reason, places in found.items():
                gone = np.concatenate(places) if places else np.zeros(0, np.int64)
                name = f"overlap with an evaluation set: {reason}"
                self._drop(f"overlap with {each.name}: {reason}", name, gone, f"shares {reason} with {each.name}")
            learnt = learnt[self._alive[learnt]]

    def _paraphrased(self, sets: Sequence[EvaluationSet], embed: Embed | None) -> ParaphraseCheck:
        if embed is None:
            return ParaphraseCheck.LEFT_OUT
        learnt = np.flatnonzero(self._alive & (self._parts != TEST))
        size = len(learnt) + sum(map(len, sets))
        if size > MOST_EMBEDDED:
            self._tally.warn(
                f"Paraphrases of evaluation sets were not looked for: {size} texts are more than {MOST_EMBEDDED}."
            )
            return ParaphraseCheck.TOO_MANY
        self._progress("paraphrases of evaluation sets", 0, len(learnt))
        paraphrases = Paraphrases(sets, embed)
        before = int(self._alive.sum())
        for start in range(0, len(learnt), _EMBEDDED_BATCH):
            batch = learnt[start : start + _EMBEDDED_BATCH]
            rows = list(self._staging.rows(batch))
            for place, because in paraphrases.find([row.text for row in rows]).items():
                self._alive[batch[place]] = False
                self._tally.remove("paraphrase of an evaluation text", rows[place].text, rows[place].source, because)
            self._progress("paraphrases of evaluation sets", start, len(learnt))
        self._tally.step("paraphrases of evaluation sets", before, int(self._alive.sum()))
        return ParaphraseCheck.DONE

    def _rare_labels(self) -> frozenset[str]:
        places = np.flatnonzero(self._alive)
        counts = Counter(label for row in self._staging.rows(places) for label in row.labels)
        fewest = self._recipe.data.min_label_rows
        rare = frozenset(label for label, count in counts.items() if count < fewest)
        gone: list[int] = []
        if rare:
            rows = zip(places.tolist(), self._staging.rows(places), strict=True)
            gone = [place for place, row in rows if row.labels and rare.issuperset(row.labels)]
            listed = ", ".join(f"`{label}` ({counts[label]})" for label in sorted(rare))
            self._tally.warn(f"Labels with fewer than {fewest} rows were dropped: {listed}.")
        because = f"fewer than {fewest} rows carry the label {{labels}}"
        self._drop("rare labels", "rare label", np.array(gone, np.int64), because)
        return rare

    def _renamed(self) -> dict[int, int]:
        places = np.flatnonzero(self._alive & (self._index["id"] != 0))
        ids = self._index["id"][places]
        order = np.argsort(ids, kind="stable")
        counts: Counter[int] = Counter()
        renamed: dict[int, int] = {}
        again = order[np.flatnonzero(np.diff(ids[order]) == 0) + 1]
        taken, made = np.sort(ids), set[int]()
        for place, row in zip(places[again].tolist(), self._staging.rows(places[again]), strict=True):
            number = int(self._index["id"][place])
            while True:
                counts[number] += 1
                other = normalise.key(f"{row.id}#{counts[number] + 1}")
                at = int(np.searchsorted(taken, np.uint64(other)))
                if other not in made and (at == len(taken) or int(taken[at]) != other):
                    break
            made.add(other)
            renamed[place] = counts[number] + 1
        if renamed:
            first = self._staging.row(min(renamed))
            self._tally.warn(
                f"{len(renamed)} rows have an id that an earlier row has, and were given another: "
                f"`{first.id}` at {first.source}, for one."
            )
        return renamed

    def _drop(
        self, step: str, reason: str, places: np.ndarray, because: str, against: np.ndarray | None = None
    ) -> None:
        """Remove rows, with examples. `{}` in `because` is where the row that it is held against stands."""
        before = int(self._alive.sum())
        self._alive[places] = False
        self._tally.step(step, before, before - len(places))
        for at, place in enumerate(places.tolist()):
            if not self._tally.wants(reason):
                self._tally.count(reason, len(places) - at)
                return
            row = self._staging.row(place)
            where = self._staging.row(int(against[place])).source if against is not None else ""
            said = because.replace("{labels}", ", ".join(row.labels)).replace("{}", where)
            self._tally.remove(reason, row.text, row.source, said)
