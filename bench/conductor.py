"""Compound requests: how well they are recognised, planned and answered, against the generalist alone.

    python bench/conductor.py [answers]  --data-dir DIR [--requests 40] [--composed] [--out FILE]
    python bench/conductor.py report     --data-dir DIR --requests N --out FILE
    python bench/conductor.py recognise  --data-dir DIR [--rows 2000]
    python bench/conductor.py plans      --data-dir DIR [--requests 24]

`recognise` counts single questions of each domain that are taken for several, and assembled requests that are not, and
does both for requests that were written by hand: `compound_requests.jsonl` and `compound_wordings.jsonl` (second things
that are nouns, German, singles that look compound; rules were made with one half of these in sight).
`plans` compares the generalist's plans with those of the segments. `answers` asks the team (`auto`) and the generalist
alone for the same assembled requests, checks each part by a program, and counts seconds, processor time of this process
and its engines, and the price by the cards; it goes on from the answers in FILE. A request that policy keeps from the
generalist (one that reads like somebody's health data) is left out. `report` says again what `answers` has kept. Prints
tables, or JSON with `--json`.

Parts are Python problems (MBPP, run against their tests), exam questions of law, medicine and business (MMLU, the
letter) and school problems (GSM8K, the number), joined by connecting words or written as a list; a request has two or
three, of different domains and with at most one letter.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from msgspec import structs
from team_bases import LETTERS, exam_rows, rows_of, solved

from concertino.config import Settings, load
from concertino.errors import PolicyRefused
from concertino.orchestrator.compose import compose
from concertino.orchestrator.decider import engineless
from concertino.orchestrator.service import Service
from concertino.types import Answer, Decision, Message, Request, Role, Sampling, Usage

SINGLE = (
    "code/mbpp", "code/nl2bash", "finance/banking77_test", "finance/tatqa_dev", "general/clinc150_val",
    "general/gsm8k_test", "general/mmlu_test", "legal/overruling", "legal/unfair_tos", "medical/medquad",
    "medical/mts_dialog_train", "medical/pubmedqa_train", "general/user_instructions", "routing/llmrouter_train",
)  # fmt: skip
MIXED = ("general/user_instructions", "routing/llmrouter_train")
"""Not of one domain each: shown, but not in the total."""
JOINTS = ("\n\nAnd also: ", "\n\nAlso, ", "\n\nAdditionally: ", " And also, ", "\n\n", " Then, on another note: ",
          "\n\nOne more thing: ")  # fmt: skip
EXAMS = ("legal", "finance", "medical")
PART_TOKENS = 400


class Item:
    """One part: its text, its domain, and how its answer is checked."""

    def __init__(self, domain: str, text: str, row: dict[str, Any]) -> None:
        self.domain = domain
        self.text = text
        self.row = row

    def right(self, answer: str) -> bool:
        """The same rule whoever answered: it reads the whole answer, so that headings earn nothing."""
        if self.domain == "code":
            blocks = re.findall(r"```(?:python)?\n(.*?)(?:```|$)", answer, re.DOTALL)
            mine = [block for block in blocks if re.search(rf"def {self.row['entry_point']}\b", block)]
            return any(solved(f"```python\n{block}```", self.row) for block in mine)
        if self.domain == "general":
            found = re.findall(r"(?:Result[*\s:]{0,6}|boxed\{)\\?\$?(-?\d[\d,]*(?:\.\d+)?)", answer)
            wanted = self.row["answer"].split("####")[1].strip().replace(",", "")
            return bool(found) and float(found[-1].replace(",", "")) == float(wanted)
        said = re.findall(r"(?:Choice|[Aa]nswer)(?: is)?\W{0,6}([A-D])\b", answer)
        return bool(said) and said[-1] == self.row["answer"]


def items(data: Path, domain: str, count: int) -> list[Item]:
    draw = random.Random(11)
    if domain == "code":
        rows = draw.sample(rows_of(data / "code/mbpp.jsonl"), count)
        return [Item(domain, _python_text(row), row) for row in rows]
    if domain == "general":
        rows = draw.sample(rows_of(data / "general/gsm8k_test.jsonl"), count)
        return [Item(domain, f"{row['text']} End with 'Result: ' and the number.", row) for row in rows]
    return [Item(domain, _exam_text(row), row) for row in exam_rows(data, domain, count)]


def _python_text(row: dict[str, Any]) -> str:
    signature = re.search(r"def (\w+\([^)]*\))", row["prompt"])
    said = re.search(r'"""\s*(.*?)\n\s*>>> (.*?)\n\s*(.*?)\n', row["prompt"], re.DOTALL)
    assert signature is not None and said is not None
    task, call, result = (" ".join(part.split()) for part in said.groups())
    task = re.sub(r"^Write a (?:python )?function to ", "that serves to ", task, flags=re.IGNORECASE).rstrip(". ")
    return f"Write a Python function `{signature.group(1)}` {task}. For example, `{call}` gives `{result}`."


