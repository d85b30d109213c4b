"""What the built-in detectors find and what they raise falsely, as docs/policy.md reports it.

    python bench/detectors.py --data-dir DATA [--part dev|test]

Reads safety/pii_spans.jsonl for identifiers by type, medical/* for health contexts, and harmless questions of other
domains for false positives. Rows are dealt to `dev` (looked at while writing the patterns) and `test` by a hash of
their text, so the two never share a row.
"""

import argparse
import hashlib
import json
import time
from collections import Counter
from pathlib import Path

from concertino.policy.base import Finding
from concertino.policy.health import HealthContextDetector
from concertino.policy.identifiers import IdentifierDetector
from concertino.policy.text import normalise

HARMLESS = (
    "code/mbpp.jsonl", "code/nl2bash.jsonl", "finance/banking77_test.jsonl", "finance/tatqa_dev.jsonl",
    "finance/tfns.jsonl", "general/clinc150_val.jsonl", "general/gsm8k_test.jsonl", "general/user_instructions.jsonl",
    "legal/cuad_clauses.jsonl", "legal/unfair_tos.jsonl", "legal/overruling.jsonl",
)  # fmt: skip
MEDICAL = (
    "medical/medquad.jsonl", "medical/mts_dialog_dev.jsonl", "medical/mts_dialog_train.jsonl",
    "medical/pubmedqa_train.jsonl", "medical/pubmedqa_test.jsonl",
)  # fmt: skip
ELEMENTS_WITH_NO_IDENTITY = {"GPE", "ORGANIZATION", "DATE_TIME", "TITLE", "AGE", "NRP", "DOMAIN_NAME"}


def rows(path: Path, part: str, field: str = "text") -> list[dict[str, object]]:
    """The rows of one part, each text once."""
    seen: dict[str, dict[str, object]] = {}
    for line in path.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        text = str(row.get(field) or row.get("prompt") or "")
        digest = hashlib.sha256(text.encode()).digest()[0]
        if part == "all" or (part == "test") == bool(digest & 1):
            seen.setdefault(text, {**row, "text": text})
    return list(seen.values())


def overlaps(finding: Finding, span: dict[str, int]) -> bool:
    return finding.start < span["end"] and span["start"] < finding.end


def identifiers(data: Path, part: str) -> None:
    detector = IdentifierDetector()
    total, hit = Counter[str](), Counter[str]()
    named, caught, clean, false = 0, 0, 0, 0
    for row in rows(data / "safety/pii_spans.jsonl", part):
        text, spans = str(row["text"]), row["spans"]
        assert isinstance(spans, list)
        findings = detector.detect(text)  # offsets are of the raw text, so it is not normalised here
        for span in spans:
            total[span["type"]] += 1
            hit[span["type"]] += any(overlaps(finding, span) for finding in findings)
        if any(span["type"] not in ELEMENTS_WITH_NO_IDENTITY for span in spans):
            named += 1
            caught += bool(findings)
        else:
            clean += 1
            false += bool(findings)
    print("| type | spans | found |\n| --- | --- | --- |")
    for kind, count in total.most_common():
        if kind not in ELEMENTS_WITH_NO_IDENTITY:
            print(f"| {kind} | {count} | {hit[kind] / count:.1%} |")
    print(f"| **texts with an identifier** | {named} | {caught / named:.1%} |")
    print(f"| texts with none (false positives) | {clean} | {false / clean:.1%} |\n")


def rates(data: Path, part: str, names: tuple[str, ...], field: str = "text") -> None:
    identifier, health = IdentifierDetector(), HealthContextDetector()
    print("| set | texts | identifier | health context | both | µs a text |\n| --- | --- | --- | --- | --- | --- |")
    for name in names:
        texts = [normalise(str(row["text"])) for row in rows(data / name, part, field)]
        started = time.perf_counter()
        fired = [(bool(identifier.detect(text)), bool(health.detect(text))) for text in texts]
        each = (time.perf_counter() - started) / len(texts) * 1e6
        one, two = sum(a for a, _ in fired) / len(texts), sum(b for _, b in fired) / len(texts)
        both = sum(a and b for a, b in fired) / len(texts)
        print(f"| {name} | {len(texts)} | {one:.1%} | {two:.1%} | {both:.1%} | {each:.0f} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with the public sets")
    parser.add_argument("--part", choices=("dev", "test", "all"), default="test", help="which half of the rows")
    arguments = parser.parse_args()
    identifiers(arguments.data_dir, arguments.part)
    print("Harmless questions (every hit is false):\n")
    rates(arguments.data_dir, arguments.part, HARMLESS)
    print("Medical texts (health context is recall; an identifier is false in questions without persons):\n")
    rates(arguments.data_dir, arguments.part, MEDICAL)


if __name__ == "__main__":
    main()
