"""A small team's labelled examples."""

import json
from pathlib import Path

_PATTERNS = {
    "programs": (
        "how do I {} a list in python", "write a function that can {} a dictionary", "my script fails to {} the array",
    ),
    "clinic": (
        "my {} hurts since yesterday", "which medicine helps against a swollen {}", "the doctor looked at my {} again",
    ),
    "contracts": (
        "can the landlord {} the lease", "does the contract let them {} the deposit", "who may {} a clause in court",
    ),
}  # fmt: skip
_WORDS = {
    "programs": ("sort", "reverse", "filter", "copy", "merge", "print", "split", "index"),
    "clinic": ("knee", "back", "throat", "ear", "ankle", "tooth", "wrist", "stomach"),
    "contracts": ("end", "extend", "change", "keep", "refuse", "sign", "contest", "assign"),
}
_NOBODYS = ("what is the tallest {}", "tell me a story of a {}", "how do I bake a {}")
_THINGS = ("mountain", "dragon", "cake", "bridge", "tower", "pie", "castle", "tree")


def example_rows() -> list[dict[str, str]]:
    """24 rows for each of three domains and 24 that are nobody's; `kind` is a finer label."""
    rows = [
        {"text": pattern.format(word), "label": domain, "kind": f"{domain}-{number}"}
        for domain, patterns in _PATTERNS.items()
        for number, pattern in enumerate(patterns)
        for word in _WORDS[domain]
    ]
    rows += [{"text": pattern.format(word), "label": "oos", "kind": "oos"} for pattern in _NOBODYS for word in _THINGS]
    return rows


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """As jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