def _exam_text(row: dict[str, Any]) -> str:
    choices = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, row["choices"], strict=True))
    return f"{row['text'].rstrip()}\n{choices}\nAnswer with 'Choice: ' and the letter of the right choice."


def assembled(data: Path, count: int, seed: int = 5) -> Iterator[tuple[str, list[Item]]]:
    """Compound requests with their parts, in the order of the parts."""
    draw = random.Random(seed)
    store = {domain: items(data, domain, min(count, 60)) for domain in ("code", "general", *EXAMS)}
    used = dict.fromkeys(store, 0)
    for number in range(count):
        kinds = ["code", "general", draw.choice(EXAMS)]
        chosen = kinds if number % 2 else draw.sample(kinds, 2)
        draw.shuffle(chosen)
        parts = []
        for domain in chosen:
            parts.append(store[domain][used[domain] % len(store[domain])])
            used[domain] += 1
        if number % 4 == 3:
            yield "\n".join(f"{place}. {part.text}" for place, part in enumerate(parts, 1)), parts
            continue
        text = parts[0].text
        for part in parts[1:]:
            text += draw.choice(JOINTS) + part.text
        yield text, parts


def asked(text: str, model: str = "auto", tokens: int = 0) -> Request:
    sampling = Sampling(max_tokens=tokens, temperature=0.0) if tokens else Sampling()
    return Request((Message(Role.USER, text),), model, sampling)


