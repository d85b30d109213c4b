"""Turns of conversations that go where they should, beside simpler ways of reading a conversation.

    python bench/conversations.py report [--split test] [--price 0.0] [--out FILE] [--wrong]
    python bench/conversations.py fit [--folds 5]

`bench/conversations.jsonl` holds 199 conversations written by hand, half `dev` and half `test`, each turn of the user's
labelled with the specialist that should answer it. `fit` fits the weights on dev alone, prints what cross-validation
by conversation says, and writes src/concertino/router/conversation.json, or conversation_plain.json where the head of
`--weights` has not learned from conversations. An abstention counts as `general`.
`fit` needs SciPy (the `evaluate` extra).
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concertino.router.conversation import ConversationRouter, State
from concertino.router.evidence import FALLBACK, NAMES, PLAIN, SHIPPED
from concertino.router.linear import LinearRouter
from concertino.types import Message, Ranking, Role

ROWS = Path(__file__).with_suffix(".jsonl")
DOMAINS = ("code", "finance", "general", "legal", "medical")
KINDS = ("all", "first", "follow-up", "switch")
PENALTY = 0.003
"""Of the squared weights."""
JOINED, JOINED_WEIGHT = 200, 0.2
"""Switches made of two dev conversations, the start of one and the first turn of another, and what each counts."""

Conversation = list[tuple[str, str]]
"""The user's turns with their labels."""


class Remembering:
    """The shipped router, which reads no text twice."""

    def __init__(self, weights: Path | None = None) -> None:
        self.router = LinearRouter(weights=weights)
        self.reads_conversations = self.router.reads_conversations
        self.read: dict[str, Ranking] = {}
        self.passes = 0

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        texts = [conversation[-1].text for conversation in conversations]
        fresh = [text for text in dict.fromkeys(texts) if text not in self.read]
        self.passes += len(fresh)
        self.read |= zip(fresh, self.router.rank([[said(text)] for text in fresh]), strict=True)
        return [self.read[text] for text in texts]


def said(text: str) -> Message:
    return Message(Role.USER, text)


def conversations(split: str) -> list[list[dict[str, str]]]:
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    return [row["turns"] for row in rows if row["split"] == split]


def messages(turns: Sequence[dict[str, str]], upto: int) -> list[Message]:
    """The conversation as a client sends it to have turn `upto` answered."""
    sent = []
    for turn in turns[:upto]:
        sent += [said(turn["user"]), Message(Role.ASSISTANT, turn["assistant"])]
    return [*sent, said(turns[upto]["user"])]


def kind(turns: Sequence[dict[str, str]], place: int) -> str:
    if place == 0:
        return "first"
    return "follow-up" if turns[place]["label"] == turns[place - 1]["label"] else "switch"


def last_turn(sent: list[Message]) -> list[Message]:
    return sent[-1:]


def whole_text(sent: list[Message]) -> list[Message]:
    return [said("\n".join(message.text for message in sent if message.role is Role.USER))]


def everything(sent: list[Message]) -> list[Message]:
    return sent


def report(split: str, price: float, show_wrong: bool) -> dict[str, Any]:
    """Share of turns that are right, by way of reading and kind of turn."""
    rows = conversations(split)
    plain = LinearRouter()
    ways: dict[str, tuple[Any, Callable[[list[Message]], list[Message]]]] = {
        "turn by turn (ours)": (ConversationRouter(LinearRouter(), price), everything),
        "last turn alone": (plain, last_turn),
        "last turn, if short or unsure the two before": (plain, everything),
        "all of the user's text": (plain, whole_text),
    }
    result: dict[str, Any] = {"split": split, "conversations": len(rows), "price": price, "ways": {}}
    places = [(turns, place) for turns in rows for place in range(len(turns))]
    counts = Counter(kind(*item) for item in places)
    counts["all"] = len(places)
    result["turns"] = dict(counts)
    for name, (router, cut) in ways.items():
        right: Counter[str] = Counter()
        started = time.process_time()
        for turns, place in places:
            ranking = router.rank([cut(messages(turns, place))])[0]
            label, found = turns[place]["label"], ranking.domain or FALLBACK
            for counted in ("all", kind(turns, place)):
                right[counted] += found == label
            if show_wrong and name.endswith("(ours)") and found != label:
                sys.stderr.write(
                    f"{kind(turns, place)}: {label}, not {found}: {turns[place]['user']} ({ranking.reason})\n"
                )
        spent = (time.process_time() - started) / len(places) * 1000
        result["ways"][name] = {key: round(right[key] / counts[key], 4) for key in KINDS} | {"ms": round(spent, 2)}
    return result


def print_report(result: dict[str, Any]) -> None:
    turns = result["turns"]
    print(f"{result['split']}: {result['conversations']} conversations, " + ", ".join(f"{turns[k]} {k}" for k in KINDS))
    print("| way | " + " | ".join(KINDS) + " | CPU ms a turn |\n| --- |" + " --- |" * (len(KINDS) + 1))
    for name, shares in result["ways"].items():
        print(f"| {name} | " + " | ".join(f"{shares[key]:.3f}" for key in KINDS) + f" | {shares['ms']:.1f} |")


