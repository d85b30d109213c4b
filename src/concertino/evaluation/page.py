"""evaluation.json as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from concertino.evaluation import plots
from concertino.evaluation.report import (
    EXAMPLE_TITLES,
    LABEL_TITLES,
    METRICS,
    PROMPT_TITLES,
    abstention_lines,
    comparison_cells,
    comparison_titles,
    cost_line,
    example_cells,
    forgetting_line,
    label_cells,
    looks_line,
    prompt_cells,
    runner_lines,
    runner_table,
    scope_line,
    short,
    verdict,
)
from concertino.evaluation.results import EvaluationReport

_STYLE = """
:root{color-scheme:light dark;--page:#fcfcfb;--ink:#1b1b1a;--soft:#5c5b57;--line:#e3e2dd;--mine:#2a6fdb;
--other:#b9b7b0;--s1:#c2571a;--s2:#12805c;--s3:#8a5fbf;--s4:#8a7410;
--limit:#a8372f}
@media (prefers-color-scheme:dark){:root{--page:#191918;--ink:#ecebe7;--soft:#a9a79f;--line:#35342f;--mine:#6ba1f2;
--other:#6a6860;--s1:#e08a53;--s2:#4fb890;--s3:#b594e0;--s4:#cdb54a;
--limit:#e0786f}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:2rem 1.25rem 4rem;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.5rem 0 .5rem}
p,li{max-width:76ch}.lead{font-size:1.1rem}.soft,.soft li{color:var(--soft);font-size:.9rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500}td{white-space:nowrap}td.long{white-space:normal;min-width:16rem}
td.number{text-align:right}
td.meter{width:160px}td.meter i{display:block;height:10px;border-radius:2px;background:var(--mine)}
svg{max-width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .tick{fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}.whisker{stroke:var(--ink);stroke-width:1.5}
.mine{fill:var(--mine)}.other{fill:var(--other)}.ring{stroke:var(--page);stroke-width:2}
.line{fill:none;stroke-width:2}.s0{stroke:var(--mine)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}.s3{stroke:var(--s3)}
.s4{stroke:var(--s4)}
.limit{stroke:var(--limit);stroke-width:1.5;stroke-dasharray:5 4}
code{font:.85em ui-monospace,monospace;overflow-wrap:anywhere}
""".strip()


def page(report: EvaluationReport) -> str:
    """The whole page."""
    metric = METRICS[report.metric]
    mine = f"{report.engine} adapter {report.adapter[:12]} on {report.base}"
    parts = [
        f"<h1>{escape(report.name)}</h1>",
        f'<p class="lead">{escape(verdict(report))}</p>',
        f'<p class="soft">{escape(report.created)} · part {escape(report.part)} · {escape(mine)} · dataset '
        f"{report.dataset_content[:12]} · recipe {report.recipe_digest[:12]}<br>{escape(looks_line(report))}</p>",
        f"<h2>Who answers how well ({metric}, 95 % interval)</h2>",
        plots.bars(report.runners, metric),
        table(*runner_table(report.runners)),
        listed(runner_lines(report.runners)),
    ]
    if report.comparisons:
        parts.append("<h2>The specialist against each, on the rows that both answered</h2>")
        parts.append(table(comparison_titles(report.metric), [comparison_cells(item) for item in report.comparisons]))
    if drawn := plots.cost_and_quality(report.runners, metric):
        parts += [f"<h2>Cost and {metric}: up and to the left is better</h2>", drawn]
    parts.append(f'<p class="soft">{escape(cost_line(report.energy, report.machine))}</p>')
    if report.prompts:
        parts.append("<h2>Prompts tried for the generalist, on dev</h2>")
        parts.append(table(PROMPT_TITLES, [prompt_cells(item) for item in report.prompts]))
    parts += ["<h2>When it answers</h2>", listed(abstention_lines(report), soft=False)]
    if drawn := plots.risk_and_coverage(report.curves, report.calibration.alpha, plots.threshold_point(report)):
        parts += ["<h2>Risk and coverage</h2>", drawn]
    if drawn := plots.reliability_diagram(report.reliability):
        parts += ["<h2>Is its confidence honest?</h2>", drawn]
    parts += ["<h2>Texts of other domains</h2>", f"<p>{escape(scope_line(report))}</p>"]
    if report.out_of_scope is not None and report.out_of_scope.examples:
        shown = [(short(text), label, f"{sure:.1%}") for text, label, sure in report.out_of_scope.examples]
        parts.append(table(("surest of them", "answer", "confidence"), shown, 0))
    parts += ["<h2>Forgetting</h2>", f"<p>{escape(forgetting_line(report))}</p>"]
    if report.examples:
        graded = [example_cells(item) for item in report.examples]
        parts += ["<h2>What the scores look like</h2>", table(EXAMPLE_TITLES, graded, 1, 2, 3)]
    if report.confusions:
        parts += [
            "<h2>Most frequent confusions</h2>",
            f'<div class="wide">{plots.confusion_table(report.confusions)}</div>',
        ]
    if report.labels:
        parts += ["<h2>Labels, worst first</h2>", table(LABEL_TITLES, [label_cells(item) for item in report.labels])]
    if report.notes:
        parts += ["<h2>Notes</h2>", listed(report.notes)]
    if report.command:
        parts.append(f"<p>Repeat it: <code>{escape(report.command)}</code></p>")
    return document(f"{report.name}: evaluation", parts)


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page of parts in HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def write_page(path: Path, report: EvaluationReport) -> None:
    path.write_text(page(report), "utf-8")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *long: int) -> str:
    """A table in HTML; the columns `long` may wrap."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    kinds = [' class="long"' if place in long else "" for place in range(len(titles))]
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def listed(lines: Sequence[str], soft: bool = True) -> str:
    """A list in HTML, in small type unless `soft` is off."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="soft">{items}</ul>' if soft else f"<ul>{items}</ul>"
