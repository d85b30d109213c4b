"""Routers on the same questions in one run: ours by tier, neighbours, clusters, the majority, and `semantic-router`.

    python bench/routing.py --data-dir DIR [--exam 1200] [--json] [--out routing.json]

Ours is the head as shipped, and by tier: `linear` where it is sure, `default` where it is not and the generalist
answers. The tier that reads descriptions is for specialists that the head does not know, and no question here is one's:
its texts of others' business are of these five domains. `concertino router train-descriptions` measures it.
`semantic-router` is measured where it is installed (`pip install 'concertino[bench]'`), through an encoder object that
hands it vectors, in several settings; it runs offline. The vectors are those of all-MiniLM-L6-v2 as published, which is
what it would be used with, and those of our tuned encoder, which is a loan. Its threshold and those of neighbours and
clusters are fitted on the calibration part as ours was. Parts: a draw of the test part, exam questions (`mmlu_test` by
subject), hand-written questions, and benchmark questions of another router's data. Then the share of decisions that
typing errors and rewordings leave unchanged, and the re-implemented outcome models on two public outcome tables.
Nothing is fitted on any question that is judged. Prints tables, or JSON with `--json`; `--out` keeps the JSON too.
"""

import argparse
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from concertino.cli.router_tables import outcomes
from concertino.router.alternatives import ClusterRouter, KnnRouter
from concertino.router.fitted import BASE, HEAD, open_encoder
from concertino.router.linear import LinearRouter
from concertino.training.routing.augment import OPENINGS, mistype
from concertino.training.routing.data import CLASSES, Row, load_splits
from concertino.training.routing.figures import figures, fit_temperature, fit_threshold
from concertino.training.routing.fit import OutcomeReport, drawn_rows, fit_domains, fit_outcomes
from concertino.training.routing.left_out import sampled
from concertino.training.routing.report import read_questions
from concertino.training.routing.table import read_outcomes

QUESTIONS = Path(__file__).with_name("routing_questions.jsonl")
GENERAL = CLASSES.index("general")
OURS = "head and neighbours (shipped)"
ALONE = "linear head alone"
PEER_SETTINGS = ((5, "mean"), (20, "sum"), (50, "sum"))
REWORDINGS = (
    (r"^how do i\b", "what is the best way to"), (r"^how can i\b", "tell me how to"),
    (r"^how do you\b", "how does one"),
    (r"^what is\b", "could you tell me what is"), (r"^what are\b", "please list"), (r"^what's\b", "explain"),
    (r"^can i\b", "am I allowed to"), (r"^can my\b", "is it possible that my"), (r"^why\b", "for what reason"),
    (r"^is it\b", "would you say it is"), (r"^should i\b", "do you think I ought to"), (r"^write\b", "please compose"),
    (r"\bmy\b", "our"), (r"\bneed\b", "require"), (r"\bget\b", "obtain"), (r"\bhelp\b", "assist"),
)  # fmt: skip

Scores = Callable[[Sequence[str]], np.ndarray]
"""Texts -> `[texts, classes]`; the larger the likelier."""
Read = Callable[[Sequence[str]], tuple[np.ndarray, set[int]]]
"""Texts -> probabilities, and the places of those whose neighbours were asked."""


def reworded(text: str, rng: random.Random) -> str:
    """Other words for the same by rules: another opening, synonyms, no punctuation at the end. Not a person's words."""
    for pattern, words in REWORDINGS:
        text = re.sub(pattern, words, text, flags=re.I)
    text = text.rstrip("?.! ") or text
    return rng.choice(OPENINGS) + text[:1].lower() + text[1:]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class Remembering:
    """Texts -> vectors of an encoder, each text embedded once."""

    def __init__(self, encoder: str) -> None:
        self.encoder = open_encoder(encoder)
        self.known: dict[str, np.ndarray] = {}

    def whole(self, texts: Sequence[str]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        if fresh:
            self.known.update(zip(fresh, self.encoder.whole(fresh), strict=True))
        return np.stack([self.known[text] for text in texts])


def open_peer(rows: Sequence[Row], memory: Remembering, top: int, aggregation: str) -> Scores:
    """`semantic-router` with each class as a route and its rows as utterances."""
    from semantic_router import IndexedRouter, Route
    from semantic_router.encoders import DenseEncoder

    class Ours(DenseEncoder):  # type: ignore[misc]  # the library may be absent
        def __call__(self, docs: list[str]) -> list[list[float]]:
            return memory.whole(docs).tolist()

    routes = [Route(name=label, utterances=[row.text for row in rows if row.label == label]) for label in CLASSES]
    router = IndexedRouter(Ours(name="ours"), routes, top_k=top, aggregation=aggregation)

    def scores(texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), len(CLASSES)))
        for place, text in enumerate(texts):
            for choice in router(text, limit=None):
                found[place, CLASSES.index(choice.name)] = choice.confidence
        return found

    return scores


