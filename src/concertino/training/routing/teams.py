"""Invented teams with questions: what the language-model router is trained on, so that it reads descriptions.

A team is a handful of specialists, each described by a topic's phrase, by several, or as a domain of CLINC150 or of the
built-in team is; whatever none of them is for belongs to the last line. Its questions come from the topics of its
members and from topics that are plainly nobody's. No two teams are alike, and letters are dealt anew, so that neither
names nor places can be learned by heart.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from concertino.router.language import LETTERS, question, team_lines
from concertino.training.routing.augment import vary
from concertino.training.routing.data import CLASSES, Row, Splits
from concertino.training.routing.topics import Topic, Words, drawn, load_topics, load_words

GENERAL = "general"
MOST = len(LETTERS) - 1
KIN = {"banking": "money", "credit_cards": "money", "banking77": "money"}
"""Families about the same things: a team with a specialist for one asks nobody about the other."""


class TeamRecipe(Struct, frozen=True):
    """Everything that decides the teams, beside the data."""

    seed: int = 7
    teams: int = 1000
    questions: int = 16
    """Questions a team."""
    per_topic: int = 60
    own_share: float = 0.45
    """Share of teams of the router's own classes, described in other words each time."""
    rest_share: float = 0.3
    """Share of questions that are nobody's."""
    varied: float = 0.35
    """Share of questions with typing errors, greetings or wrappings."""


class Asked(Struct, frozen=True):
    """A question put to a team; `label` is a letter."""

    text: str
    label: str
    team: str


Pool = dict[str, list[str]]
"""What may be asked of a member, by topic."""


def _area(topic: Topic) -> str:
    """Topics of one area may be about the same thing."""
    return KIN.get(topic.family, topic.label if topic.label != GENERAL else topic.family)


def _mixed_team(
    topics: Sequence[Topic], words: Words, rng: random.Random
) -> tuple[list[tuple[str, list[Topic]]], list[Topic]]:
    """Descriptions with their topics, and the topics that are nobody's."""
    by_family: defaultdict[str, list[Topic]] = defaultdict(list)
    for topic in topics:
        by_family[topic.family].append(topic)
    members: list[tuple[str, list[Topic]]] = []
    taken: set[str] = set()
    for _ in range(rng.choice([2, 3, 3, 4, 4, 5, 6, 7])):
        family = rng.choice(sorted(by_family))
        free = [topic for topic in by_family[family] if topic.phrase not in taken]
        kin = words.domains.get(family)
        whole = kin is not None and len(free) == len(by_family[family]) and rng.random() < 0.6
        if whole and kin is not None:
            inside, said = free, rng.choice([kin.full, kin.full, kin.short, rng.choice(kin.names)])
        else:
            inside = drawn(rng, free, rng.choice([1, 1, 2, 3, 4]))
            listed = ", ".join(topic.phrase.rstrip(".") for topic in inside)
            named = kin is not None and rng.random() < 0.3
            said = f"{rng.choice(kin.names)}: {listed}" if named and kin is not None else listed
        # Two members of one area only where they are topics of one set, which its own labels tell apart.
        areas = {_area(topic): topic.family for _, found in members for topic in found}
        if not inside or any(areas.get(_area(topic), topic.family) != topic.family for topic in inside):
            continue
        members.append((said, inside))
        taken |= {topic.phrase for topic in inside}
        if whole:
            taken |= {topic.phrase for topic in by_family[family]}
    inside_areas = {_area(topic): topic.family for _, found in members for topic in found}
    rest = [
        topic
        for topic in topics
        if topic.phrase not in taken and inside_areas.get(_area(topic), topic.family) == topic.family
        and (topic.family not in ("own", "mmlu") or _area(topic) not in inside_areas)
    ]  # fmt: skip
    return members, rest


