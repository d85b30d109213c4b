"""The report on bases without training, as Markdown and as one HTML page."""

from html import escape

from concertino.evaluation import plots
from concertino.evaluation.page import document, listed, table
from concertino.evaluation.report import (
    METRICS,
    PROMPT_TITLES,
    comparison_cells,
    comparison_titles,
    cost_line,
    markdown_table,
    prompt_cells,
    runner_lines,
    runner_table,
)
from concertino.evaluation.results import BasesReport, Pair
from concertino.recipe import Metric


def pair_titles(metric: Metric) -> tuple[str, ...]:
    """The titles of the table of pairs."""
    return ("the first", "the second", *comparison_titles(metric, "first", "second")[1:])


def verdict(report: BasesReport) -> str:
    """The result in a few sentences."""
    metric = METRICS[report.metric]
    said = [
        f"{runner.name}: {metric} {runner.value:.1%} ({runner.lower:.1%} to {runner.upper:.1%}) on {runner.rows} rows."
        for runner in report.runners
    ]
    for pair in report.pairs:
        found = pair.comparison
        proven = found.holm_p < 0.05 and (found.lower > 0 or found.upper < 0)
        better, worse = (pair.first, found.name) if found.difference > 0 else (found.name, pair.first)
        said.append(
            f"{better} is better than {worse}." if proven else f"{better} is not shown to be better than {worse}."
        )
    return " ".join(said)


def looks_line(report: BasesReport) -> str:
    """How often the test part was looked at."""
    if report.part != "test":
        return f"Measured on {report.part}, for choosing; the test part was not looked at."
    looks = report.looks
    return f"The test part was evaluated {looks.evaluations} times into this folder, on {looks.adapters} models."


def pair_cells(pair: Pair) -> tuple[str, ...]:
    """One line of the table of pairs, below `pair_titles`."""
    return (pair.first, *comparison_cells(pair.comparison))


def about_line(report: BasesReport) -> str:
    """When and on what it was measured."""
    return (
        f"Evaluated {report.created} on {report.rows} rows of the part {report.part}. Nothing was trained. Dataset "
        f"{report.dataset_content[:12]}, recipe {report.recipe_digest[:12]}. {looks_line(report)}"
    )


def _prompt_rows(report: BasesReport) -> list[tuple[str, ...]]:
    return [(base, *prompt_cells(item)) for base, tried in report.prompts.items() for item in tried]


def markdown(report: BasesReport) -> str:
    """The whole report."""
    parts = [
        f"# {report.name}: bases\n\n{verdict(report)}\n",
        f"{about_line(report)}\n",
        f"## Who answers how well ({METRICS[report.metric]})\n\n" + markdown_table(*runner_table(report.runners)),
        "\n".join(f"* {line}" for line in runner_lines(report.runners))
        + f"\n\n{cost_line(report.energy, report.machine)}\n",
    ]
    if report.pairs:
        pairs = markdown_table(pair_titles(report.metric), [pair_cells(pair) for pair in report.pairs])
        parts.append(f"## Each against each, on the same rows\n\n{pairs}")
    tried = markdown_table(("base", *PROMPT_TITLES), _prompt_rows(report))
    parts.append(f"## Prompts tried, on dev\n\n{tried}")
    if report.notes:
        parts.append("## Notes\n\n" + "\n".join(f"* {note}" for note in report.notes) + "\n")
    if report.command:
        parts.append(f"Repeat it: `{report.command}`\n")
    return "\n".join(parts)


def page(report: BasesReport) -> str:
    """The whole page."""
    metric = METRICS[report.metric]
    parts = [
        f"<h1>{escape(report.name)}: bases</h1>",
        f'<p class="lead">{escape(verdict(report))}</p>',
        f'<p class="soft">{escape(about_line(report))}</p>',
        f"<h2>Who answers how well ({metric}, 95 % interval)</h2>",
        plots.bars(report.runners, metric),
        table(*runner_table(report.runners)),
        listed(runner_lines(report.runners)),
    ]
    if report.pairs:
        parts.append("<h2>Each against each, on the same rows</h2>")
        parts.append(table(pair_titles(report.metric), [pair_cells(pair) for pair in report.pairs]))
    if drawn := plots.cost_and_quality(report.runners, metric):
        parts += [f"<h2>Cost and {metric}: up and to the left is better</h2>", drawn]
    parts.append(f'<p class="soft">{escape(cost_line(report.energy, report.machine))}</p>')
    parts += ["<h2>Prompts tried, on dev</h2>", table(("base", *PROMPT_TITLES), _prompt_rows(report))]
    if report.notes:
        parts += ["<h2>Notes</h2>", listed(report.notes)]
    if report.command:
        parts.append(f"<p>Repeat it: <code>{escape(report.command)}</code></p>")
    return document(f"{report.name}: bases", parts)
