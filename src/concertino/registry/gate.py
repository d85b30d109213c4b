"""The promotion gate: what a version must show before it serves, and each reason why it may not."""

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from concertino.errors import PromotionRefused
from concertino.models.adapters import AdapterManifest
from concertino.recipe import Metric, Recipe

TEST = "test"
GENERALIST = "generalist"
CLASSICAL = "classical"
SPECIALIST = "specialist"
MIN_LABEL_ROWS = 20
"""Test rows of a label from which a loss on it counts."""
MIN_ROWS = 20
"""Rows that both answered, from which a gain counts: on fewer the bootstrap's interval is far too narrow, and on rows
that are all alike it has no width at all."""
MOST_P = 0.05
_SHOWN = 3


class Runner(Struct, frozen=True):
    """A runner of evaluation.json: what it is, and its figure with a 95 % interval."""

    name: str
    kind: str
    rows: int
    value: float
    lower: float
    upper: float
    cpu_s: float | None = None


class Against(Struct, frozen=True):
    """The specialist against another runner on the rows that both answered; the interval is at 95 %."""

    name: str
    rows: int
    difference: float
    lower: float
    upper: float
    cpu_ratio: float | None = None
    p: float | None = None
    """Of the paired test that the two are alike; None in a report that has none."""
    labels: int | None = None
    """Different labels that the rows have; None for free text, and in a report that does not say."""


class Threshold(Struct, frozen=True):
    threshold: float | None = None
    abstention: str = ""
    note: str = ""
    temperature: float = 1.0
    alpha: float = 0.05


class OnTest(Struct, frozen=True):
    coverage: float
    risk: float | None = None


class OutOfScope(Struct, frozen=True):
    rows: int
    answered: float | None = None


class Report(Struct, frozen=True):
    """What the gate reads of evaluation.json; it has more."""

    name: str
    part: str
    metric: str
    recipe_digest: str
    dataset_content: str
    adapter: str
    """SHA-256 of the adapter.json that was evaluated."""
    rows: int
    runners: tuple[Runner, ...]
    comparisons: tuple[Against, ...] = ()
    calibration: Threshold = Threshold()
    on_test: OnTest | None = None
    out_of_scope: OutOfScope | None = None
    scope_threshold: float | None = None
    text_temperature: float | None = None
    right_score: float = 0.0
    command: str = ""
    created: str = ""

    @property
    def specialist(self) -> Runner | None:
        return next((runner for runner in self.runners if runner.kind == SPECIALIST), None)

    def against(self, kind: str) -> list[Against]:
        """The comparisons with runners of a kind."""
        names = {runner.name for runner in self.runners if runner.kind == kind}
        return [found for found in self.comparisons if found.name in names]


class LabelChange(Struct, frozen=True):
    """How often a label's rows are right, against the incumbent; the interval is at 95 %."""

    rows: int
    difference: float
    lower: float
    upper: float


class Incumbent(Struct, frozen=True):
    """The candidate against the version that serves, paired on the test rows that both answered."""

    version: str
    rows: int
    difference: float
    lower: float
    upper: float
    labels: dict[str, LabelChange] = field(default_factory=dict)
    p: float | None = None
    """Of the paired test that the two are alike."""


class Evidence(Struct, frozen=True):
    """All that the gate judges by."""

    recipe: Recipe
    report: Report
    adapter: AdapterManifest
    adapter_sha256: str
    """Of the run's adapter.json now."""
    trained_dataset: str
    """Content hash of the dataset that the run was trained on."""
    dataset: str
    """Content hash of the dataset that was given."""
    base_hashes: frozenset[str]
    """SHA-256 of the catalogue's files of the base; empty where it has no such model."""
    leaks: tuple[str, ...] = ()
    """Pairs of a test row and a training row that are the same, or nearly."""
    incumbent: Incumbent | None = None
    accepted: str = ""
    """Why a version that no classical baseline is beaten by may serve all the same."""


