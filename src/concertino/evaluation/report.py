"""evaluation.json as Markdown, and the sentences that the HTML page shares with it."""

from collections.abc import Sequence
from pathlib import Path

from concertino.evaluation.results import (
    Abstention,
    Comparison,
    EvaluationReport,
    Example,
    Kind,
    LabelResult,
    PromptTried,
    RunnerResult,
)
from concertino.recipe import Metric

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "exact_match": "exact match",
    "command_template": "command form",
    "tests_pass": "tests passed",
    "values": "values",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}
_TELLS_RIGHT = ("right", "ECE", "AURC")
"""Columns that are empty where no answer counts as right or wrong."""
RUNNER_TITLES = (
    "runner", "figure", "95 %", "right", "format failures", "CPU a request", "p50", "p95", "tokens in / out",
    "1,000 requests", "energy", "ECE", "AURC",
)  # fmt: skip
PROMPT_TITLES = ("prompt", "reached", "format failures", "")
EXAMPLE_TITLES = ("score", "text", "the row's answer", "the specialist's answer")
LABEL_TITLES = ("label", "rows", "precision", "recall", "F1")


def comparison_titles(metric: Metric, first: str = "specialist", second: str = "other") -> tuple[str, ...]:
    """The titles of a table of comparisons, of which the last but one counts rows."""
    counted = f"rows higher / lower than {second}" if metric.graded else f"{first} alone / {second} alone"
    return ("against", "rows", "difference", "95 %", "p", "p (Holm)", "test", counted, "CPU ratio")


def verdict(report: EvaluationReport) -> str:
    """The result in a sentence or two."""
    mine = next(runner for runner in report.runners if runner.kind is Kind.SPECIALIST)
    said = f"{METRICS[report.metric]} {mine.value:.1%} ({mine.lower:.1%} to {mine.upper:.1%}) on {mine.rows} rows."
    better = [item.name for item in report.comparisons if item.lower > 0 and item.holm_p < 0.05]
    unproven = [item.name for item in report.comparisons if item.name not in better]
    if better:
        said += f" Better than {_listed(better)}."
    if unproven:
        said += f" Not shown to be better than {_listed(unproven)}."
    return said


def abstention_lines(report: EvaluationReport) -> list[str]:
    """What was fitted, whether it was feasible, what it does on the evaluated part."""
    found = report.calibration
    scope = []
    if report.scope_threshold is not None:
        scope = [f"Below a scope of {report.scope_threshold:.2f} a text counts as one that the skill is not for."]
    if report.text_temperature is not None:
        scope.append(
            "The confidence in an answer in free text is its probability by the model to the power of one over the "
            f"temperature {report.text_temperature:.3f}, less for a text of a scope below a half."
        )
    if found.abstention is Abstention.NOT_APPLICABLE:
        return [f"No threshold on how right an answer is: {found.note}", *scope]
    right = [right_line(report.right_score)] if report.right_score else []
    lines = [
        *right,
        *scope,
        f"Feasibility: {found.base_risk:.1%} of the {found.rows} calibration rows are wrong when all are answered; to "
        f"err on at most {found.alpha:.1%} of the answers given, at least {found.must_abstain:.1%} must be abstained "
        "from.",
        "Thresholds were tested in an order fixed beforehand, from the most confident downward, each at the full "
        "level, up to the first failure (fixed sequence testing), so that looking at many breaks no promise. "
        f"{found.tested} were looked at. {found.note}",
        f"Temperature: {found.temperature:.3f}.",
    ]
    if found.threshold is None:
        return [*lines, "Abstention: infeasible. No threshold is set."]
    proven = "" if found.abstention is Abstention.FITTED else " (unproven, an estimate)"
    lines.append(
        f"Threshold {found.threshold:.2f}{proven}: on the calibration part {found.coverage:.1%} answered, "
        f"{found.risk:.2%} of them wrong, at most {found.risk_bound:.2%} with {found.confidence:.0%} confidence."
    )
    if (test := report.on_test) is not None:
        risk = "none" if test.risk is None else f"{test.risk:.2%}"
        lines.append(
            f"On {report.part}: {test.coverage:.1%} answered ({test.answered}), {risk} of them wrong ({test.errors})."
        )
    return lines


