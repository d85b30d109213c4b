"""How well is something found, is it known when nothing was, and who is turned away?

    python bench/knowledge.py retrieval --data-dir DIR [--share 0.25]
    python bench/knowledge.py scope --data-dir DIR
    python bench/knowledge.py answers --data-dir DIR --config FILE [--questions 20]

`retrieval` indexes MedQuAD without a tenth of its diseases and asks: its own questions; the same in other words; lay
questions written for this (`bench/knowledge_questions.jsonl`); questions about the diseases that were left out; and
texts of other domains. `scope` counts questions that a specialist turns away, rightly and wrongly. `answers` runs
lay questions through the team, quoted and generated, prints every answer on stderr for a person to judge, and counts
how many name sources.
`retrieval` needs scikit-learn (the `evaluate` extra), `answers` an index (`concertino ingest medical ...`).
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from concertino import config
from concertino.knowledge.index import Index
from concertino.knowledge.ingest import SourceFile, ingest
from concertino.knowledge.passages import Passage, cut
from concertino.knowledge.search import FOUND, TOP, Hit, search
from concertino.models.store import Store
from concertino.orchestrator.compose import ModelFiles
from concertino.orchestrator.scope import INSTEAD, INSTEAD_GENERAL, NOTED, NOTED_GENERAL
from concertino.specialists.pool import Pool
from concertino.types import Message, Role

OTHER_WORDS = {
    "information": ("what is {}", "tell me about {}", "i was told i have {}, what does that mean"),
    "symptoms": ("how do i know if i have {}", "signs of {}", "what does {} feel like"),
    "treatment": ("how do you get rid of {}", "what can be done against {}", "medicine for {}"),
    "causes": ("why do people get {}", "where does {} come from"),
    "exams and tests": ("how do doctors find out if it is {}", "test for {}"),
    "prevention": ("how can i avoid getting {}",),
    "outlook": ("will i die of {}", "life expectancy with {}"),
    "inheritance": ("can my children get {} from me", "does {} run in families"),
    "frequency": ("how rare is {}", "how common is {}"),
    "genetic changes": ("which gene causes {}",),
    "susceptibility": ("who gets {}",),
}
_HEALTH = (
    "anatomy clinical_knowledge college_medicine medical_genetics nutrition professional_medicine virology human_aging"
    " human_sexuality college_biology high_school_biology professional_psychology high_school_psychology"
)
HEALTH_SUBJECTS = frozenset(_HEALTH.split())
LAY = Path(__file__).with_name("knowledge_questions.jsonl")


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Embedder:
    """The built-in team's embedding model, started alone."""

    def __init__(self) -> None:
        settings = config.load()
        self.card = settings.embeddings[0]
        self._files = ModelFiles(Store(settings.home_path))
        alone = structs.replace(settings, specialists=(), embeddings=(self.card,))
        self._backend = Pool(alone, self._files.open, lambda _: "", self._files.file).backends[self.card.backend]
        self._runner = asyncio.Runner()
        self._runner.run(self._backend.start())

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        return self._runner.run(self._backend.embed(self.card.model, list(texts))).vectors

    def close(self) -> None:
        self._runner.run(self._backend.close())
        self._runner.close()
        self._files.release()