class Check(Struct, frozen=True):
    """One condition, whether it is met, and the figures."""

    name: str
    passed: bool
    said: str


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Every condition of the gate, met or not."""
    return (*_same_things(evidence), _leaks(evidence), *_gain(evidence), *_regressions(evidence), *_worth(evidence))


def insist(name: str, checks: Sequence[Check]) -> None:
    """Raises PromotionRefused that lists every condition that is not met."""
    failed = [check for check in checks if not check.passed]
    if failed:
        listed = "\n".join(f"  {check.name}: {check.said}" for check in failed)
        raise PromotionRefused(
            f"{name} was not promoted, and what serves is unchanged. {len(failed)} of {len(checks)} conditions are not "
            f"met:\n{listed}"
        )


def _same_things(evidence: Evidence) -> Iterator[Check]:
    """Whether recipe, dataset, adapter and base are those that were measured."""
    recipe, report = evidence.recipe, evidence.report
    yield Check(
        "recipe",
        report.name == recipe.name and report.recipe_digest == recipe.digest,
        f"{report.name} was evaluated by recipe {report.recipe_digest[:12]}, and this is {recipe.name} "
        f"{recipe.digest[:12]}. Evaluate again if they differ.",
    )
    same = evidence.dataset == report.dataset_content == evidence.trained_dataset
    yield Check(
        "dataset",
        same,
        f"given {evidence.dataset[:12]}, trained on {evidence.trained_dataset[:12]}, evaluated on "
        f"{report.dataset_content[:12]}. All three must be the same.",
    )
    yield Check(
        "adapter",
        evidence.adapter_sha256 == report.adapter,
        f"the run's adapter is {evidence.adapter_sha256[:12]}, the one evaluated {report.adapter[:12]}. "
        "Evaluate again if they differ.",
    )
    known = ", ".join(sorted(digest[:12] for digest in evidence.base_hashes)) or "no such model"
    yield Check(
        "base",
        evidence.adapter.base_sha256 in evidence.base_hashes,
        f"trained on {evidence.adapter.base} {evidence.adapter.base_sha256[:12]}; the catalogue has {known}.",
    )
    yield Check("part", report.part == TEST, f"measured on {report.rows} rows of the part {report.part}.")


def _leaks(evidence: Evidence) -> Check:
    shown = "; ".join(evidence.leaks[:_SHOWN])
    said = f"{len(evidence.leaks)} test rows are in the training part too, or nearly{': ' if shown else '.'}{shown}"
    return Check("leaks", not evidence.leaks, said)


def _gain(evidence: Evidence) -> Iterator[Check]:
    """The lower bound of the gain over what serves, or over the best that a prompted model does, on enough rows.

    The paired test counts too, since the bootstrap's interval is too narrow on few rows; but not for a margin below 0,
    which asks that next to nothing is lost, and not that something is gained.
    """
    margin = evidence.recipe.promotion.margin
    over: Incumbent | Against
    if evidence.incumbent is not None:
        over, name = evidence.incumbent, f"version {evidence.incumbent.version[:12]}"
    else:
        prompted = evidence.report.against(GENERALIST)
        if not prompted:
            yield Check("gain", False, "not measured against the generalist. Evaluate without --no-generalist.")
            return
        over = min(prompted, key=lambda found: found.lower)
        name = over.name
    enough = f"{over.rows} rows were answered by both it and {name}; {MIN_ROWS} are the fewest that show anything."
    of_one = isinstance(over, Against) and over.labels == 1 and evidence.report.metric == Metric.MACRO_F1
    if of_one:
        enough += " They all have one label, which shows nothing of the others: raise evaluation.generalist_rows."
    yield Check("rows", over.rows >= MIN_ROWS and not of_one, enough)
    bounds = f"at 95 % from {over.lower:+.3f} to {over.upper:+.3f}"
    wanted, certain = f"the lower bound must be above {margin:g}", True
    if over.p is not None and margin >= 0:
        bounds, wanted, certain = f"{bounds}, p {over.p:.4f}", f"{wanted}, and p below {MOST_P:g}", over.p < MOST_P
    said = f"{over.difference:+.3f} over {name} on {over.rows} rows, {bounds}; {wanted}."
    yield Check("gain", over.lower > margin and certain, said)


def _regressions(evidence: Evidence) -> Iterator[Check]:
    """Labels on which the candidate does worse than what serves, beyond what chance explains."""
    if evidence.incumbent is None:
        return
    bound = evidence.recipe.promotion.max_regression
    counted = {k: change for k, change in evidence.incumbent.labels.items() if change.rows >= MIN_LABEL_ROWS}
    lost = {label: change for label, change in counted.items() if change.upper < -bound}
    shown = "; ".join(
        f"{label} {change.difference:+.3f} (at most {change.upper:+.3f}, {change.rows} rows)"
        for label, change in sorted(lost.items(), key=lambda item: item[1].difference)
    )
    said = f"{len(lost)} of {len(counted)} labels lose more than {bound:g} for certain{': ' + shown if shown else '.'}"
    yield Check("regression", not lost, said)


def _worth(evidence: Evidence) -> Iterator[Check]:
    """Whether it costs less than the generalist, and whether simpler means would do."""
    most, report = evidence.recipe.promotion.max_cpu_ratio, evidence.report
    ratios = [found.cpu_ratio for found in report.against(GENERALIST) if found.cpu_ratio is not None]
    said = f"{max(ratios):.4f} of the generalist's CPU seconds" if ratios else "not measured against the generalist"
    yield Check("cpu", bool(ratios) and max(ratios) <= most, f"{said}; at most {most:g} is allowed.")
    classical = report.against(CLASSICAL)
    beaten = bool(classical) and all(found.difference > 0 for found in classical)
    shown = ", ".join(f"{found.difference:+.3f} over {found.name}" for found in classical) or "no baseline was measured"
    if evidence.accepted:
        yield Check("baselines", True, f"{shown}; accepted: {evidence.accepted}")
        return
    yield Check(
        "baselines", beaten, f"{shown}. {'' if beaten else 'If it shall serve all the same, say why with --accept.'}"
    )
