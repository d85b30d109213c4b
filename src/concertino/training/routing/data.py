"""The rows a router is trained, calibrated and tested on: every set of the data folder, labelled and split.

Labels come from the set (`legal/*` is legal), from MMLU's subject, from CLINC150's domain, or from the templates of a
mixed benchmark. Rows are split by group before anything else, so that two rows about one disease, one conversation or
one exam question never straddle a split. A third of `general/mmlu_test.jsonl`, drawn by hash, is an exam for the end:
nothing that appears in it is trained on.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from concertino.errors import ConfigurationError
from concertino.router.conversation import together
from concertino.training.routing.overlap import OverlapIndex, normalised

CLASSES = ("code", "finance", "legal", "medical", "general")

LAW = frozenset({"professional_law", "international_law", "jurisprudence"})
HEALTH = frozenset(
    {"anatomy", "clinical_knowledge", "college_medicine", "human_aging", "medical_genetics", "nutrition"}
    | {"professional_medicine", "virology"}
)
BUSINESS = frozenset(
    {"business_ethics", "management", "marketing", "econometrics", "professional_accounting"}
    | {"high_school_macroeconomics", "high_school_microeconomics"}
)
COMPUTING = frozenset(
    {"college_computer_science", "high_school_computer_science", "computer_security", "machine_learning"}
)

SEEDS = Path(__file__).with_name("seeds.jsonl")
WRITTEN = "seeds_"
"""What the sources of written questions begin with; then comes the class."""
CONVERSATION = "conversation_"
"""What the sources of their rows begin with; then comes the class."""
CONVERSATIONS = Path(__file__).with_name("conversations.jsonl")
"""Conversations written for training, the user's turns each with its class; those of `bench` are others."""

_CODE_TEMPLATE = re.compile(r"^(write a (python )?(function|program)|from typing import|import \w+|def \w+\()", re.I)
_DOMAIN_WORDS = re.compile(
    r"\b(code|program|comput|algorithm|software|python|bank|stock|tax|invest|loan|credit|interest|econom|inflation|"
    r"financ|market|court|law|legal|contract|judge|constitution|amendment|crime|medic|doctor|disease|patient|symptom|"
    r"hospital|cancer|drug|treatment|virus|surgery|blood|vitamin|diet|health|bone|muscle|brain|heart)\w*",
    re.I,
)
_FILES_OF_TOOLS = re.compile(
    r"\b(code|git|sql|regex|function|stock|tax|medic|legal|linux|html|css|python|leetcode)", re.I
)


class Split(StrEnum):
    TRAIN = "train"
    CALIBRATION = "calibration"
    TEST = "test"


class Row(Struct, frozen=True):
    """One text with its class. `group` never straddles a split; `source` is the set it came from."""

    text: str
    label: str
    group: str
    source: str


class Splits(Struct, frozen=True):
    train: tuple[Row, ...]
    calibration: tuple[Row, ...]
    test: tuple[Row, ...]
    exam: tuple[Row, ...]
    """A third of mmlu_test by subject, for one look at the end."""
    hashes: dict[str, str]
    """SHA-256 of each file read."""
    removed: int
    """Training rows dropped because they appear in the exam."""


def subject_class(subject: str) -> str:
    """The class of an MMLU subject; what is neither law, health, business nor computing is general."""
    for label, subjects in (("legal", LAW), ("medical", HEALTH), ("finance", BUSINESS), ("code", COMPUTING)):
        if subject in subjects:
            return label
    return "general"


class _Folder:
    """Reads the sets of a data folder and remembers the hash of each file."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ConfigurationError(
                f"no data folder at {root}; give --data-dir or set CONCERTINO_DATA_DIR", param="data_dir"
            )
        self.root = root
        self.hashes: dict[str, str] = {}

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.root / f"{name}.jsonl"
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"the data folder has no {name}.jsonl: {error}", param="data_dir") from error
        self.hashes[name] = hashlib.sha256(raw).hexdigest()
        for line in raw.splitlines():
            yield json.loads(line)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _snippet(text: str, longest: int = 70) -> str:
    """A run of 6 to `longest` words from `text`, chosen by its hash: clauses and dialogues come in all lengths."""
    words = text.split(" ")
    seed = _digest(text)
    length = 6 + seed % (longest - 5)
    if len(words) <= length:
        return text
    start = 0 if seed % 3 else (seed // 7) % (len(words) - length)
    return " ".join(words[start : start + length])


def _lettered(text: str, choices: list[str]) -> str:
    return text + "\n" + "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=False))


def _code(folder: _Folder) -> Iterator[Row]:
    for row in folder.rows("code/mbpp"):
        lines = [line.strip() for line in row["prompt"].split('"""')[1].splitlines()]
        task = next(line for line in lines if line)
        yield Row(task, "code", task, "mbpp")
        yield Row(row["prompt"].strip(), "code", task, "mbpp_prompt")
        solution = row.get("canonical_solution")
        if solution:
            head = row["prompt"].strip().splitlines()[0]
            yield Row(f"{head}\n{solution.rstrip()}", "code", task, "mbpp_solution")
    for row in folder.rows("code/nl2bash"):
        yield Row(row["text"], "code", row["text"], "nl2bash")
        yield Row(row["command"], "code", row["text"], "nl2bash_command")


