"""Topics with texts and with words for them: what invented teams are made of.

A topic is an intent of CLINC150 or BANKING77, a subject of MMLU, or a whole set of the data folder; its phrases are
what somebody would write who describes a specialist for it (`topics.json`, written for this purpose).
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from concertino.errors import ConfigurationError
from concertino.training.routing.data import Row, subject_class

FINANCE = frozenset({"banking", "credit_cards"})
TOPICS = Path(__file__).with_name("topics.json")


class DomainWords(Struct, frozen=True, forbid_unknown_fields=True):
    """A CLINC150 domain: what it may be called, described in a few words, and with its topics listed."""

    names: tuple[str, ...]
    short: str
    full: str


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    """`topics.json`."""

    intents: dict[str, str]
    subjects: dict[str, str]
    sources: dict[str, str]
    domains: dict[str, DomainWords]
    classes: dict[str, tuple[str, ...]]
    """The router's own classes, each described in several ways; those of `general` say what is left over."""


class Topic(Struct, frozen=True):
    """`family` is what may be held out as a whole: a CLINC150 domain, `banking77`, `mmlu` or `own`; `label` is the
    router's class, which may be held out too."""

    family: str
    phrase: str
    label: str
    texts: tuple[str, ...]


class Question(Struct, frozen=True):
    """A labelled question of CLINC150; `domain` is `oos` for what belongs to nobody."""

    text: str
    intent: str
    domain: str


def load_words() -> Words:
    """The phrases that ship with the package."""
    return msgspec.json.decode(TOPICS.read_bytes(), type=Words)


def read(data_dir: Path, name: str, hashes: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of a data set; its SHA-256 goes into `hashes`. Raises ConfigurationError where the set is missing."""
    try:
        raw = (data_dir / f"{name}.jsonl").read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the data folder has no {name}.jsonl: {error}", param="data_dir") from error
    hashes[name] = hashlib.sha256(raw).hexdigest()
    return [json.loads(line) for line in raw.splitlines() if line.strip()]


def load_clinc(data_dir: Path, part: str, hashes: dict[str, str]) -> list[Question]:
    """`train` or `val` of CLINC150."""
    rows = read(data_dir, f"general/clinc150_{part}", hashes)
    return [Question(row["text"], row["intent"], row["domain"]) for row in rows]


def load_topics(data_dir: Path, rows: Iterable[Row], per_topic: int, seed: int, hashes: dict[str, str]) -> list[Topic]:
    """Every topic with up to `per_topic` texts. `rows` are training rows of the router, for the sets as wholes."""
    words, rng = load_words(), random.Random(seed)  # noqa: S311
    texts: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for question in load_clinc(data_dir, "train", hashes):
        if question.intent in words.intents:
            label = "finance" if question.domain in FINANCE else "general"
            texts[question.domain, words.intents[question.intent], label].append(question.text)
    for record in read(data_dir, "finance/banking77_train", hashes):
        texts["banking77", record["label"].replace("_", " ").strip("?"), "finance"].append(record["text"])
    for name in ("general/mmlu_val", "general/mmlu_dev"):
        for record in read(data_dir, name, hashes):
            subject = record["subject"]
            texts["mmlu", words.subjects[subject], subject_class(subject)].append(record["text"])
    for row in rows:
        if row.source in words.sources:
            texts["own", words.sources[row.source], row.label].append(row.text)
    return [Topic(*key, tuple(drawn(rng, found, per_topic))) for key, found in sorted(texts.items())]


def drawn(rng: random.Random, items: Sequence[Any], count: int) -> list[Any]:
    """`count` of the items without repetition, or all of them in another order."""
    return rng.sample(list(items), min(count, len(items)))
