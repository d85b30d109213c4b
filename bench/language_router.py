"""The language-model tier beside the head, and over a team that it knows from descriptions alone.

    python bench/language_router.py --data-dir DIR [--adapter RUN/adapter] [--rows 150] [--out FILE.json]

Asks the skill `general/route` of the package (or an adapter of your own) about the built-in team: about calibration
rows, on which `weight` and `below` are chosen, then about the exam, a draw of the test part and the hand-written
questions. Half of the rows of each part are those that the head is least sure of, because the tier is asked about no
others; accuracy is that of the whole part, where only rows below `below` are asked about. Then about CLINC150's
validation questions, out-of-scope ones included, for a team of its ten domains, each described in a sentence with its
topics. Of each decision it takes the time, on an engine that answers nothing else. Nothing is fitted on what is judged.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concertino.backends.base import BackendContext, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.config import SkillCard, SpecialistCard, home_folder, load
from concertino.models.store import Store
from concertino.orchestrator.costs import Spending
from concertino.orchestrator.second_look import Member, SecondLook
from concertino.recipe_file import load_recipe
from concertino.router.language import LETTERS
from concertino.router.linear import LinearRouter
from concertino.specialists.pool import Specialist, Target
from concertino.training.routing.data import CLASSES, Row, load_splits
from concertino.training.routing.report import read_questions
from concertino.training.routing.topics import load_clinc, load_words

RECIPE = Path(__file__).parents[1] / "recipes/general/route.yaml"
SHIPPED = Path(__file__).parents[1] / "src/concertino/shipped/general/route/adapter"
QUESTIONS = Path(__file__).with_name("routing_questions.jsonl")
BELOW = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
WEIGHTS = (0.3, 0.5, 0.7, 1.0)


class Asker:
    """The skill on an engine of its own."""

    def __init__(self, adapter: Path) -> None:
        recipe = load_recipe(RECIPE)
        base = recipe.training.base
        file = str(adapter / "adapter.gguf")
        store = Store(home_folder())
        uses = (ModelUse(base, (file,), context_tokens=4096),)
        self.backend = LlamaCppBackend(BackendContext("route", {}, uses, store.resolve))
        card = SpecialistCard("general", "", "route", base, adapter=file)
        skill: SkillCard = recipe.card(recipe.labels)
        self.target = Target(Specialist(card, self.backend, ""), skill)
        self.look = SecondLook.__new__(SecondLook)
        self.look.settings = load(None).router.language
        self.seconds: list[float] = []

    async def chances(self, members: Sequence[Member], rest: str, texts: Sequence[str], name: str) -> np.ndarray:
        """`[texts, members + 1]`, the last for nobody; one at a time, as their times are taken."""
        self.look._rest = rest
        rows = []
        for number, text in enumerate(texts, 1):
            begun = time.perf_counter()
            asked = self.look.question_for(self.target, members, text)
            rows.append(await self.look.ask(self.target, asked, len(members) + 1, Spending()))
            self.seconds.append(time.perf_counter() - begun)
            if number % 50 == 0:
                print(f"{name}: {number} of {len(texts)}", file=sys.stderr)
        return np.array(rows)


def members_of(descriptions: dict[str, str]) -> list[Member]:
    return [Member(name, said, frozenset({name})) for name, said in descriptions.items()]


def combined(head: np.ndarray, asked: np.ndarray, below: float, weight: float) -> np.ndarray:
    """`[rows, classes]` as the tier combines them; `asked` has the classes' order."""
    mixed = weight * asked + (1 - weight) * head
    return np.where((head.max(axis=1) < below)[:, None], mixed, head)