async def recognise(data: Path, rows: int, count: int) -> dict[str, Any]:
    decider = engineless(load())
    sets: list[dict[str, Any]] = []
    for name in SINGLE:
        drawn = rows_of(data / f"{name}.jsonl")
        random.Random(3).shuffle(drawn)
        drawn = drawn[: max(1, rows // (len(SINGLE) - len(MIXED)))]
        started = time.perf_counter()
        found = await decider.decide_each([asked(row.get("text") or row["prompt"]) for row in drawn])
        ms = (time.perf_counter() - started) * 1000 / len(drawn)
        several = sum(isinstance(item, Decision) and item.plan is not None for item in found)
        sets.append({"set": name, "rows": len(drawn), "several": several, "ms": ms})
        print(f"{name}: {several} of {len(drawn)}", file=sys.stderr, flush=True)
    whole = exact = cases = 0
    for text, parts in assembled(data, count):
        (decision,) = await decider.decide_many([asked(text)])
        cases += 1
        whole += decision.plan is not None
        exact += decision.plan is not None and len(decision.plan.tasks) == len(parts)
    written = rows_of(Path(__file__).with_name("compound_requests.jsonl"))
    decisions = await decider.decide_many([asked(row["text"]) for row in written])
    by_hand = {}
    for compound in (True, False):
        mine = [
            (row, item) for row, item in zip(written, decisions, strict=True) if bool(row["specialists"]) is compound
        ]
        right = sum(
            [task.specialist for task in item.plan.tasks] == row["specialists"] for row, item in mine if item.plan
        )
        kind = "compound" if compound else "single, of several sentences"
        by_hand[kind] = {"rows": len(mine), "divided": sum(item.plan is not None for _, item in mine), "right": right}
    worded = rows_of(Path(__file__).with_name("compound_wordings.jsonl"))
    for row, item in zip(worded, await decider.decide_many([asked(row["text"]) for row in worded]), strict=True):
        one = by_hand.setdefault(f"{row['kind']}, {row['half']}", {"rows": 0, "divided": 0, "right": 0})
        one["rows"] += 1
        one["divided"] += item.plan is not None
        one["right"] += item.plan is not None and [task.specialist for task in item.plan.tasks] == row["specialists"]
    assembled_found = {"rows": cases, "recognised": whole, "all_parts_apart": exact}
    return {"sets": sets, "assembled": assembled_found, "hand_written": by_hand}


def print_recognised(found: dict[str, Any]) -> None:
    print("| set | rows | taken for several | share | ms a row |\n| --- | ---: | ---: | ---: | ---: |")
    for one in found["sets"]:
        share = one["several"] / one["rows"]
        print(f"| {one['set']} | {one['rows']} | {one['several']} | {share:.4f} | {one['ms']:.1f} |")
    counted = [one for one in found["sets"] if one["set"] not in MIXED]
    total, wrong = sum(one["rows"] for one in counted), sum(one["several"] for one in counted)
    print(f"| single-domain sets together | {total} | {wrong} | {wrong / total:.4f} | |")
    made = found["assembled"]
    share = made["recognised"] / made["rows"]
    print(f"assembled requests: {made['rows']}; recognised {made['recognised']} ({share:.3f}), "
          f"all parts apart {made['all_parts_apart']}")  # fmt: skip
    for kind, one in found["hand_written"].items():
        print(
            f"hand-written, {kind}: {one['rows']}; divided {one['divided']}, each part at its specialist {one['right']}"
        )


def fits(decision: Decision, parts: list[Item]) -> bool:
    """Whether a plan has just these parts, in order, each with the words that its answer needs."""
    tasks = decision.plan.tasks if decision.plan else ()

    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower()))

    return len(tasks) == len(parts) and all(
        len(words(part.text) & words(task.text)) >= 0.9 * len(words(part.text))
        for task, part in zip(tasks, parts, strict=True)
    )


async def plans(data: Path, count: int) -> dict[str, Any]:
    settings = load()
    by_model = structs.replace(settings, workflow=structs.replace(settings.workflow, planner="model"))
    service = compose(by_model)
    await service.start()
    try:
        figures: dict[str, dict[str, float]] = {
            name: {"divided": 0, "right": 0, "seconds": 0.0} for name in ("segments", "model")
        }
        cases = taken = taken_right = 0
        for text, parts in assembled(data, count):
            cases += 1
            for name, figure in figures.items():
                started = time.perf_counter()
                decision = await (service.plan(asked(text)) if name == "model" else service.decide(asked(text)))
                figure["divided"] += decision.plan is not None
                figure["right"] += fits(decision, parts)
                figure["seconds"] += time.perf_counter() - started
            if decision.plan is not None and decision.plan.planned_by == "model":
                taken += 1
                taken_right += fits(decision, parts)
            print(cases, figures, taken, taken_right, file=sys.stderr, flush=True)
        return {"requests": cases, "planners": figures, "plans_of_the_model": {"valid": taken, "right": taken_right}}
    finally:
        await service.close()


def print_plans(found: dict[str, Any]) -> None:
    print("| planner | requests | divided | just the parts that were asked | s a plan |")
    print("| --- | ---: | ---: | ---: | ---: |")
    cases = found["requests"]
    for name, one in found["planners"].items():
        print(f"| {name} | {cases} | {one['divided']:.0f} | {one['right']:.0f} | {one['seconds'] / cases:.2f} |")
    own = found["plans_of_the_model"]
    print(f"of the model's plans {own['valid']} were valid, {own['right']} of them with just the parts that were asked")
    print("the segments took the place of the others")


