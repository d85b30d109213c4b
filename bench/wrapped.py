"""Questions inside prompt templates: how many are still routed right, read as a whole and as the router reads them.

    python bench/wrapped.py [--json]

The hand-written questions of `bench/routing_questions.jsonl` in each template of `bench/prompt_templates.jsonl`. Of
these, some were drawn up before the rule that looks for the question in its wrapping was settled, by which it was
settled; the others were written afterwards. An abstention counts as `general`. Needs nothing but the package.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from concertino.router.linear import FALLBACK, LinearRouter
from concertino.router.wrapping import lone_question, question_in
from concertino.training.routing.data import Row
from concertino.training.routing.report import read_questions

_HERE = Path(__file__).parent


class Template(Struct, frozen=True):
    """One line of `prompt_templates.jsonl`; `{q}` stands for the question."""

    name: str
    drawn_up: str
    template: str

    def around(self, question: str) -> str:
        in_json = self.template.lstrip().startswith("{")
        return self.template.replace("{q}", json.dumps(question, ensure_ascii=False)[1:-1] if in_json else question)


def right(router: LinearRouter, rows: Sequence[Row], probabilities: np.ndarray) -> float:
    names = [
        router.domains[row.argmax()] if row.max() >= router.threshold else FALLBACK for row in np.asarray(probabilities)
    ]
    return float(sum(name == row.label for name, row in zip(names, rows, strict=True))) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args()
    router, rows = LinearRouter(), read_questions(_HERE / "routing_questions.jsonl")
    lines = (_HERE / "prompt_templates.jsonl").read_bytes().splitlines()
    templates = [msgspec.json.decode(line, type=Template) for line in lines]
    found = []
    for template in templates:
        texts = [template.around(row.text) for row in rows]
        cores = sum((question_in(text) or lone_question(text)) is not None for text in texts) / len(texts)
        whole = right(router, rows, router.whole(texts))
        read = right(router, rows, router.probabilities(texts))
        found.append(
            {"template": template.name, "drawn_up": template.drawn_up, "found": cores, "whole": whole, "read": read}
        )
    bare = right(router, rows, router.probabilities([row.text for row in rows]))
    if arguments.json:
        print(json.dumps({"questions": len(rows), "bare": bare, "templates": found}, indent=1))
        return
    print(f"{len(rows)} questions, bare: {bare:.3f} right\n\n| template | question found | whole text | as routed |")
    print("| --- | ---: | ---: | ---: |")
    for when in ("before", "after"):
        mine = [item for item in found if item["drawn_up"] == when]
        for item in mine:
            print(f"| {item['template']} | {item['found']:.2f} | {item['whole']:.3f} | {item['read']:.3f} |")
        means = [float(np.mean([item[name] for item in mine])) for name in ("found", "whole", "read")]
        print(f"| **mean of the {len(mine)} drawn up {when}** | {means[0]:.2f} | {means[1]:.3f} | {means[2]:.3f} |")


if __name__ == "__main__":
    main()
