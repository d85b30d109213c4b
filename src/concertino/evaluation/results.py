"""What an evaluation found: the content of evaluation.json."""

from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.errors import EvaluationRefused
from concertino.evaluation.metrics import Bin, RiskCoverage
from concertino.programs.outcome import Outcome
from concertino.recipe import Metric

FOLDER = "evaluation"
"""Below the run's folder."""
REPORT = "evaluation.json"


class Kind(StrEnum):
    """What a runner is."""

    SPECIALIST = "specialist"
    BASE = "base"
    """The specialist's base model without its adapter, or a base that is measured by itself."""
    GENERALIST = "generalist"
    CLASSICAL = "classical"


class RunnerResult(Struct, frozen=True):
    """What one runner did on its rows. Shares lie between 0 and 1; None means not known or not applicable."""

    name: str
    kind: Kind
    about: str
    """What it is, in a sentence."""
    rows: int
    metric: Metric
    value: float
    lower: float
    upper: float
    """95 % interval of `value`: Wilson's for a share of rows, else percentile bootstrap over groups."""
    right: int | None
    """Rows answered rightly, whatever the metric; None where answers are graded, and nobody said what is right."""
    accuracy: float | None
    macro_f1: float | None
    format_failures: int
    """Answers in no acceptable form; they count as wrong, and are not among the wrong labels."""
    cpu_s: float | None
    """Median CPU seconds of a request, user and system, of the engine's process and of this one."""
    latency_p50_s: float | None
    latency_p95_s: float | None
    prompt_tokens: float | None
    """Mean tokens read a request."""
    completion_tokens: float | None
    price_per_1000: float | None
    """Of 1,000 requests at the configured prices."""
    currency: str
    joules: float | None
    """Mean energy of the whole machine's processors during a request."""
    ece: float | None
    aurc: float | None
    answer_auroc: float | None
    """How well its confidence separates right from wrong answers."""
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    """Of programs: how their tests ended -> rows."""
    values_f1: float | None = None
    """Of the metric `values`: the mean share of the expected values that an answer has, with words and numbers compared
    one by one."""
    grades: dict[Metric, float] = field(default_factory=dict)
    """Of prose: the mean score by each graded metric."""
    quartiles: tuple[float, float, float] | None = None
    """Of prose: a quarter, half and three quarters of the answers have at most this score by the metric."""


class Comparison(Struct, frozen=True):
    """The specialist against another runner, on the rows that both answered."""

    name: str
    """The other runner."""
    rows: int
    metric: Metric
    difference: float
    """The specialist's figure minus the other's."""
    lower: float
    upper: float
    """95 % interval by a paired bootstrap over groups, 10,000 resamples."""
    p: float
    holm_p: float
    """Adjusted for all comparisons of this report."""
    test: str
    """`mcnemar-exact`, `mcnemar-corrected`, `paired-bootstrap` or `paired-permutation`."""
    only_specialist: int
    only_other: int
    """Discordant pairs: rows that one alone got right, or where its score is higher."""
    discordant: int
    cpu_ratio: float | None
    """The specialist's median CPU seconds as a share of the other's."""
    labels: int | None = None
    """Different labels that these rows have; None for free text, and in older reports."""


class Abstention(StrEnum):
    FITTED = "fitted"
    UNPROVEN = "unproven"
    """A threshold above which clearly fewer answers erred than alpha, on too few rows to promise it."""
    INFEASIBLE = "infeasible"
    """No threshold on the grid keeps the promise, so none is set."""
    NOT_APPLICABLE = "not_applicable"
    """The skill has no confidence."""


class Calibration(Struct, frozen=True):
    """A temperature and a threshold, and what they cost. Fitted on the calibration part."""

    abstention: Abstention
    threshold: float | None
    alpha: float
    confidence: float
    """Of the promise: with this probability over calibration parts, answers given err at most alpha."""
    temperature: float
    rows: int
    base_risk: float
    """Errors on the calibration part when everything is answered."""
    must_abstain: float
    """At least so much must be abstained from if the base risk is above alpha: (m - alpha) / (1 - alpha)."""
    coverage: float | None
    risk: float | None
    risk_bound: float | None
    """Clopper-Pearson upper bound on the calibration part, one-sided at `confidence`."""
    tested: int
    """Thresholds that the fixed sequence looked at."""
    note: str = ""


class OnTest(Struct, frozen=True):
    """What the threshold does on the part that was evaluated."""

    coverage: float
    risk: float | None
    risk_bound: float | None
    answered: int
    errors: int


class OutOfScope(Struct, frozen=True):
    """Questions of other domains: what the skill should not answer."""

    rows: int
    answered: float | None
    """Share at or above the thresholds; None without one, when every text is answered."""
    auroc: float | None
    """How well the confidence separates the skill's own texts from these."""
    examples: list[tuple[str, str, float]]
    """The surest: text, answer, confidence."""
    scope_auroc: float | None = None
    """The same of the scope alone, where a skill tells it apart from its confidence."""