def _finance(folder: _Folder) -> Iterator[Row]:
    for row in folder.rows("finance/banking77_train"):
        yield Row(row["text"], "finance", row["text"], "banking77")
    for row in folder.rows("finance/tatqa_dev"):
        document = row["paragraphs"][0] if row["paragraphs"] else row["text"]
        yield Row(row["text"], "finance", document, "tatqa")
        yield Row(_snippet(document), "finance", document, "tatqa_paragraph")
    for row in folder.rows("finance/tfns"):
        yield Row(re.sub(r"https?://\S+", "", row["text"]).strip(), "finance", row["text"], "tfns")


def _legal(folder: _Folder) -> Iterator[Row]:
    for row in folder.rows("legal/cuad_clauses"):
        yield Row(_snippet(row["text"]), "legal", row["text"], "cuad")
    for row in folder.rows("legal/overruling"):
        yield Row(_snippet(row["text"]), "legal", row["text"], "overruling")
    for row in folder.rows("legal/unfair_tos"):
        yield Row(_snippet(row["text"]), "legal", row["text"], "unfair_tos")


def _medical(folder: _Folder) -> Iterator[Row]:
    for row in folder.rows("medical/medquad"):
        yield Row(row["text"], "medical", row["focus"], "medquad")
        if row.get("answer") and _digest(row["text"]) % 8 == 0:
            yield Row(_snippet(row["answer"]), "medical", row["focus"], "medquad_answer")
    for row in folder.rows("medical/pubmedqa_train"):
        yield Row(row["text"], "medical", row["text"], "pubmedqa")
        yield Row(_snippet(row["contexts"][-1]), "medical", row["text"], "pubmedqa_context")
    for name in ("medical/mts_dialog_train", "medical/mts_dialog_dev"):
        for row in folder.rows(name):
            yield Row(_snippet(row["text"]), "medical", row["text"], "mts_dialog")
            yield Row(_snippet(row["note"]), "medical", row["text"], "mts_note")


def _general(folder: _Folder) -> Iterator[Row]:
    for name in ("general/clinc150_train", "general/clinc150_val"):
        for row in folder.rows(name):
            finance = row["domain"] in {"banking", "credit_cards"}
            label, source = ("finance", "clinc_banking") if finance else ("general", "clinc")
            yield Row(row["text"], label, row["text"], source)
    for row in folder.rows("general/gsm8k_train"):
        yield Row(row["text"], "general", row["text"], "gsm8k")
    for row in folder.rows("general/user_instructions"):
        if not _FILES_OF_TOOLS.search(row["app"] + " " + row["text"]):
            yield Row(row["text"], "general", row["text"], "user_instructions")
    for row in folder.rows("routing/llmrouter_train"):
        if _CODE_TEMPLATE.match(row["text"].strip()):
            yield Row(row["text"].strip(), "code", row["text"], "mixed_code")
        elif not _DOMAIN_WORDS.search(row["text"]):
            yield Row(row["text"], "general", row["text"], "mixed")


def _is_exam(question: str) -> bool:
    """Whether a question of mmlu_test is of the third that is only measured on."""
    return _digest("exam:" + normalised(question)) % 3 == 0


def _exams(folder: _Folder) -> Iterator[Row]:
    for name in ("general/mmlu_val", "general/mmlu_dev", "general/mmlu_test"):
        for row in folder.rows(name):
            label = subject_class(row["subject"])
            yield Row(row["text"], label, row["text"], f"mmlu_{label}")
            yield Row(_lettered(row["text"], row["choices"]), label, row["text"], f"mmlu_lettered_{label}")
    for row in folder.rows("routing/routellm_mmlu"):
        label = subject_class(row["subject"])
        prompt = row["text"].removesuffix("Answer:").rstrip()
        question = prompt.split("\nA. ")[0]
        yield Row(question, label, question, f"mmlu_{label}")
        yield Row(prompt, label, question, f"mmlu_lettered_{label}")