def questions(rows: list[dict[str, Any]], share: float, rng: random.Random) -> tuple[list[int], dict[str, list[Any]]]:
    """Numbers of the rows to index, and the questions by kind, each with what would be a right hit."""
    lay = rows_of(LAY)
    focuses = sorted({row["focus"].lower() for row in rows})
    of_lay = {focus for focus in focuses for asked in lay if any(word in focus for word in asked["focus"])}
    others = [focus for focus in focuses if focus not in of_lay]
    rng.shuffle(others)
    others = others[: int(len(others) * share)]
    left_out, kept = set(others[: len(others) // 10]), of_lay | set(others[len(others) // 10 :])
    indexed = [place for place, row in enumerate(rows) if row["focus"].lower() in kept]
    words = " ".join(f"{rows[place]['text']} {rows[place]['answer']}".lower() for place in indexed)

    def reworded(row: dict[str, Any]) -> str:
        return rng.choice(OTHER_WORDS[row["qtype"]]).format(row["focus"].lower())

    drawn = rng.sample([place for place in indexed if rows[place]["qtype"] in OTHER_WORDS], 300)
    unknown: dict[str, str] = {}
    for row in rng.sample(rows, len(rows)):
        focus = row["focus"].lower()
        if focus in left_out and focus not in unknown and row["qtype"] in OTHER_WORDS and focus not in words:
            unknown[focus] = reworded(row)
    return indexed, {
        "own": [(rows[place]["text"], _same(rows[place])) for place in drawn],
        "other words": [(reworded(rows[place]), _same(rows[place])) for place in drawn],
        "lay": [(asked["text"], _about(asked["focus"])) for asked in lay],
        "left out": [(text, None) for text in list(unknown.values())[:300]],
    }


def _same(asked: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    return lambda row: (row["focus"].lower(), row["qtype"]) == (asked["focus"].lower(), asked["qtype"])


def _about(words: list[str]) -> Callable[[dict[str, Any]], bool]:
    return lambda row: any(word in row["focus"].lower() for word in words)


def off_domain(data: Path, rng: random.Random) -> list[str]:
    """Texts that no medical source answers."""
    found = [row["text"] for row in rng.sample(rows_of(data / "general/clinc150_val.jsonl"), 150)]
    found += [row["text"] for row in rng.sample(rows_of(data / "finance/banking77_test.jsonl"), 100)]
    found += [row["text"] for row in rng.sample(rows_of(data / "legal/unfair_tos.jsonl"), 50)]
    found += [row["text"] for row in rng.sample(rows_of(data / "general/user_instructions.jsonl"), 50)]
    exam = [row for row in rows_of(data / "general/mmlu_val.jsonl") if row["subject"] not in HEALTH_SUBJECTS]
    return found + [row["text"] for row in rng.sample(exam, 150)]


def retrieval(arguments: argparse.Namespace) -> None:
    rng = random.Random(9)
    rows = rows_of(arguments.data_dir / "medical/medquad.jsonl")
    indexed, asked = questions(rows, arguments.share, rng)
    asked["off domain"] = [(text, None) for text in off_domain(arguments.data_dir, rng)]
    embed = Embedder()
    vectors = {kind: embed([text for text, _ in pairs]) for kind, pairs in asked.items()}
    try:
        for name, titled in (("question as title", True), ("answers alone", False)):
            if not titled and arguments.titled_only:
                continue
            with tempfile.TemporaryDirectory() as folder:
                passages = tuple(
                    Passage(passage.title, passage.text, passage.source, str(place))
                    for place in indexed
                    for passage in cut(rows[place]["answer"], rows[place]["text"] if titled else "", "medquad.jsonl")
                )
                path, began = Path(folder) / "index.sqlite", time.monotonic()
                report = ingest(path, [SourceFile("medquad.jsonl", "0" * 64, passages)], embed, embed.card.model)
                spent = time.monotonic() - began
                print(f"\n{name}: {report.passages} passages, {report.bytes / 1e6:.1f} MB, {spent:.0f} s\n")
                index = Index(path)
                for way, with_vectors in (("words and vectors", True), ("words alone", False)):
                    measure(index, rows, asked, vectors if with_vectors else {}, way)
                index.close()
    finally:
        embed.close()


def measure(index: Index, rows: list[dict[str, Any]], asked: dict[str, Any], vectors: dict[str, Any], way: str) -> None:
    """Print hits, the separation of found from not found, and weights fitted to this index."""
    found: dict[str, list[list[Hit]]] = {}
    taken = []
    for kind, pairs in asked.items():
        found[kind] = []
        for place, (text, _) in enumerate(pairs):
            began = time.perf_counter()
            found[kind].append(search(index, text, np.array(vectors[kind][place], np.float32) if vectors else None))
            taken.append(time.perf_counter() - began)
    print(f"{way} (search p50 {statistics.median(taken) * 1e3:.0f} ms)")
    for kind, pairs in asked.items():
        firsts = [hits[0].likelihood if hits else 0.0 for hits in found[kind]]
        line = f"  {kind:<12} {len(pairs):>4} questions  said found {np.mean(np.array(firsts) >= FOUND):.3f}"
        if pairs and pairs[0][1] is not None:
            right = [
                [is_right(rows[int(hit.passage.place)]) for hit in hits]
                for (_, is_right), hits in zip(pairs, found[kind], strict=True)
            ]
            line += (
                f"  hit@1 {np.mean([any(r[:1]) for r in right]):.3f}  hit@{TOP} {np.mean([any(r) for r in right]):.3f}"
            )
        print(line)
    fitted(found)


def fitted(found: dict[str, list[list[Hit]]]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    def features(kind: str) -> np.ndarray:
        best = [hits[0] if hits else None for hits in found[kind]]
        return np.array([[hit.cosine, hit.coverage] if hit else [0.0, 0.0] for hit in best])

    def scores(kind: str) -> list[float]:
        return [hits[0].likelihood if hits else 0.0 for hits in found[kind]]

    for yes in ("other words", "lay"):
        for no in ("off domain", "left out"):
            truth = [1] * len(found[yes]) + [0] * len(found[no])
            print(f"  AUROC {yes} against {no}: {roc_auc_score(truth, scores(yes) + scores(no)):.3f}")
    kinds = ("other words", "lay", "off domain", "left out")
    x, y = (
        np.concatenate([features(kind) for kind in kinds]),
        np.concatenate([np.full(len(found[kind]), float(place < 2)) for place, kind in enumerate(kinds)]),
    )
    weight = np.concatenate([np.full(len(found[kind]), 1.0 / len(found[kind])) for kind in kinds])
    model = LogisticRegression(C=100.0, max_iter=1000).fit(x, y, weight * len(y) / weight.sum())
    print(f"  fitted here: intercept {model.intercept_[0]:.2f}, cosine and coverage {model.coef_[0].round(2)}\n")


def scope(arguments: argparse.Namespace) -> None:
    from concertino.router.linear import LinearRouter
    from concertino.training.routing.data import CLASSES, load_splits

    router, rng = LinearRouter(), random.Random(5)
    splits = load_splits(arguments.data_dir, lambda sentence: print(sentence, file=sys.stderr))
    by_source: dict[tuple[str, str], list[Any]] = {}
    for row in splits.test:
        by_source.setdefault((row.label, row.source), []).append(row)
    drawn = [row for rows in by_source.values() for row in rng.sample(rows, min(150, len(rows)))]
    hand = rows_of(Path(__file__).with_name("routing_questions.jsonl"))

    def label(value: object) -> str:
        return CLASSES[value] if isinstance(value, int) else str(value)

    parts = {
        "test": [(row.text, label(row.label)) for row in drawn],
        "exam": [(row.text, label(row.label)) for row in rng.sample(list(splits.exam), 2500)],
        "hand-written": [(row["text"], row["label"]) for row in hand],
    }
    print("| part | questions of its own | turned away | noted | of another specialist | told so alone | noted too |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, pairs in parts.items():
        rankings = router.rank([[Message(Role.USER, text)] for text, _ in pairs])
        own: list[Any] = []
        other: list[Any] = []
        for mine in [domain for domain in CLASSES if domain != "general"]:
            for (_, domain), ranking in zip(pairs, rankings, strict=True):
                general = ranking.domain == "general"
                there = ranking.domain not in (None, mine)
                instead = there and ranking.confidence >= (INSTEAD_GENERAL if general else INSTEAD)
                noted = there and not instead and ranking.confidence >= (NOTED_GENERAL if general else NOTED)
                (own if domain == mine else other).append((instead, noted))
        shares = [f"{np.mean([row[place] for row in rows]):.3f}" for rows in (own, other) for place in (0, 1)]
        print(f"| {name} | {len(own)} | {shares[0]} | {shares[1]} | {len(other)} | {shares[2]} | {shares[3]} |")


def answers(arguments: argparse.Namespace) -> None:
    from concertino import Team

    asked = [row["text"] for row in rows_of(LAY)]
    asked = random.Random(2).sample(asked, arguments.questions)
    settings = config.load(arguments.config)
    for mode in ("required", "optional"):
        cards = tuple(structs.replace(c, knowledge=mode) if c.name == "medical" else c for c in settings.specialists)
        supports, cites, seconds = [], [], []
        with Team(structs.replace(settings, specialists=cards)) as team:
            team.start()
            for text in asked:
                began = time.monotonic()
                answer = team.ask(text, model="medical").text
                seconds.append(time.monotonic() - began)
                print(f"--- {mode}: {text}\n{answer}\n", file=sys.stderr)
                body, _, _ = answer.partition("\n\nSources:\n")
                cites.append("[1]" in body or "[2]" in body or "[3]" in body)
                supports.append(answer.count("\n[") if "Sources:" in answer else 0)
        print(
            f"{mode}: {np.mean([count > 0 for count in supports]):.2f} with sources, "
            f"{np.mean(cites):.2f} cite one in the text, {statistics.median(seconds):.1f} s an answer (median)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("retrieval", "scope", "answers"), help="which of the three is measured")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the diseases that no lay question needs")
    parser.add_argument("--titled-only", action="store_true", help="leave the index without questions out")
    parser.add_argument("--config", type=Path, help="the team that answers; default: the built-in one")
    parser.add_argument("--questions", type=int, default=20, help="lay questions, for answers")
    arguments = parser.parse_args()
    arguments.data_dir = Path(arguments.data_dir or ".")
    {"retrieval": retrieval, "scope": scope, "answers": answers}[arguments.what](arguments)


if __name__ == "__main__":
    main()