def _own_team(
    rows: dict[str, dict[str, list[str]]], topics: Sequence[Topic], words: Words, rng: random.Random
) -> tuple[list[tuple[str, Pool]], Pool]:
    """Some of the router's own classes, in words of their own, perhaps beside specialists for other topics."""
    classes = drawn(rng, [name for name in CLASSES if name != GENERAL and name in rows], rng.choice([2, 3, 4, 4]))
    members: list[tuple[str, Pool]] = [(rng.choice(words.classes[name]), rows[name]) for name in classes]
    rest: Pool = dict(rows[GENERAL])
    if rng.random() < 0.35:
        others = [t for t in topics if t.label == GENERAL and t.family in words.domains]
        for topic in drawn(rng, others, rng.choice([1, 2])):
            members.append((topic.phrase, {topic.phrase: list(topic.texts)}))
            rest.pop("clinc", None)  # the same questions
    for name in rows:
        if name != GENERAL and name not in classes:
            rest |= {f"{name}/{source}": texts for source, texts in rows[name].items()}
    return members, rest


def _asked(
    members: Sequence[tuple[str, Pool]], rest: Pool, words: Words, recipe: TeamRecipe, rng: random.Random, team: str
) -> Iterator[Asked]:
    shuffled = drawn(rng, members, MOST)
    lines = team_lines([said for said, _ in shuffled], rng.choice([*words.classes[GENERAL], ""]))
    for _ in range(recipe.questions):
        place = len(shuffled) if rest and rng.random() < recipe.rest_share else rng.randrange(len(shuffled))
        pool = rest if place == len(shuffled) else shuffled[place][1]
        texts = pool[rng.choice(sorted(pool))]
        text = rng.choice(texts)
        if rng.random() < recipe.varied:
            text = vary(text, rng, rng.choice(texts))
        yield Asked(question(lines, text), LETTERS[place], team)


def own_rows(rows: Sequence[Row], most: int, rng: random.Random) -> dict[str, dict[str, list[str]]]:
    """Class -> source -> texts. What people ask is several sources, so that it weighs more."""
    found: dict[str, defaultdict[str, list[str]]] = {}
    for row in rows:
        if len(row.text) < 1200:
            found.setdefault(row.label, defaultdict(list))[row.source].append(row.text)
    pools: dict[str, dict[str, list[str]]] = {}
    for label, sources in found.items():
        pool: dict[str, list[str]] = {}
        for source, texts in sources.items():
            if source.startswith(("seeds", "mmlu_")):
                parts = drawn(rng, texts, len(texts))
                pool |= {f"{source}/{at}": parts[at : at + 250] for at in range(0, min(len(parts), 1000), 250)}
            else:
                pool[source] = drawn(rng, texts, most)
        pools[label] = pool
    return pools


def invent(
    topics: Sequence[Topic], rows: Sequence[Row], recipe: TeamRecipe, without: Collection[str] = ()
) -> Iterator[Asked]:
    """Questions to invented teams, none of a family or a class of `without`."""
    rng, words = random.Random(recipe.seed), load_words()  # noqa: S311
    topics = [topic for topic in topics if topic.family not in without and topic.label not in without]
    own = own_rows([row for row in rows if row.label not in without], 600, rng)
    for number in range(recipe.teams):
        name = f"team-{recipe.seed}-{number}"
        if rng.random() < recipe.own_share:
            members, rest = _own_team(own, topics, words, rng)
        else:
            described, silent = _mixed_team(topics, words, rng)
            members = [(said, {t.phrase: list(t.texts) for t in found}) for said, found in described]
            rest = {topic.phrase: list(topic.texts) for topic in silent}
        if members:
            yield from _asked(members, rest, words, recipe, rng, name)


def write_teams(
    out: Path, data_dir: Path, splits: Splits, recipe: TeamRecipe, without: Collection[str], note: Callable[[str], None]
) -> int:
    """Write `teams.jsonl`, a question a line with its `team` and `label`; returns how many there are."""
    hashes: dict[str, str] = {}
    topics = load_topics(data_dir, splits.train, recipe.per_topic, recipe.seed, hashes)
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    with (out / "teams.jsonl").open("w", encoding="utf-8") as file:
        for asked in invent(topics, splits.train, recipe, without):
            file.write(json.dumps({"text": asked.text, "label": asked.label, "team": asked.team}) + "\n")
            count += 1
    note(f"{count} questions to {recipe.teams} teams in {out / 'teams.jsonl'}")
    return count