async def built_in(asker: Asker, args: argparse.Namespace) -> dict[str, Any]:
    """The five classes: weight and threshold on calibration rows, then what they do elsewhere."""
    rng = random.Random(3)
    head = LinearRouter()
    splits = load_splits(args.data_dir)
    team = {card.name: card.description for card in load(None).specialists}
    names = [name for name in CLASSES if name != "general"]
    members = members_of({name: team[name] for name in names})

    def drawn(rows: Sequence[Row]) -> list[Row]:
        by_source: dict[str, list[Row]] = {}
        for row in rows:
            by_source.setdefault(row.source, []).append(row)
        return [row for _, mine in sorted(by_source.items()) for row in rng.sample(mine, min(60, len(mine)))]

    asked_rows = {
        "calibration": drawn(splits.calibration),
        "test": drawn(splits.test),
        "exam": rng.sample(list(splits.exam), min(1200, len(splits.exam))),
        "questions": read_questions(QUESTIONS),
    }
    tables: dict[str, Any] = {}
    for part, rows in asked_rows.items():
        probabilities = head.probabilities([row.text for row in rows])
        truth = np.array([CLASSES.index(row.label) for row in rows])
        order = np.argsort(probabilities.max(axis=1))[: args.rows]
        said = await asker.chances(members, team["general"], [rows[place].text for place in order], part)
        at = [names.index(name) if name != "general" else len(names) for name in CLASSES]
        asked = probabilities.copy()
        asked[order] = said[:, at]
        tables[part] = {"head": probabilities, "asked": asked, "truth": truth, "order": order}
    figures: dict[str, Any] = {}
    best = (0.0, 0.0, 0.0)
    for part, table in tables.items():
        head_p, asked, truth, order = table["head"], table["asked"], table["truth"], table["order"]
        reach = float(head_p[order].max(axis=1).max())
        lines = {}
        for below in (b for b in BELOW if b <= reach or b == 0.0):
            for weight in WEIGHTS:
                right = float((combined(head_p, asked, below, weight).argmax(axis=1) == truth).mean())
                lines[f"{below}/{weight}"] = {
                    "accuracy": round(right, 4), "share": round(float((head_p.max(axis=1) < below).mean()), 3),
                }  # fmt: skip
                if part == "calibration" and right > best[0]:
                    best = (right, below, weight)
        alone = float((asked[order].argmax(axis=1) == truth[order]).mean())
        figures[part] = {
            "rows": len(truth), "least_sure": len(order), "tier_alone_on_them": round(alone, 4),
            "head_on_them": round(float((head_p[order].argmax(axis=1) == truth[order]).mean()), 4), "settings": lines,
        }  # fmt: skip
    figures["chosen"] = {"below": best[1], "weight": best[2]}
    return figures


async def described(asker: Asker, args: argparse.Namespace) -> dict[str, Any]:
    """CLINC150's ten domains from descriptions: recall and precision of each, at the likeliest letter."""
    rng = random.Random(4)
    words = load_words()
    questions = load_clinc(args.data_dir, "val", {})
    found: dict[str, Any] = {}
    for kind in ("full", "short"):
        members = members_of({name: getattr(kin, kind) for name, kin in sorted(words.domains.items())})
        names = [member.domain for member in members]
        rows = [q for name in names for q in rng.sample([q for q in questions if q.domain == name], args.rows // 5)]
        rows += rng.sample([q for q in questions if q.domain == "oos"], args.rows // 3)
        said = await asker.chances(members, words.classes["general"][1], [q.text for q in rows], kind)
        chosen = said.argmax(axis=1)
        truth = np.array([names.index(q.domain) if q.domain in names else len(names) for q in rows])
        table = {}
        for place, name in enumerate(names):
            hit = float(((chosen == place) & (truth == place)).sum())
            table[name] = {
                "recall": round(hit / (truth == place).sum(), 3),
                "precision": round(hit / max(1, (chosen == place).sum()), 3),
            }
        found[kind] = {
            "recall": round(float(np.mean([line["recall"] for line in table.values()])), 3),
            "precision": round(float(np.mean([line["precision"] for line in table.values()])), 3),
            "out_of_scope_to_nobody": round(float((chosen == len(names))[truth == len(names)].mean()), 3),
            "domains": table,
        }
    return found


async def run(args: argparse.Namespace) -> dict[str, Any]:
    asker = Asker(args.adapter)
    await asker.backend.start()
    try:
        report: dict[str, Any] = {"described": await described(asker, args), "built_in": await built_in(asker, args)}
    finally:
        await asker.backend.close()
    times = np.array(asker.seconds) * 1000
    report["ms"] = {f"p{p}": round(float(np.percentile(times, p)), 1) for p in (50, 90, 99)}
    report["asked"] = len(times)
    assert len(LETTERS) > len(CLASSES)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument(
        "--adapter", type=Path, default=SHIPPED, help="adapter of the router; default: the one of the package"
    )
    parser.add_argument("--rows", type=int, default=150, help="Rows asked about in each part.")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON too")
    args = parser.parse_args()
    if args.data_dir is None:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    args.data_dir = Path(args.data_dir)
    report = asyncio.run(run(args))
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