def p50(scores: Scores) -> float:
    """Milliseconds of one short question, embedding included where the router embeds."""
    taken = []
    for number in range(60):
        text = f"How do I reverse a linked list of {number} nodes?"
        start = time.perf_counter()
        scores([text])
        taken.append((time.perf_counter() - start) * 1e3)
    return float(np.percentile(taken[10:], 50))


def judge(
    router: LinearRouter | Scores, held: Sequence[Row], parts: dict[str, Sequence[Row]]
) -> dict[str, dict[str, Any]]:
    """Figures of one router on every part; where it has no probabilities, temperature and threshold are fitted."""
    read, threshold = fitted(router, held) if callable(router) else (router.read, router.threshold)
    found = {}
    for name, rows in parts.items():
        chance, asked = read([row.text for row in rows])
        part = figures(chance, [row.label for row in rows], CLASSES, threshold, [row.source for row in rows])
        found[name] = {key: getattr(part, key) for key in ("rows", "accuracy", "macro_f1", "ece", "auroc", "abstained")}
        found[name]["tiers"] = by_tier(chance, [row.label for row in rows], threshold, asked)
    return found


def fitted(scores: Scores, held: Sequence[Row]) -> tuple[Read, float]:
    """What reads texts as `LinearRouter.read` does, asking no neighbours, and its threshold."""
    raw = scores([row.text for row in held])
    truth = np.array([CLASSES.index(row.label) for row in held])
    temperature = fit_temperature(raw, truth)

    def read(texts: Sequence[str]) -> tuple[np.ndarray, set[int]]:
        return softmax(scores(texts) / temperature), set()

    return read, fit_threshold(softmax(raw / temperature), truth, GENERAL)


def by_tier(
    chance: np.ndarray, labels: Sequence[str], threshold: float, asked: Collection[int]
) -> dict[str, dict[str, float | None]]:
    """Share and accuracy of what the head decides, of what it and the neighbours that are `asked` decide, and what is
    left to the generalist."""
    truth = np.array([CLASSES.index(label) for label in labels])
    sure = chance.max(axis=1) >= threshold
    looked, right = np.isin(np.arange(len(truth)), list(asked)), chance.argmax(axis=1) == truth
    tiers = {"linear": right[sure & ~looked], "neighbours": right[sure & looked], "default": (truth == GENERAL)[~sure]}
    return {
        tier: {"share": len(found) / len(labels), "accuracy": float(found.mean()) if len(found) else None}
        for tier, found in tiers.items()
    }


def stability(scores: Scores, rows: Sequence[Row], seed: int) -> dict[str, float]:
    """Share of decisions that stay what they were."""
    rng = random.Random(seed)
    texts = [row.text for row in rows]
    before = scores(texts).argmax(axis=1)
    typed = scores([mistype(text, rng) for text in texts]).argmax(axis=1)
    said = scores([reworded(text, rng) for text in texts]).argmax(axis=1)
    return {"typing errors": float((before == typed).mean()), "rewordings": float((before == said).mean())}


def outcome_tables(data: Path) -> dict[str, OutcomeReport]:
    """The re-implemented rivals on public outcome tables."""
    encoder, found = open_encoder(BASE), dict[str, OutcomeReport]()
    strong, weak = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
    for name, costs in (("llmrouter_train", {}), ("routellm_mmlu", {strong: 1.0, weak: 0.0})):
        table = read_outcomes(data / "routing" / f"{name}.jsonl", costs)
        print(f"outcomes: {name} ...", file=sys.stderr)
        found[name] = fit_outcomes(table, None, "knn", lambda text: None, encoder.whole(table.texts))
    return found