class LabelResult(Struct, frozen=True):
    label: str
    rows: int
    right: int
    precision: float
    recall: float
    f1: float
    others: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Other runners on this label's shared rows: rows, right."""


class Confusion(Struct, frozen=True):
    truth: str
    answer: str
    rows: int


class Example(Struct, frozen=True):
    """An answer in prose beside the row's, by which people see what a score is worth."""

    text: str
    expected: str
    answer: str | None
    score: float


class Forgetting(Struct, frozen=True):
    """General questions before and after: the base with and without the adapter."""

    applicable: bool
    note: str
    rows: int = 0
    base: float | None = None
    adapted: float | None = None
    lower: float | None = None
    upper: float | None = None
    """95 % interval of adapted minus base."""
    p: float | None = None
    agreement: float | None = None
    """Share of questions on which both give the same answer."""


class PromptTried(Struct, frozen=True):
    """One way to prompt the generalist, on the selection rows."""

    name: str
    right: int
    rows: int
    format_failures: int
    chosen: bool
    score: float | None = None
    """The mean score, where answers are graded."""


class Looks(Struct, frozen=True):
    """How often the test part was looked at."""

    adapters: int
    evaluations: int


class EvaluationReport(Struct, frozen=True):
    """All that `concertino evaluate` found, as written to evaluation.json."""

    name: str
    """specialist/skill."""
    created: str
    part: str
    engine: str
    base: str
    metric: Metric
    recipe_digest: str
    dataset_content: str
    adapter: str
    """SHA-256 of adapter.json, which names the adapter's files by theirs."""
    rows: int
    shared_rows: int
    """Rows that the prompted models answered too."""
    groups: int
    runners: list[RunnerResult]
    comparisons: list[Comparison]
    calibration: Calibration
    on_test: OnTest | None
    out_of_scope: OutOfScope | None
    scope_threshold: float | None
    """Free text: from this scope on a question is answered; it says nothing of how right the answer is."""
    labels: list[LabelResult]
    confusions: list[Confusion]
    forgetting: Forgetting
    prompts: list[PromptTried]
    looks: Looks
    energy: str
    """How energy was read, or why it is unknown."""
    machine: str
    command: str
    notes: list[str]
    curves: dict[str, RiskCoverage] = field(default_factory=dict)
    reliability: list[Bin] = field(default_factory=list)
    left_out: int = 0
    """Rows of the part that were not measured on, since their own answers do not pass their tests."""
    text_temperature: float | None = None
    """Free text: what makes the probability of an answer a confidence in it; None where there is none."""
    examples: list[Example] = field(default_factory=list)
    """Prose: the specialist's worst answers, some in the middle and the best."""
    right_score: float = 0.0
    """Prose: the score from which an answer counts as right; 0 where none does."""

    def runner(self, kind: Kind) -> RunnerResult | None:
        """The first runner of a kind."""
        return next((runner for runner in self.runners if runner.kind is kind), None)


class Pair(Struct, frozen=True):
    """Two bases on the same rows: `comparison` is of `first` (in the specialist's place) with the base it names."""

    first: str
    comparison: Comparison


class BasesReport(Struct, frozen=True):
    """All that `concertino evaluate --base` found, as written to evaluation.json."""

    name: str
    """specialist/skill."""
    created: str
    part: str
    metric: Metric
    recipe_digest: str
    dataset_content: str
    rows: int
    groups: int
    left_out: int
    """Rows that were passed over, since their own answers do not pass their tests."""
    runners: list[RunnerResult]
    """One for each base, with its best prompt."""
    pairs: list[Pair]
    """Each base with each later one; p-values are adjusted for all of them."""
    prompts: dict[str, list[PromptTried]]
    """Base -> the prompts tried on dev."""
    looks: Looks
    energy: str
    machine: str
    command: str
    notes: list[str]


def suffix_beside(run_folder: Path, report: EvaluationReport) -> str:
    """What the names of a report's four files end in, so that it takes the place of no fuller one.

    `-dev` for the dev part. `-partial` where the run folder has a report of the test part by the same recipe, dataset
    and adapter, on more rows or against runners that this one lacks. Else nothing.
    """
    if report.part != "test":
        return f"-{report.part}"
    try:
        there = read_report(run_folder)
    except EvaluationRefused:
        return ""
    about = [(one.adapter, one.dataset_content, one.recipe_digest, one.part) for one in (there, report)]
    lacking = {runner.name for runner in there.runners} - {runner.name for runner in report.runners}
    return "-partial" if about[0] == about[1] and (there.rows > report.rows or lacking) else ""


def read_report(run_folder: Path) -> EvaluationReport:
    """The report of an evaluated run. Raises EvaluationRefused where there is none."""
    path = run_folder / FOLDER / REPORT
    try:
        return msgspec.json.decode(path.read_bytes(), type=EvaluationReport)
    except (OSError, msgspec.DecodeError) as error:
        raise EvaluationRefused(f"{path} cannot be read: {error}. Run `concertino evaluate` first.") from error