def right_line(right_score: float) -> str:
    """What right and wrong mean of graded answers."""
    return (
        f"An answer counts as right from a score of {right_score:.1%} on, and as wrong below (evaluation.right_score)."
    )


def scope_line(report: EvaluationReport) -> str:
    found = report.out_of_scope
    if found is None:
        return "Not measured: there are no texts of other domains, or the skill has no confidence."
    answered = (
        "all are answered, for want of a threshold" if found.answered is None else f"{found.answered:.1%} are answered"
    )
    of = f"the confidence {'unknown' if found.auroc is None else f'{found.auroc:.3f}'}"
    if found.scope_auroc is not None:
        scope = f"{found.scope_auroc:.3f}"
        of = f"the scope {scope}" if found.auroc is None else f"{of}, of the scope alone {scope}"
    return f"{found.rows} texts that the skill is not for: {answered}; AUROC of {of}."


def forgetting_line(report: EvaluationReport) -> str:
    found = report.forgetting
    if not found.applicable or found.base is None or found.adapted is None:
        return found.note
    return (
        f"{found.rows} general questions: base {found.base:.1%}, with the adapter {found.adapted:.1%} "
        f"(difference {found.lower:+.1%} to {found.upper:+.1%}, p = {found.p:.3f}), same answer on "
        f"{found.agreement:.1%}. {found.note}"
    )


def looks_line(report: EvaluationReport) -> str:
    if report.part != "test":
        return f"Measured on {report.part}, for choosing; the test part was not looked at."
    looks = report.looks
    said = f"The test part was evaluated {looks.evaluations} times from this run folder, by {looks.adapters} adapters."
    return said if looks.adapters < 2 else f"{said} Choosing among them by these figures makes them too good."


def runner_cells(runner: RunnerResult) -> tuple[str, ...]:
    """One line of the table of runners, below RUNNER_TITLES."""
    tokens = (
        "-" if runner.prompt_tokens is None else f"{runner.prompt_tokens:.0f} / {runner.completion_tokens or 0:.0f}"
    )
    price = "-" if runner.price_per_1000 is None else f"{runner.price_per_1000:.4g} {runner.currency}"
    return (
        runner.name,
        f"{runner.value:.1%}",
        f"{runner.lower:.1%} to {runner.upper:.1%}",
        "-" if runner.right is None else f"{runner.right} of {runner.rows}",
        str(runner.format_failures),
        seconds(runner.cpu_s),
        seconds(runner.latency_p50_s),
        seconds(runner.latency_p95_s),
        tokens,
        price,
        "unknown" if runner.joules is None else f"{runner.joules:.2f} J",
        "-" if runner.ece is None else f"{runner.ece:.3f}",
        "-" if runner.aurc is None else f"{runner.aurc:.4f}",
    )


