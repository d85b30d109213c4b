"""Judge any router on labelled rows of a team's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.router.alternatives import METHODS
from concertino.router.base import Router
from concertino.router.fitted import MANIFEST
from concertino.router.linear import LinearRouter
from concertino.training.routing.examples import NOBODY, Example, Fields, Trouble, read_examples
from concertino.training.routing.own_figures import (
    Judged,
    Latency,
    OwnFigures,
    from_rankings,
    own_figures,
    time_decisions,
)
from concertino.training.routing.report import Bin, Wrong, reliability
from concertino.types import Message, Role

_AT_ONCE = 256


class JudgedExamples(Struct, frozen=True):
    """What `concertino router evaluate --examples` found. `wrong` has the surest mistakes first, by the probability of
    what was chosen. `confusion[label][chosen]` counts rows; who abstains chooses `nobody`."""

    name: str
    figures: OwnFigures
    troubles: tuple[Trouble, ...]
    confusion: dict[str, dict[str, int]]
    reliability: tuple[Bin, ...]
    wrong: tuple[Wrong, ...]
    latency: Latency


def open_router(folder: Path | None) -> Router:
    """The router of a folder that `concertino router train` or `fit` wrote; None is the shipped head.

    Raises ConfigurationError for a folder that holds none.
    """
    if folder is None or not (folder / MANIFEST).exists():
        return LinearRouter(weights=folder)
    try:
        method = msgspec.json.decode((folder / MANIFEST).read_bytes())["method"]
        return METHODS[method](weights=folder)
    except (OSError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder / MANIFEST} cannot be read ({error!r}); make it again with `concertino router fit`",
            param="weights",
        ) from error


def judge_own(path: Path, weights: Path | None, fields: Fields, note: Callable[[str], None]) -> JudgedExamples:
    """Raises DataRefused for a file without usable rows, ConfigurationError for a router that cannot be opened."""
    router, read = open_router(weights), read_examples(path, fields)
    for trouble in read.troubles:
        note(f"{read.name}: {trouble}")
    known = router.rank([[Message(Role.USER, "")]])[0].scores.keys()
    strange = [name for name in read.domains if name not in known]
    if strange:
        note(f"{read.name}: the router does not know {', '.join(strange)}; their rows count as wrong")
    rankings = []
    note(f"routing {len(read.rows)} rows")
    for start in range(0, len(read.rows), _AT_ONCE):
        rankings += router.rank([[Message(Role.USER, row.text)] for row in read.rows[start : start + _AT_ONCE]])
    judged = from_rankings(rankings, read.domains)
    wrong = [
        Wrong(row.text, row.label or NOBODY, name or NOBODY, float(sure), row.place)
        for row, name, sure in zip(read.rows, judged.chosen, judged.sureness, strict=True)
        if name != row.label
    ]
    right = np.array([name == row.label for row, name in zip(read.rows, judged.best, strict=True)])
    return JudgedExamples(
        read.name,
        own_figures(read.rows, judged),
        read.troubles,
        _confusion(read.rows, judged),
        reliability(judged.confidence, right),
        tuple(sorted(wrong, key=lambda item: -item.confidence)),
        time_decisions(router, [row.text for row in read.rows[:50]]),
    )


def _confusion(rows: Sequence[Example], judged: Judged) -> dict[str, dict[str, int]]:
    labels = [row.label or NOBODY for row in rows]
    chosen = [name or NOBODY for name in judged.chosen]
    names = sorted({*labels, *chosen}, key=lambda name: (name == NOBODY, name))
    found = {label: dict.fromkeys(names, 0) for label in names if label in labels}
    for label, name in zip(labels, chosen, strict=True):
        found[label][name] += 1
    return found
