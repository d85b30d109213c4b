"""Why a text goes where it goes: what its words add, the descriptions that fit, and the nearest training examples."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.router.alternatives import FittedRouter, LogisticRouter
from concertino.router.base import Router
from concertino.router.descriptions import Evidence
from concertino.router.explain import Neighbour, WordWeight, explain
from concertino.router.fitted import EXAMPLES, Vectors
from concertino.router.linear import LinearRouter
from concertino.training.routing.data import CLASSES, SEEDS, load_splits
from concertino.training.routing.vectors import Rows, remembered
from concertino.types import Decision, Message, Role, Tier

DRAWN = 3000
"""Training rows of the data folder that are looked at beside the others."""

Note = Callable[[str], None]


class TextExplanation(Struct, frozen=True):
    """What `concertino router explain` shows. `decision` is that of `concertino route`."""

    decision: Decision
    best: str | None
    """The router's likeliest domain; `words` say what each word adds to its log-odds. None where it was not asked, or
    is of a kind that cannot be asked so."""
    words: tuple[WordWeight, ...]
    described: tuple[Evidence, ...]
    nearest: tuple[Neighbour, ...]
    examples: str
    """Whose `nearest` are, or why there are none."""


class Bank(Struct, frozen=True):
    """The examples that a router was made of, as far as they are there, and what compares texts as it does."""

    name: str
    rows: Rows
    encoder: Vectors
    encoder_sha256: str


def explain_text(
    text: str,
    decision: Decision,
    router: Router,
    described: Sequence[Evidence],
    folder: Path | None,
    count: int,
    *,
    home: Path,
    data_dir: Path | None = None,
    note: Note,
) -> TextExplanation:
    """Explain a decision by the router that had a part in it, which `folder` holds (None: the package).

    Vectors of examples are kept in `home`, so that they are made once. Raises ConfigurationError for damaged examples.
    """
    if decision.tier is Tier.POLICY:
        return TextExplanation(decision, None, (), (), (), "the router was not asked")
    best, words = None, tuple[WordWeight, ...]()
    if isinstance(router, LinearRouter | FittedRouter):
        # Whatever was fitted has probabilities of texts, which is all that is asked of it.
        found = explain(cast(LogisticRouter, router), [Message(Role.USER, text)])
        best, words = found.best, found.words
    if not count:
        return TextExplanation(decision, best, words, tuple(described), (), "none were asked for")
    bank = bank_of(router, folder, data_dir, note)
    if bank is None:
        nothing = f"no examples are stored with the router{f' in {folder}' if folder else ''}"
        return TextExplanation(decision, best, words, tuple(described), (), nothing)
    nearest = neighbours(text, count, bank, home, note)
    return TextExplanation(decision, best, words, tuple(described), tuple(nearest), bank.name)


def bank_of(router: Router, folder: Path | None, data_dir: Path | None, note: Note) -> Bank | None:
    """The examples of the head of the package, of weights that `concertino router train` wrote, or of a folder that
    holds its own; None where there are none. The data folder's count where the router knows no other domains."""
    if isinstance(router, LinearRouter):
        files = router.manifest.files
        encoder: Vectors = router.encoder
        key, rows, name = " ".join(files[file] for file in sorted(files)), read_rows(SEEDS), "questions of the package"
    elif isinstance(router, FittedRouter) and folder is not None:
        encoder, key = router.encoder, router.manifest.encoder_sha256
        stored = folder / EXAMPLES
        rows, name = (read_rows(stored), f"examples in {folder}") if stored.exists() else ([], "")
    else:
        return None
    if data_dir is not None and set(router.domains) <= set(CLASSES):
        train = load_splits(data_dir, note).train
        drawn = random.Random(7).sample(train, min(DRAWN, len(train)))  # noqa: S311
        rows += [(row.text, row.label) for row in drawn]
        name = " and ".join(filter(None, (name, f"a draw of {data_dir}")))
    return Bank(name, rows, encoder, key) if rows else None


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Texts with their labels. Raises ConfigurationError for a file of something else."""
    try:
        lines = (json.loads(line) for line in path.read_text("utf-8").split("\n") if line)
        return [(line["text"], line["label"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"the examples in {path} cannot be read: {error!r}", param="weights") from error


def neighbours(text: str, count: int, bank: Bank, home: Path, note: Note) -> list[Neighbour]:
    """The examples whose vectors are nearest."""
    vectors = remembered(bank.rows, bank.encoder, bank.encoder_sha256, home, note)
    likeness = vectors @ bank.encoder.whole([text])[0]
    order = (-likeness).argsort(kind="stable")[:count]
    found = ((*bank.rows[place], float(likeness[place])) for place in order.tolist())
    return [Neighbour(known, label, near) for known, label, near in found]