_HELD_OUT: tuple[tuple[str, str, str], ...] = (
    ("finance/banking77_test", "finance", "banking77"),
    ("medical/pubmedqa_test", "medical", "pubmedqa"),
    ("general/gsm8k_test", "general", "gsm8k"),
)


def _split_of(group: str) -> Split:
    place = _digest("split:" + normalised(group)) % 20
    return Split.TEST if place < 2 else Split.CALIBRATION if place < 4 else Split.TRAIN


def conversation_rows() -> list[Row]:
    """Later turns as a router reads them: with the turn that opened the subject and the nearest before it.

    A turn that changes the subject is a row of its own too, and so is the first one.
    """
    rows = []
    for number, line in enumerate(CONVERSATIONS.read_text("utf-8").splitlines(), 1):
        turns, opened = json.loads(line)["turns"], 0
        for place, turn in enumerate(turns):
            source, group = f"{CONVERSATION}{turn['label']}", f"conversation {number}"
            if place:
                before = [one["text"] for one in turns[opened:place]]
                rows.append(Row(together(before, turn["text"]), turn["label"], group, source))
            if not place or turn["label"] != turns[place - 1]["label"]:
                rows.append(Row(turn["text"], turn["label"], group, source))
                opened = place
    return rows


def with_written(splits: Splits, rows: Sequence[tuple[str, str]], hashes: Mapping[str, str]) -> Splits:
    """The same with texts and their classes beside the questions written for training, divided and kept out of the exam
    as these are. `hashes` names the files that they came from."""
    index = OverlapIndex(row.text for row in splits.exam)
    told = {normalised(text) for text, _ in rows}
    parts: dict[Split, list[Row]] = {Split.TRAIN: [], Split.CALIBRATION: [], Split.TEST: []}
    for text, label in rows:
        if not index.overlaps(text):
            parts[_split_of(text)].append(Row(text, label, text, f"{WRITTEN}{label}"))

    def joined(old: Sequence[Row], split: Split) -> tuple[Row, ...]:
        return (*(row for row in old if normalised(row.text) not in told), *parts[split])

    return structs.replace(
        splits,
        train=joined(splits.train, Split.TRAIN),
        calibration=joined(splits.calibration, Split.CALIBRATION),
        test=joined(splits.test, Split.TEST),
        hashes=splits.hashes | dict(hashes),
        removed=splits.removed + len(rows) - sum(map(len, parts.values())),
    )


def load_splits(data_dir: Path, note: Callable[[str], None] = lambda _: None) -> Splits:
    """Read, label, deduplicate and split the data folder: 80 % train, 10 % calibration, 10 % test by group.

    Raises ConfigurationError where a set is missing.
    """
    folder = _Folder(data_dir)
    exam = []
    for record in folder.rows("general/mmlu_test"):
        if _is_exam(record["text"]):
            exam.append(Row(record["text"], subject_class(record["subject"]), record["text"], "mmlu_test"))
    index = OverlapIndex(row.text for row in exam)
    parts: dict[Split, list[Row]] = {split: [] for split in Split}
    seen: set[str] = set()
    removed = 0
    for name, label, source in _HELD_OUT:
        for record in folder.rows(name):
            parts[Split.TEST].append(Row(record["text"], label, record["text"], source))
            seen.add(normalised(record["text"]))
    for read in (_exams, _code, _finance, _legal, _medical, _general):
        for row in read(folder):
            key = normalised(row.text)
            if not key or key in seen:
                continue
            seen.add(key)
            if index.overlaps(row.group if row.source.startswith("mmlu") else row.text):
                removed += 1
                continue
            parts[_split_of(row.group)].append(row)
    for line in SEEDS.read_text().splitlines():
        record = json.loads(line)
        seed = Row(record["text"], record["label"], record["text"], f"{WRITTEN}{record['label']}")
        if index.overlaps(seed.text):
            removed += 1
        else:
            parts[_split_of(seed.group)].append(seed)
    parts[Split.TRAIN] += [row for row in conversation_rows() if not index.overlaps(row.text)]
    for name, path in (("routing_seeds", SEEDS), ("routing_conversations", CONVERSATIONS)):
        folder.hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    note(f"removed {removed} rows that appear in the exam")
    return Splits(
        train=tuple(parts[Split.TRAIN]),
        calibration=tuple(parts[Split.CALIBRATION]),
        test=tuple(parts[Split.TEST]),
        exam=tuple(exam),
        hashes=folder.hashes,
        removed=removed,
    )