def processor_s() -> float:
    """Processor seconds of this process and its engines so far."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in [own, *own.children(recursive=True)])


async def timed(service: Service, request: Request) -> tuple[Answer, float, float]:
    started, spent = time.perf_counter(), processor_s()
    answer = await service.answer(request)
    return answer, time.perf_counter() - started, processor_s() - spent


def price(settings: Settings, answer: Answer) -> float:
    """By the cards, of everybody who had a part in it; a composition is its generalist's."""
    used = [(part.specialist, part.usage) for part in answer.parts] or [(answer.specialist, answer.usage)]
    rest = answer.usage.completion_tokens - sum(usage.completion_tokens for _, usage in used)
    total = 0.0
    for name, usage in [*used, (settings.router.default, Usage(completion_tokens=max(0, rest)))]:
        card = settings.card(name)
        if card is not None:
            total += usage.prompt_tokens * card.price.prompt + usage.completion_tokens * card.price.completion
    return total / 1e6


async def answers(data: Path, count: int, out: str, composed: bool) -> dict[str, Any]:
    settings = load()
    workflow = structs.replace(settings.workflow, deadline_s=600.0, answer="composed" if composed else "parts")
    gateway = structs.replace(settings.gateway, request_timeout_s=1000.0)
    service = compose(structs.replace(settings, workflow=workflow, gateway=gateway))
    before = {row["request"]: row for row in checked_again(kept_in(out), data, count)}
    await service.start()
    rows = []
    try:
        for number, (text, parts) in enumerate(assembled(data, count)):
            if text in before:
                rows.append(before[text])
                continue
            tokens = PART_TOKENS * len(parts)
            row: dict[str, Any] = {"request": text, "domains": [part.domain for part in parts]}
            order = ("auto", "general") if number % 2 else ("general", "auto")
            try:
                await service.decide(asked(text, "general", tokens))
            except PolicyRefused as error:
                print(number, f"left out: the generalist may not see it ({error})", file=sys.stderr, flush=True)
                continue
            for model in order:
                answer, seconds, cpu = await timed(service, asked(text, model, tokens))
                row[model] = {
                    "right": [part.right(answer.text) for part in parts],
                    "seconds": round(seconds, 2),
                    "cpu_seconds": round(cpu, 2),
                    "price": price(settings, answer),
                    "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
                    "parts": len(answer.parts),
                    "text": answer.text,
                }
            rows.append(row)
            print(number, row["domains"], [row[m]["right"] for m in ("auto", "general")], file=sys.stderr, flush=True)
            keep(rows, out)
    finally:
        await service.close()
    return report(rows)


def keep(rows: list[dict[str, Any]], out: str) -> None:
    """After each request, so that a run that was stopped can be reported."""
    if out:
        Path(out).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def kept_in(out: str) -> list[dict[str, Any]]:
    """The answers that an earlier run has kept; none without a file."""
    path = Path(out)
    return list(json.loads(path.read_text("utf-8"))) if out and path.is_file() else []


def checked_again(rows: list[dict[str, Any]], data: Path, count: int) -> list[dict[str, Any]]:
    """Kept answers against the checks of today; `count` must be that of the run."""
    made = dict(assembled(data, count))
    for row in rows:
        assert row["request"] in made, "kept by a run with another --requests"
        for model in ("auto", "general"):
            row[model]["right"] = [part.right(row[model]["text"]) for part in made[row["request"]]]
    return rows