def walk(
    router: ConversationRouter, reading: Remembering, turns: Conversation, teach: bool
) -> tuple[list[str], list[tuple[np.ndarray, int]]]:
    """What is decided turn by turn, and for each later turn its evidence and label. `teach`: states are the labels'."""
    texts = [text for text, _ in turns]
    readings = reading.rank([[said(text)] for text in texts])
    states = [State(readings[0].domain, readings[0].scores, 0, "")]
    found, rows = [readings[0].domain or FALLBACK], []
    for place in range(1, len(turns)):
        was = states[-1]
        if teach:
            label = turns[place - 1][1]
            opened = next(start for start in range(place) if all(turns[k][1] == label for k in range(start, place)))
            was = State(label, {domain: 0.9 if domain == label else 0.025 for domain in DOMAINS}, opened, "")
        alone = readings[place]
        evidence = router.rows(texts, place, was, alone, router.read_again(texts, place, was, alone))
        rows.append((evidence, list(alone.scores).index(turns[place][1])))
        states.append(router._next(texts, place, [was], alone))
        found.append(states[-1].domain or FALLBACK)
    return found, rows


def joined(rows: Sequence[Conversation], count: int) -> list[Conversation]:
    """Switches without a word of transition: up to four turns on a subject, then the first turn of another."""
    draw = random.Random(0)
    openings = []
    for turns in rows:
        end = next((place for place, (_, label) in enumerate(turns) if label != turns[0][1]), len(turns))
        openings.append(turns[: min(end, 4)])
    pairs = [(draw.choice(openings), draw.choice(rows)[0]) for _ in range(count)]
    return [[*opening, other] for opening, other in pairs if opening[0][1] != other[1]]


def fitted(rows: Sequence[Conversation], reading: Remembering) -> np.ndarray:
    """Weights for `NAMES`: first from the true states, then also from the states that the router itself gets into."""
    from scipy.optimize import minimize

    router = ConversationRouter(reading)
    made = joined(rows, JOINED)
    gathered: list[tuple[np.ndarray, int, float]] = []
    weights = np.zeros(len(NAMES))
    for teach in (True, False, False):
        router._weights = weights
        for turns in rows:
            gathered += [(*row, 1.0) for row in walk(router, reading, turns, teach)[1]]
        for turns in made:
            gathered += [(*row, JOINED_WEIGHT) for row in walk(router, reading, turns, teach)[1][-1:]]
        stacked = np.stack([row for row, _, _ in gathered])
        labels = np.array([label for _, label, _ in gathered])
        shares = np.array([share for _, _, share in gathered])
        weights = minimize(_loss, weights, (stacked, labels, shares / shares.sum()), "L-BFGS-B", jac=True).x
    return weights


def _loss(weights: np.ndarray, rows: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> tuple[float, np.ndarray]:
    scores = rows @ weights
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    likely = powers / powers.sum(axis=1, keepdims=True)
    at = np.arange(len(labels))
    loss = -(shares * np.log(likely[at, labels] + 1e-12)).sum() + PENALTY * (weights @ weights) / 2
    likely[at, labels] -= 1.0
    return float(loss), np.einsum("n,nd,ndf->f", shares, likely, rows) + PENALTY * weights


def fit(folds: int, price: float, weights_of: Path | None) -> None:
    rows = [[(turn["user"], turn["label"]) for turn in turns] for turns in conversations("dev")]
    reading = Remembering(weights_of)
    out = SHIPPED if reading.reads_conversations else PLAIN
    if folds:
        router = ConversationRouter(reading, price)
        right: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for fold in range(folds):
            router._weights = fitted([turns for n, turns in enumerate(rows) if n % folds != fold], reading)
            for turns in rows[fold::folds]:
                for place, found in enumerate(walk(router, reading, turns, False)[0]):
                    what = kind([{"label": label} for _, label in turns], place)
                    for counted in ("all", what):
                        counts[counted] += 1
                        right[counted] += found == turns[place][1]
        print("cross-validated: " + ", ".join(f"{key} {right[key] / counts[key]:.3f}" for key in KINDS))
    weights = fitted(rows, reading)
    record = {
        "weights": {name: round(float(weight), 4) for name, weight in zip(NAMES, weights, strict=True)},
        "fitted_on": "bench/conversations.jsonl, split dev",
        "sha256": hashlib.sha256(ROWS.read_bytes()).hexdigest(),
    }
    out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"wrote {out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("report", "fit"), help="measure the ways of reading, or fit the weights")
    parser.add_argument(
        "--split", choices=("dev", "test"), default="test", help="which half of the conversations is reported"
    )
    parser.add_argument("--price", type=float, default=0.0, help="router.hand_over_price of the report")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation of fit")
    parser.add_argument("--weights", type=Path, help="fit: a head's folder; default: the shipped one")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    parser.add_argument("--wrong", action="store_true", help="print the wrong turns on stderr")
    given = parser.parse_args()
    if given.what == "fit":
        for path in (SHIPPED, PLAIN):  # read before they are fitted
            if not path.exists():
                path.write_text(json.dumps({"weights": dict.fromkeys(NAMES, 0.0)}), "utf-8")
        fit(given.folds, given.price, given.weights)
        return
    result = report(given.split, given.price, given.wrong)
    print_report(result)
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
