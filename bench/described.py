"""A specialist that only its description tells of: who gets its questions, through the whole decision of a team.

    python bench/described.py --data-dir DIR [--part test|calibration] [--json]

Of the built-in team one specialist loses its name and its domain and is known by a description alone: that of its
card, and others (`training/routing/topics.json`). Of CLINC150 one domain after the other is added to the built-in
five. Policy, router and tiers are those that would serve; nothing is fitted. Questions are up to 25 of each source of
the router's part, and every sixth of CLINC150's validation part. Precision is as if a tenth of the requests were the
specialist's.

The built-in team's domains were trained on by the router's head; CLINC150's are all `general` or `finance` to it.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from msgspec import structs

from concertino.config import Settings, SpecialistCard, load
from concertino.orchestrator.decider import engineless
from concertino.training.routing.data import load_splits
from concertino.training.routing.left_out import OWN_DOMAINS, SHARE, sampled
from concertino.training.routing.topics import load_clinc, load_words
from concertino.types import Decision, Message, Request, Role

NEWCOMER = "newcomer"
Asked = list[tuple[str, str]]
"""Texts with their domains."""


async def measure(settings: Settings, asked: Asked, domain: str) -> dict[str, float]:
    """Recall, and precision at `SHARE`, of the newcomer's questions in a team."""
    decider = engineless(settings)
    requests = [Request((Message(Role.USER, text),)) for text, _ in asked]
    found = await decider.decide_each(requests)
    right = {True: 0, False: 0}
    number = {True: 0, False: 0}
    for decision, (_, theirs) in zip(found, asked, strict=True):
        number[theirs == domain] += 1
        right[theirs == domain] += isinstance(decision, Decision) and decision.specialist == NEWCOMER
    recall, false = right[True] / max(1, number[True]), right[False] / max(1, number[False])
    taken = SHARE * recall + (1 - SHARE) * false
    return {"recall": recall, "precision": SHARE * recall / taken if taken else 1.0}


def renamed(settings: Settings, domain: str, description: str) -> Settings:
    """The team with the specialist of a domain known by nothing but a description."""

    def card(one: SpecialistCard) -> SpecialistCard:
        if one.name != domain:
            return one
        return structs.replace(one, name=NEWCOMER, domains=(), examples=(), skills=(), description=description)

    return structs.replace(settings, specialists=tuple(card(one) for one in settings.specialists))


def with_added(settings: Settings, description: str) -> Settings:
    """The team with one more specialist, made like the default's."""
    like = next(one for one in settings.specialists if one.name == settings.router.default)
    card = structs.replace(like, name=NEWCOMER, domains=(), examples=(), skills=(), description=description)
    return structs.replace(settings, specialists=(*settings.specialists, card))


async def run(data: Path, part: str) -> list[dict[str, Any]]:
    settings, words = load(), load_words()
    splits = load_splits(data, lambda line: print(line, file=sys.stderr))
    own = [(row.text, row.label) for row in sampled(splits.test if part == "test" else splits.calibration, 25, 3)]
    clinc = [(row.text, row.domain) for row in load_clinc(data, "val", {})[::6]]
    cards = {card.name: card.description for card in settings.specialists}
    rows = []

    async def one(team: str, domain: str, kind: str, changed: Settings, asked: Asked) -> None:
        figures = await measure(changed, asked, domain)
        rows.append({"team": team, "domain": domain, "description": kind, **figures})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)

    for domain in OWN_DOMAINS:
        kinds = {"of the card": cards[domain]}
        kinds |= {f"other {number}": text for number, text in enumerate(words.classes[domain], 1)}
        for kind, text in kinds.items():
            await one("four of the built-in five", domain, kind, renamed(settings, domain, text), own)
    others = [(text, domain) for text, domain in own if domain != "general"]
    for domain, said in words.domains.items():
        for kind, text in (("full", said.full), ("short", said.short)):
            await one("the built-in five and one of CLINC150", domain, kind, with_added(settings, text), clinc + others)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print("| team | description | specialist | recall | precision |\n| --- | --- | --- | ---: | ---: |")
    groups: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        kind = "other" if row["description"].startswith("other") else row["description"]
        groups[row["team"], kind].append(row)
    for (team, kind), found in groups.items():
        by_domain: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in found:
            by_domain[row["domain"]].append(row)
        for name, some in [("mean", found), *by_domain.items()]:
            recall, precision = (sum(row[key] for row in some) / len(some) for key in ("recall", "precision"))
            print(f"| {team} | {kind} | {name} | {recall:.3f} | {precision:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--part", choices=("test", "calibration"), default="test", help="of the router's own rows")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    arguments = parser.parse_args()
    if not arguments.data_dir:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    logging.getLogger("concertino").setLevel(logging.ERROR)
    rows = asyncio.run(run(Path(arguments.data_dir), arguments.part))
    print(json.dumps(rows)) if arguments.json else show(rows)


if __name__ == "__main__":
    main()
