"""The data sheet of a dataset, in Markdown: what is in it, where it came from, and what was left out and why.

In the way of "Datasheets for Datasets" (Gebru et al. 2021), as far as a program can answer its questions.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from concertino.datasets.folder import DatasetManifest, Part
from concertino.datasets.gather import Gathered
from concertino.datasets.tally import Tally
from concertino.recipe import PersonalData, Recipe

_LABELS_SHOWN = 200
_BAR = 30
_DONE = {
    PersonalData.KEEP: "kept as it is",
    PersonalData.SCRUB: "replaced by its kind in brackets",
    PersonalData.DROP: "removed with its row",
}


class Contents(Struct):
    """What was counted while the parts were written."""

    labels: dict[str, Counter[Part]]
    """Label -> part -> rows."""
    lengths: Counter[int]
    """n -> rows of 2 ** (n - 1) to 2 ** n - 1 characters."""
    background: dict[str, int]
    """Path -> texts."""
    paraphrases: str
    """A sentence on whether paraphrases of evaluation sets were looked for."""
    background_personal: int = 0
    """Background texts that held personal data, and were scrubbed or dropped."""


def datasheet(recipe: Recipe, manifest: DatasetManifest, tally: Tally, gathered: Gathered, contents: Contents) -> str:
    """The whole sheet."""
    sections = (
        _head(recipe, manifest),
        _warnings(tally),
        _parts(manifest),
        _steps(tally),
        _removed(tally),
        _labels(manifest, contents),
        _lengths(contents),
        _personal(recipe, gathered, contents),
        _contamination(recipe, contents),
        _background(contents),
        _sources(manifest, gathered),
        _again(recipe, manifest),
    )
    return "\n".join(line for section in sections for line in section)


def _head(recipe: Recipe, manifest: DatasetManifest) -> Iterator[str]:
    rows = sum(info.rows for part, info in manifest.parts.items() if part is not Part.BACKGROUND)
    yield f"# Data sheet: {recipe.name}\n"
    yield f"{recipe.description}\n"
    kind = "an answer" if recipe.free_text else f"one or more of {len(manifest.labels)} labels"
    yield f"{_number(rows)} rows, each a text with {kind}. Curated {manifest.created}.\n"


def _warnings(tally: Tally) -> Iterator[str]:
    if tally.warnings:
        yield "## Look at this first\n"
        yield from (f"- {warning}" for warning in tally.warnings)
        yield ""


def _parts(manifest: DatasetManifest) -> Iterator[str]:
    yield "## Parts\n"
    yield from _table(
        ("part", "rows", "SHA-256"),
        ((part.value, _number(info.rows), f"`{info.sha256[:16]}`") for part, info in manifest.parts.items()),
    )


def _steps(tally: Tally) -> Iterator[str]:
    yield "## Rows before and after each step\n"
    yield from _table(
        ("step", "before", "after", "removed"),
        (
            (each.name, _number(each.before), _number(each.after), _number(each.before - each.after))
            for each in tally.steps
        ),
    )


def _removed(tally: Tally) -> Iterator[str]:
    yield "## Removed, and why\n"
    if not tally.reasons:
        yield "Nothing was removed.\n"
        return
    yield "`removed.jsonl` has up to 50 of each; here is the first.\n"
    rows = []
    for reason, count in tally.reasons.most_common():
        example = tally.example(reason)
        if example is not None:
            rows.append(
                (reason, _number(count), _cell(example.source), _cell(example.text[:100]), _cell(example.because[:160]))
            )
    yield from _table(("reason", "rows", "for one", "text", "because"), rows)


def _labels(manifest: DatasetManifest, contents: Contents) -> Iterator[str]:
    if not contents.labels:
        return
    yield "## Labels\n"
    parts = [part for part in manifest.parts if part is not Part.BACKGROUND]
    ranked = sorted(manifest.labels.items(), key=lambda item: (-item[1], item[0]))
    total = sum(manifest.labels.values())
    yield from _table(
        ("label", "rows", "share", *(part.value for part in parts)),
        (
            (
                _cell(label),
                _number(rows),
                f"{rows / total:.1%}",
                *(_number(contents.labels[label][part]) for part in parts),
            )
            for label, rows in ranked[:_LABELS_SHOWN]
        ),
    )
    if len(ranked) > _LABELS_SHOWN:
        yield f"{len(ranked) - _LABELS_SHOWN} more labels are in `dataset.json`.\n"


def _lengths(contents: Contents) -> Iterator[str]:
    yield "## Lengths\n"
    most = max(contents.lengths.values(), default=1)
    low, high = min(contents.lengths, default=0), max(contents.lengths, default=0)
    yield from _table(
        ("characters", "rows", ""),
        (
            (f"{2 ** (n - 1) if n else 0}-{2**n - 1}", _number(rows), "█" * -(-rows * _BAR // most))
            for n in range(low, high + 1)
            for rows in [contents.lengths[n]]
        ),
    )


def _personal(recipe: Recipe, gathered: Gathered, contents: Contents) -> Iterator[str]:
    yield "## Personal data\n"
    done = _DONE[recipe.data.personal_data]
    if contents.background_personal:
        yield f"{_number(contents.background_personal)} background texts held some, which was {done}."
    if not gathered.personal:
        yield "None was found in rows. What the detector misses is in docs/policy.md.\n"
        return
    yield f"{_number(gathered.with_personal)} rows held some, which was {done}{_named(recipe)}."
    yield "What the detector misses is in docs/policy.md.\n"
    yield from _table(("kind", "found"), ((kind, _number(count)) for kind, count in gathered.personal.most_common()))


def _named(recipe: Recipe) -> str:
    return "" if recipe.data.personal_data is PersonalData.KEEP else "; an id or a group that was some is a hash now"


def _contamination(recipe: Recipe, contents: Contents) -> Iterator[str]:
    yield "## Evaluation sets\n"
    if not recipe.data.decontaminate:
        yield "None was named. Against the test part, rows were compared as exact and near-duplicates.\n"
        return
    listed = ", ".join(f"`{path}`" for path in recipe.data.decontaminate)
    yield "Rows outside of the test part share no text, no run of 13 words and not half of their runs of 8 words with"
    yield f"{listed}."
    yield f"{contents.paraphrases}\n"


def _background(contents: Contents) -> Iterator[str]:
    if contents.background:
        yield "## Background: texts that the skill is not for\n"
        yield from _table(
            ("path", "texts"), ((_cell(path), _number(rows)) for path, rows in contents.background.items())
        )


def _sources(manifest: DatasetManifest, gathered: Gathered) -> Iterator[str]:
    yield "## Sources\n"
    yield from _table(
        ("file", "rows read", "bytes", "licence", "origin", "SHA-256"),
        (
            (
                _cell(each.path),
                _number(each.rows),
                _number(each.bytes),
                _cell(each.licence) or "not given",
                _cell(each.origin) or "not given",
                f"`{each.sha256[:16]}`",
            )
            for each in manifest.sources
        ),
    )
    if gathered.encodings:
        listed = ", ".join(f"{name} ({count})" for name, count in gathered.encodings.most_common())
        yield f"Encodings, by files: {listed}."
    for path, count in gathered.bad_bytes.items():
        yield f"`{path}` has {_number(count)} bytes in no encoding; each was replaced by U+FFFD."
    yield ""


def _again(recipe: Recipe, manifest: DatasetManifest) -> Iterator[str]:
    yield "## How to make it again\n"
    yield f"`concertino curate` with a recipe of digest `{recipe.data_digest[:16]}` and files of the hashes above gives"
    yield f"the content `{manifest.content[:16]}`, byte for byte.\n"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _cell(text: str) -> str:
    """Text that cannot leave its cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _number(value: int) -> str:
    return f"{value:,}"
