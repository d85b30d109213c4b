"""The details behind a router's figures: confusion, reliability, what went wrong, and how long each tier takes."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.router.descriptions import Described, DescriptionTier
from concertino.router.linear import FALLBACK, LinearRouter
from concertino.training.routing.data import CLASSES, Row
from concertino.training.routing.figures import ABSTAINED_TO, BINS, auroc
from concertino.types import Message, Role, Tier


class Bin(Struct, frozen=True):
    """One bar of a reliability diagram: rows whose confidence lies from `low` to `high`."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


class Wrong(Struct, frozen=True):
    """A row that went elsewhere than its label."""

    text: str
    label: str
    chosen: str
    confidence: float
    source: str


class Details(Struct, frozen=True):
    """One part in detail. `confusion[label][chosen]` counts rows; an abstention counts as `general`.

    `ood_auroc` says how well the highest probability of a domain other than `general` separates the rows of those
    domains from the rows that are nobody's (0.5 is chance).
    """

    confusion: dict[str, dict[str, int]]
    reliability: tuple[Bin, ...]
    ood_auroc: float
    wrong: tuple[Wrong, ...]
    """Surest first."""


class TierSpeed(Struct, frozen=True):
    """Share of the rows that a tier decided, and milliseconds that a decision takes as far as that tier."""

    share: float
    p50_ms: float
    p99_ms: float


def details(router: LinearRouter, rows: Sequence[Row], probabilities: np.ndarray) -> Details:
    """What `[rows, classes]` probabilities come to."""
    classes = list(router.manifest.classes)
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    chosen = [
        classes[place] if sure >= router.threshold else ABSTAINED_TO
        for place, sure in zip(best.tolist(), confidence.tolist(), strict=True)
    ]
    confusion = {label: dict.fromkeys(classes, 0) for label in classes}
    wrong = []
    for row, name, sure in zip(rows, chosen, confidence.tolist(), strict=True):
        confusion[row.label][name] += 1
        if name != row.label:
            wrong.append(Wrong(row.text, row.label, name, sure, row.source))
    right = np.array([classes[place] == row.label for place, row in zip(best.tolist(), rows, strict=True)])
    domains = [place for place, name in enumerate(classes) if name != FALLBACK]
    inside = np.array([row.label != FALLBACK for row in rows])
    return Details(
        confusion,
        reliability(confidence, right),
        auroc(probabilities[:, domains].max(axis=1), inside),
        tuple(sorted(wrong, key=lambda item: -item.confidence)),
    )


def reliability(confidence: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """The bins of the expected calibration error that have rows."""
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = places == number
        if inside.any():
            bins.append(
                Bin(number / BINS, (number + 1) / BINS, int(inside.sum()),
                    float(confidence[inside].mean()), float(right[inside].mean()))
            )  # fmt: skip
    return tuple(bins)


def tier_speeds(
    router: LinearRouter, probabilities: np.ndarray, asked: Collection[int], unsure: Sequence[str], rounds: int = 200
) -> dict[str, TierSpeed]:
    """What each tier decided of a part with these `[rows, classes]` probabilities, and how long that takes.

    `asked` are the places of the rows whose neighbours were; `unsure` are short texts whose neighbours are, which are
    timed. The head is timed on one short question, and so is a described specialist that is asked for as well; the
    team of the measurement has nobody but the head's domains, so that tier has no share.
    """
    tier = DescriptionTier([Described("hr", "Human resources: leave, salary, benefits, hiring.")])
    plain = "How do I reverse a linked list without recursion?"

    def timed(texts: Sequence[str], refined: bool = False) -> tuple[float, float]:
        taken = []
        for number in range(rounds + 20):
            conversation = [[Message(Role.USER, texts[number % len(texts)])]]
            start = time.perf_counter()
            rankings = router.rank(conversation)
            if refined:
                tier.refine(conversation, rankings, [("hr",)])
            taken.append((time.perf_counter() - start) * 1e3)
        return float(np.percentile(taken[20:], 50)), float(np.percentile(taken[20:], 99))

    abstained = probabilities.max(axis=1) < router.threshold
    looked = np.isin(np.arange(len(probabilities)), list(asked))
    found = {Tier.LINEAR.value: TierSpeed(float((~abstained & ~looked).mean()), *timed([plain]))}
    if unsure:
        found[Tier.NEIGHBOURS.value] = TierSpeed(float((~abstained & looked).mean()), *timed(unsure))
    found[Tier.DEFAULT.value] = TierSpeed(float(abstained.mean()), *timed(unsure or [plain]))
    found[Tier.DESCRIPTIONS.value] = TierSpeed(0.0, *timed([plain], refined=True))
    return found


def read_questions(path: Path) -> list[Row]:
    """Labelled questions, `{"text", "label"}` a line. Raises ConfigurationError that names the line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(f"cannot read the questions {path}: {error}", param="questions") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            found = msgspec.json.decode(line, type=dict[str, object]) if line.strip() else None
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"{path.name}, line {number}: {error}", param="questions") from error
        if found is None:
            continue
        text, label = found.get("text"), found.get("label")
        if not isinstance(text, str) or label not in CLASSES:
            raise ConfigurationError(
                f"{path.name}, line {number}: needs a text and a label of {', '.join(CLASSES)}", param="questions"
            )
        rows.append(Row(text, str(label), text, path.stem))
    return rows


def draw_reliability(parts: Mapping[str, Sequence[Bin]], path: Path) -> None:
    """Write a reliability diagram of each part as one PNG. Raises ConfigurationError without matplotlib, or where it
    cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError("a plot needs matplotlib: pip install 'concertino[evaluate]'", param="plot") from error
    figure = Figure(figsize=(4.2 * len(parts), 4.0), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display, and leaves pyplot's global state alone
    for place, (name, part) in enumerate(parts.items()):
        axes = figure.add_subplot(1, len(parts), place + 1)
        total = max(1, sum(item.rows for item in part))
        axes.plot([0, 1], [0, 1], linestyle="--", color="grey", linewidth=1)
        axes.bar(
            [item.low for item in part], [item.accuracy for item in part],
            width=1 / BINS, align="edge", edgecolor="white", label="right",
        )  # fmt: skip
        axes.step(
            [item.low for item in part], [item.rows / total for item in part],
            where="post", color="black", linewidth=1, label="share of rows",
        )  # fmt: skip
        axes.set(title=name, xlabel="confidence", ylabel="share", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the plot cannot be written to {path}: {error}", param="plot") from error