def runner_table(runners: Sequence[RunnerResult]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and lines of the table of runners, without columns that mean nothing for any of them."""
    empty = _TELLS_RIGHT if all(runner.right is None for runner in runners) else ()
    shown = [place for place, title in enumerate(RUNNER_TITLES) if title not in empty]
    lines = [RUNNER_TITLES, *(runner_cells(runner) for runner in runners)]
    titles, *rows = (tuple(line[place] for place in shown) for line in lines)
    return titles, rows


def comparison_cells(found: Comparison) -> tuple[str, ...]:
    """One line of the table of comparisons, below `comparison_titles`."""
    return (
        found.name,
        str(found.rows),
        f"{found.difference:+.1%}",
        f"{found.lower:+.1%} to {found.upper:+.1%}",
        p_value(found.p),
        p_value(found.holm_p),
        found.test,
        f"{found.only_specialist} / {found.only_other}",
        "-" if found.cpu_ratio is None else f"{found.cpu_ratio:.3g}",
    )


def prompt_cells(tried: PromptTried) -> tuple[str, ...]:
    """One line of the table of prompts, below PROMPT_TITLES."""
    chosen = "chosen" if tried.chosen else ""
    reached = f"{tried.right} of {tried.rows}" if tried.score is None else f"{tried.score:.1%} on {tried.rows} rows"
    return tried.name, reached, str(tried.format_failures), chosen


def label_cells(found: LabelResult) -> tuple[str, ...]:
    """One line of the table of labels, below LABEL_TITLES."""
    return found.label, str(found.rows), f"{found.precision:.1%}", f"{found.recall:.1%}", f"{found.f1:.1%}"


def example_cells(found: Example) -> tuple[str, ...]:
    """One line of the table of examples, below EXAMPLE_TITLES."""
    return f"{found.score:.1%}", short(found.text), short(found.expected), short(found.answer or "(none)")


def runner_lines(runners: Sequence[RunnerResult]) -> list[str]:
    """What each runner is, what its other figures are, and how the tests of its programs ended."""
    lines = []
    for runner in runners:
        ended = ", ".join(f"{rows} {outcome.replace('_', ' ')}" for outcome, rows in runner.outcomes.items())
        partly = "" if runner.values_f1 is None else f" F1 of its values: {runner.values_f1:.1%}."
        if runner.quartiles is not None:
            low, middle, high = runner.quartiles
            beside = ", ".join(f"{METRICS[metric]} {value:.1%}" for metric, value in runner.grades.items())
            partly = (
                f" On its {runner.rows} rows {beside}. Half of its answers have {low:.1%} to {high:.1%}, the median is "
                f"{middle:.1%}."
            )
        lines.append(f"{runner.name}: {runner.about}.{partly}" + (f" Its programs: {ended}." if ended else ""))
    return lines


def cost_line(energy: str, machine: str) -> str:
    """How the cost of requests was measured."""
    return (
        "Requests were run one at a time. CPU is user and system time of the engine's process and of the one that "
        "asks, the median of a request; prefix caches work as in serving. What retrieves examples for a few-shot "
        f"prompt is not counted. Energy: {energy}. Machine: {machine}."
    )


def markdown(report: EvaluationReport) -> str:
    """The whole report."""
    parts = [
        f"# {report.name}\n\n{verdict(report)}\n",
        f"Evaluated {report.created} on the part {report.part}: {report.rows} rows, {report.shared_rows} of them for "
        f"prompted models. {report.engine} adapter `{report.adapter[:12]}` on {report.base}, dataset "
        f"`{report.dataset_content[:12]}`, recipe `{report.recipe_digest[:12]}`.\n\n{looks_line(report)}\n",
        f"## Who answers how well ({METRICS[report.metric]})\n\n" + markdown_table(*runner_table(report.runners)),
        "\n".join(f"* {line}" for line in runner_lines(report.runners))
        + f"\n\n{cost_line(report.energy, report.machine)}\n",
    ]
    if report.comparisons:
        parts.append(
            "## The specialist against each, on shared rows\n\n"
            + markdown_table(comparison_titles(report.metric), [comparison_cells(item) for item in report.comparisons])
        )
    if report.prompts:
        parts.append(
            "## Prompts tried for the generalist, on dev\n\n"
            + markdown_table(PROMPT_TITLES, [prompt_cells(item) for item in report.prompts])
        )
    parts.append("## When it answers\n\n" + "\n".join(f"* {line}" for line in abstention_lines(report)) + "\n")
    parts.append(f"## Texts of other domains\n\n{scope_line(report)}\n")
    parts.append(f"## Forgetting\n\n{forgetting_line(report)}\n")
    if report.labels:
        parts.append(
            "## Labels, worst first\n\n" + markdown_table(LABEL_TITLES, [label_cells(item) for item in report.labels])
        )
    if report.examples:
        shown = [example_cells(item) for item in report.examples]
        parts.append("## What the scores look like\n\n" + markdown_table(EXAMPLE_TITLES, shown))
    if report.confusions:
        listed = [(item.truth, item.answer, str(item.rows)) for item in report.confusions]
        parts.append("## Most frequent confusions\n\n" + markdown_table(("is", "was answered as", "rows"), listed))
    if report.notes:
        parts.append("## Notes\n\n" + "\n".join(f"* {note}" for note in report.notes) + "\n")
    if report.command:
        parts.append(f"Repeat it: `{report.command}`\n")
    return "\n".join(parts)


def write_markdown(path: Path, report: EvaluationReport) -> None:
    path.write_text(markdown(report), "utf-8")


def short(text: str) -> str:
    """A text on a line, without its end where it is long."""
    plain = " ".join(text.split())
    return plain if len(plain) <= 140 else f"{plain[:139]}…"


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def p_value(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a line of titles."""
    lines = [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