def log_probabilities(router: KnnRouter | ClusterRouter) -> Scores:
    return lambda texts: np.log(router.probabilities(texts) + 1e-9)


def table(results: dict[str, dict[str, Any]], parts: Sequence[str]) -> str:
    lines = [
        "| router | " + " | ".join(parts) + " | ECE (exam) | typing errors | rewordings | p50 ms |",
        "| --- |" + " --- |" * (len(parts) + 4),
    ]
    for name, found in results.items():
        right = " | ".join(f"{found['parts'][part]['accuracy']:.3f}" for part in parts)
        if "stability" not in found:
            lines.append(f"| {name} | {right} | | | | |")
            continue
        same = found["stability"]
        lines.append(
            f"| {name} | {right} | {found['parts'][parts[1]]['ece']:.3f} | {same['typing errors']:.3f} |"
            f" {same['rewordings']:.3f} | {found['p50_ms']:.2f} |"
        )
    return "\n".join(lines)


def tier_lines(parts: dict[str, dict[str, Any]]) -> str:
    """Ours by tier: the share of the decisions, and how many of those are right."""
    lines = ["| tier | " + " | ".join(parts) + " |", "| --- |" + " --- |" * len(parts)]
    for tier in ("linear", "neighbours", "default"):
        cells = []
        for part in parts.values():
            one = part["tiers"][tier]
            cells.append(f"{one['share']:.3f}" + ("" if one["accuracy"] is None else f", {one['accuracy']:.3f} right"))
        lines.append(f"| {tier} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--exam", type=int, default=1200, help="how many exam questions, drawn with a seed")
    parser.add_argument("--per-class", type=int, default=1000, help="labelled texts a domain for those that keep texts")
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    data = Path(arguments.data_dir)
    splits = load_splits(data, lambda message: print(message, file=sys.stderr))
    rows, held = drawn_rows(splits.train, arguments.per_class), sampled(splits.calibration, 60, 3)
    parts: dict[str, Sequence[Row]] = {
        "test": sampled([row for row in splits.test if not row.source.startswith("mixed")], 60, 11),
        "exam": random.Random(5).sample(list(splits.exam), min(arguments.exam, len(splits.exam))),
        "hand-written": read_questions(QUESTIONS),
        "benchmark mix": [row for row in splits.test if row.source.startswith("mixed")],
    }
    majority = {
        name: {"rows": len(part), "accuracy": sum(row.label == "general" for row in part) / len(part)}
        for name, part in parts.items()
    }
    results: dict[str, dict[str, Any]] = {"majority class": {"parts": majority}}
    ours = LinearRouter()
    contenders: dict[str, LinearRouter | Scores] = {OURS: ours, ALONE: ours.head}
    with tempfile.TemporaryDirectory() as folder:
        for method, kind in (("knn", KnnRouter), ("clusters", ClusterRouter)):
            out = Path(folder) / method
            fit_domains(rows, held, out, method, {}, lambda message: print(message, file=sys.stderr))
            router = kind(weights=out)
            contenders[method] = log_probabilities(router)
    try:
        for encoder, said in ((BASE, "MiniLM as published"), (HEAD, "our tuned MiniLM")):
            memory = Remembering(encoder)
            for top, aggregation in PEER_SETTINGS:
                scores = open_peer(rows, memory, top, aggregation)
                contenders[f"semantic-router, {said}, top {top} {aggregation}"] = scores
    except ImportError as error:
        print(f"semantic-router is left out: {error}", file=sys.stderr)
    for name, contender in contenders.items():
        print(f"{name} ...", file=sys.stderr)
        scores = contender.probabilities if isinstance(contender, LinearRouter) else contender
        results[name] = {
            "parts": judge(contender, held, parts),
            "stability": stability(scores, parts["hand-written"], 3),
            "p50_ms": p50(scores),
        }
    tables = outcome_tables(data)
    whole = msgspec.json.encode({"routers": results, "outcomes": tables})
    if arguments.out:
        arguments.out.write_bytes(msgspec.json.format(whole, indent=2))
    if arguments.json:
        print(whole.decode())
        return
    print(table(results, list(parts)))
    print(f"\n{OURS}, by tier\n{tier_lines(results[OURS]['parts'])}")
    for name, report in tables.items():
        print(f"\n{name}\n{outcomes(report)}")


if __name__ == "__main__":
    main()