WHO = {"auto": "conductor", "general": "generalist alone"}


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of both sides, by domain too; the difference with an interval by resampling requests."""
    sides: dict[str, dict[str, Any]] = {}
    for model, name in WHO.items():
        right = sum(sum(row[model]["right"]) for row in rows)
        sides[name] = {
            "requests": len(rows),
            "parts": sum(len(row[model]["right"]) for row in rows),
            "right": right,
            "seconds_a_request": sum(row[model]["seconds"] for row in rows) / len(rows),
            "cpu_seconds_a_right_part": sum(row[model]["cpu_seconds"] for row in rows) / max(1, right),
            "tokens_a_request": sum(sum(row[model]["tokens"]) for row in rows) / len(rows),
            "price_a_request": sum(row[model].get("price", 0.0) for row in rows) / len(rows),
            "by_domain": {domain: _of_domain(rows, model, domain) for domain in ("code", "general", *EXAMS)},
        }
    differences = [(sum(row["auto"]["right"]) - sum(row["general"]["right"]), len(row["domains"])) for row in rows]
    draw, shares = random.Random(1), []
    for _ in range(4000):
        again = draw.choices(differences, k=len(differences))
        shares.append(sum(gain for gain, _ in again) / sum(parts for _, parts in again))
    shares.sort()
    mean = sum(gain for gain, _ in differences) / sum(parts for _, parts in differences)
    undivided = sum(row["auto"]["parts"] == 0 for row in rows)
    return {"sides": sides, "difference": mean, "interval_95": [shares[100], shares[3899]], "not_divided": undivided}


def _of_domain(rows: list[dict[str, Any]], model: str, domain: str) -> dict[str, int]:
    found = [ok for row in rows for ok, kind in zip(row[model]["right"], row["domains"], strict=True) if kind == domain]
    return {"right": sum(found), "parts": len(found)}


def print_report(found: dict[str, Any]) -> None:
    print("| who | requests | parts | right | share | s a request | CPU s a right part | tokens a request | price |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, one in found["sides"].items():
        cells = f"{one['requests']} | {one['parts']} | {one['right']} | {one['right'] / one['parts']:.3f}"
        spent = (
            f"{one['seconds_a_request']:.1f} | {one['cpu_seconds_a_right_part']:.1f} | {one['tokens_a_request']:.0f}"
        )
        print(f"| {name} | {cells} | {spent} | {one['price_a_request']:.3g} |")
    ours, theirs = (side["by_domain"] for side in found["sides"].values())
    for domain, one in ours.items():
        other = theirs[domain]
        print(f"{domain}: {one['right']}/{one['parts']} against {other['right']}/{other['parts']}")
    low, high = found["interval_95"]
    mean = found["difference"]
    print(f"difference {mean:+.3f}, 95 % interval by resampling requests {low:+.3f} to {high:+.3f}")
    print(f"not divided: {found['not_divided']} of {found['sides']['conductor']['requests']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("answers", "report", "recognise", "plans")
    parser.add_argument("what", nargs="?", choices=kinds, default="answers", help="default: answers")
    parser.add_argument(
        "--data-dir",
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--rows", type=int, default=2000, help="single questions, for recognise")
    parser.add_argument("--requests", type=int, default=40, help="compound requests that are assembled")
    parser.add_argument("--composed", action="store_true", help="let the generalist compose the team's answers")
    parser.add_argument("--out", default="", help="where answers are kept, request by request")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    arguments = parser.parse_args()
    if not arguments.data_dir:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    if arguments.what == "report" and not arguments.out:
        parser.error("report reads what answers has kept: give --out")
    found, show = measured(arguments, Path(arguments.data_dir))
    print(json.dumps(found)) if arguments.json else show(found)


def measured(arguments: argparse.Namespace, data: Path) -> tuple[dict[str, Any], Callable[[dict[str, Any]], None]]:
    """The figures, and what prints them."""
    if arguments.what == "report":
        kept = checked_again(kept_in(arguments.out), data, arguments.requests)
        return report(kept), print_report
    if arguments.what == "recognise":
        return asyncio.run(recognise(data, arguments.rows, 200)), print_recognised
    if arguments.what == "plans":
        return asyncio.run(plans(data, arguments.requests)), print_plans
    return asyncio.run(answers(data, arguments.requests, arguments.out, arguments.composed)), print_report


if __name__ == "__main__":
    main()
