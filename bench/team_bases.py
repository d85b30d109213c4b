"""Which base model for which specialist: each candidate on questions of each domain, same rows, same machine, one run.

    python bench/team_bases.py --data-dir DIR [--models smollm2-135m-instruct,...] [--rows 100] [--problems 60]

Exam questions (MMLU validation part) are answered by one constrained letter; Python problems (MBPP) by writing the
function, which is then run against its tests in a sandbox. Prints a table, and JSON to --out. `concertino evaluate
recipes/code/python.yaml --base MODEL` measures the Python problems with more care: the best of several prompts, and
intervals.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from concertino.backends.base import BackendContext, Generation, ModelUse
from concertino.backends.llamacpp import LlamaCppBackend
from concertino.config import home_folder
from concertino.models.store import Store
from concertino.programs.reading import read_program
from concertino.programs.sandbox import passes
from concertino.types import Message, Role, Sampling

SUBJECTS = {
    "legal": ("professional_law", "international_law", "jurisprudence"),
    "finance": (
        "business_ethics",
        "management",
        "marketing",
        "econometrics",
        "high_school_macroeconomics",
        "high_school_microeconomics",
        "professional_accounting",
    ),
    "medical": (
        "anatomy",
        "clinical_knowledge",
        "college_medicine",
        "human_aging",
        "medical_genetics",
        "nutrition",
        "professional_medicine",
        "virology",
    ),
}
LETTERS = "ABCD"


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def exam_rows(data: Path, domain: str, count: int) -> list[dict[str, Any]]:
    rows = rows_of(data / "general/mmlu_val.jsonl")
    taken = {subject for subjects in SUBJECTS.values() for subject in subjects}
    wanted = SUBJECTS.get(domain)
    mine = [row for row in rows if (row["subject"] in wanted if wanted else row["subject"] not in taken)]
    return random.Random(7).sample(mine, min(count, len(mine)))


async def exam(backend: LlamaCppBackend, model: str, rows: list[dict[str, Any]]) -> tuple[int, float]:
    right, started = 0, time.monotonic()
    for row in rows:
        choices = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, row["choices"], strict=True))
        prompt = f"{row['text']}\n{choices}\nAnswer with the letter of the right choice."
        generation = Generation(
            model,
            (Message(Role.SYSTEM, "You answer exam questions."), Message(Role.USER, prompt)),
            Sampling(max_tokens=2, temperature=0.0),
            grammar='root ::= "A" | "B" | "C" | "D"',
        )
        text = "".join([chunk.text async for chunk in backend.generate(generation)])
        right += text == row["answer"]
    return right, time.monotonic() - started


async def python_problems(backend: LlamaCppBackend, model: str, rows: list[dict[str, Any]]) -> tuple[int, float]:
    right, spent = 0, 0.0
    for row in rows:
        prompt = f"Complete this Python function. Answer with the whole function in a code block.\n{row['prompt']}"
        generation = Generation(
            model,
            (Message(Role.SYSTEM, "You write correct Python."), Message(Role.USER, prompt)),
            Sampling(max_tokens=320, temperature=0.0),
        )
        started = time.monotonic()
        text = "".join([chunk.text async for chunk in backend.generate(generation)])
        spent += time.monotonic() - started
        right += solved(text, row)
    return right, spent


def solved(answer: str, row: dict[str, Any]) -> bool:
    """Whether the answer's program passes the problem's tests, as `concertino evaluate` would run them."""
    program, name = read_program(answer), row["entry_point"]
    return program is not None and passes(program, f"import program\n{row['test']}\ncheck(program.{name})\n")


async def measure(model: str, path: Path, tasks: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    backend = LlamaCppBackend(BackendContext("bench", {}, (ModelUse(model),), lambda _: path))
    await backend.start()
    results = []
    try:
        for name, rows in tasks.items():
            run = python_problems if name == "code" else exam
            right, seconds = await run(backend, model, rows)
            results.append(
                {
                    "model": model,
                    "task": name,
                    "rows": len(rows),
                    "right": right,
                    "accuracy": round(right / len(rows), 3),
                    "seconds_per_row": round(seconds / len(rows), 3),
                }
            )
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    finally:
        await backend.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument(
        "--models",
        default="smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct,qwen2.5-coder-1.5b-instruct",
        help="models of the catalogue, with commas between",
    )
    parser.add_argument("--rows", type=int, default=100, help="exam questions a domain")
    parser.add_argument("--problems", type=int, default=60, help="programming problems")
    parser.add_argument("--out", default="", help="write the figures here as JSON too")
    arguments = parser.parse_args()
    if not arguments.data_dir:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    data = Path(arguments.data_dir)
    problems = random.Random(7).sample(rows_of(data / "code/mbpp.jsonl"), arguments.problems)
    tasks = {"code": problems} | {
        domain: exam_rows(data, domain, arguments.rows) for domain in ("legal", "finance", "medical", "general")
    }
    store = Store(home_folder())
    results = [
        row for model in arguments.models.split(",") for row in asyncio.run(measure(model, store.resolve(model), tasks))
    ]
    print("| model | " + " | ".join(f"{name} ({len(rows)})" for name, rows in tasks.items()) + " | s a row, exam |")
    print("| --- |" + " ---: |" * (len(tasks) + 1))
    for model in arguments.models.split(","):
        mine = [row for row in results if row["model"] == model]
        exams = [row["seconds_per_row"] for row in mine if row["task"] != "code"]
        cells = " | ".join(f"{row['accuracy']:.3f}" for row in mine)
        print(f"| {model} | {cells} | {sum(exams) / len(exams):.2f} |")
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
