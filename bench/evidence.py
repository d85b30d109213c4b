"""The evidence that the shipped specialists win, from the evaluations that were shipped with them.

    python bench/evidence.py [--plot FILE]            print the table of docs/evidence.md, draw docs/evidence.png
    python bench/evidence.py --again --data-dir DIR   curate again and run every shipped skill over its test part again

The first reads what `concertino evaluate` measured; the second measures the specialists once more, through the same
path as a request, and says where a figure differs. Holm's correction (1979) runs over the skills: each has one
comparison with the generalist.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from concertino.evaluation.statistics import holm

SHIPPED = Path(str(resources.files("concertino"))) / "shipped"
DOCS = Path(__file__).parents[1] / "docs"
HEAD = (
    "| skill | metric | specialist | TF-IDF + LR | kNN | untuned base | 1.5B generalist, best prompt | gain over it "
    "(95 %) | Holm p | CPU s, ratio | answered / its errors | off-domain AUROC |"
)


def reports() -> dict[str, dict[str, Any]]:
    """skill -> its evaluation.json."""
    found = sorted(SHIPPED.glob("*/*/evaluation.json"))
    return {"/".join(path.parts[-3:-1]): json.loads(path.read_bytes()) for path in found}


def runner(report: dict[str, Any], kind: str, word: str = "") -> dict[str, Any] | None:
    return next((one for one in report["runners"] if one["kind"] == kind and word in one["name"]), None)


def report_labels(report: dict[str, Any]) -> list[str]:
    return [one["label"] for one in report["labels"]]


def percent(one: dict[str, Any] | None) -> str:
    return "-" if one is None else f"{100 * one['value']:.1f} ({one['rows']})"


def against_generalist(report: dict[str, Any]) -> dict[str, Any] | None:
    other = runner(report, "generalist")
    return next((c for c in report["comparisons"] if other and c["name"] == other["name"]), None)


def table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Markdown; rows in brackets behind each figure."""
    compared = {name: against_generalist(report) for name, report in found.items()}
    named = [name for name, comparison in compared.items() if comparison]
    adjusted = dict(zip(named, holm([compared[name]["p"] for name in named]), strict=True))  # type: ignore[index]
    yield HEAD
    yield "|" + " --- |" * HEAD.count(" |")
    for name, report in found.items():
        comparison, on_test = compared[name], report["on_test"]
        gain = p = ratio = "-"
        if comparison:
            low, high = 100 * comparison["lower"], 100 * comparison["upper"]
            gain = f"{100 * comparison['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
            p = f"{adjusted[name]:.1g}"
            ratio = f"1 : {1 / comparison['cpu_ratio']:.0f}" if comparison["cpu_ratio"] else "-"
        answered = "all, no threshold" if not on_test else f"{on_test['coverage']:.0%} / {on_test['risk'] or 0:.1%}"
        cells = [
            name,
            report["metric"].replace("_", " "),
            percent(runner(report, "specialist")),
            percent(runner(report, "classical", "TF-IDF")),
            percent(runner(report, "classical", "kNN")),
            percent(runner(report, "base")),
            percent(runner(report, "generalist")),
            gain,
            p,
            ratio,
            answered,
            _off_domain(report),
        ]
        yield "| " + " | ".join(cells) + " |"


def _off_domain(report: dict[str, Any]) -> str:
    """AUROC of what a skill abstains by from texts that are not for it: its scope, where it has a threshold on that."""
    outside = report["out_of_scope"]
    if not outside:
        return "-"
    by_scope = report.get("scope_threshold") is not None and outside.get("scope_auroc") is not None
    value = outside["scope_auroc"] if by_scope else outside["auroc"]
    return "-" if value is None else f"{value:.3f}"


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Specialist, TF-IDF and generalist side by side for every skill, with 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = (
        ("specialist", "", "specialist", "#2a6f97"),
        ("classical", "TF-IDF", "TF-IDF + logistic regression", "#a9b4c2"),
        ("generalist", "", "1.5B generalist, best prompt", "#e09f3e"),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, (kind, word, label, colour) in enumerate(sides):
        shown = [(x, one) for x, report in enumerate(found.values()) if (one := runner(report, kind, word))]
        values = [100 * one["value"] for _, one in shown]
        spread = np.array(
            [[100 * (one["value"] - one["lower"]), 100 * (one["upper"] - one["value"])] for _, one in shown]
        )
        axes.bar(
            [x + 0.27 * (place - 1) for x, _ in shown],
            values,
            0.25,
            yerr=np.clip(spread.T, 0, None) if shown else None,
            label=label,
            color=colour,
            error_kw={"elinewidth": 1},
        )
    axes.set_xticks(range(len(found)), list(found), fontsize=8, rotation=25, ha="right", rotation_mode="anchor")
    axes.set_ylabel("right on the test part, %")
    axes.set_ylim(0, 100)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def again(data_dir: Path, found: dict[str, dict[str, Any]]) -> int:
    """Run every shipped skill over its test part again; how many figures differ from the shipped ones."""
    from concertino import Team
    from concertino.datasets.curate import curate
    from concertino.datasets.folder import Part, open_dataset
    from concertino.evaluation.metrics import macro_f1
    from concertino.recipe import Metric
    from concertino.recipe_file import load_recipe

    different = 0
    with Team.default() as team, tempfile.TemporaryDirectory() as folder:
        for name, report in found.items():
            recipe = load_recipe(SHIPPED / name / "recipe.yaml")
            curate(recipe, data_dir, Path(folder) / name, lambda _: None)
            rows = list(open_dataset(Path(folder) / name).rows(Part.TEST))
            answers = [answer.text for answer in team.run(name, [row.text for row in rows])]
            said = runner(report, "specialist")
            assert said is not None
            if recipe.free_text:
                print(f"{name}: {len(rows)} answers; compare with `concertino evaluate`", file=sys.stderr)
                continue
            value = float(np.mean([text in row.labels for text, row in zip(answers, rows, strict=True)]))
            if recipe.evaluation.metric is Metric.MACRO_F1:
                value = macro_f1(rows, answers, report_labels(report))
            same = abs(value - said["value"]) < 5e-4
            different += not same
            print(f"{name:26} {value:.4f}  shipped {said['value']:.4f}  {'same' if same else 'DIFFERENT'}")
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="run the shipped skills over their test parts again")
    parser.add_argument("--data-dir", type=Path, help="folder with the public sets, for --again")
    parser.add_argument(
        "--plot", type=Path, help="where to draw; default: docs/evidence.png in a checkout, else nowhere"
    )
    options = parser.parse_args()
    found = reports()
    if options.again:
        if options.data_dir is None:
            parser.error("--again needs --data-dir")
        sys.exit(1 if again(options.data_dir, found) else 0)
    print("\n".join(table(found)))
    plot = options.plot or (DOCS / "evidence.png" if DOCS.is_dir() else None)
    if plot is not None:
        draw(found, plot)


if __name__ == "__main__":
    main()
