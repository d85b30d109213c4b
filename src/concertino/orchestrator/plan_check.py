"""What a plan must be before it is carried out, whoever wrote it."""

import re
from collections.abc import Sequence

from concertino.types import SubTask

MOST_TASKS = 6
LONGEST_TEXT = 4_000
"""Characters of one sub-task."""
LONGEST_GIVEN = 3_000
"""Characters of an answer that a later part is given."""
MOST_PLAN_TOKENS = 1024
"""That a plan may have, where the generalist writes it."""
PLAN_TRIES = 2
"""A plan that is wrong is asked for once more."""
PLAN_SHARE = 0.4
"""Of the time that a request has, for its plan; where that is not enough, the segments are the plan."""
COVERED = 0.5
"""Share of a segment's longer words that must stand in some sub-task, so that nothing that was asked is dropped."""
INVENTED = 0.5
"""Share of a sub-task's longer words that may be strange to the request, so that nothing is asked that nobody asked."""

_WORD = re.compile(r"[^\W_]{4,}")


def objection(tasks: Sequence[SubTask], eligible: Sequence[str], most: int = MOST_TASKS) -> str | None:
    """The first thing that is wrong with a plan, in a sentence; None for a plan that can be carried out.

    `eligible` are the specialists that the verdict on the whole request allows.
    """
    if not tasks:
        return "The plan has no sub-task. Give at least one."
    if len(tasks) > most:
        return f"The plan has {len(tasks)} sub-tasks, and at most {most} are carried out. Join some of them."
    ids = [task.id for task in tasks]
    for task in tasks:
        if ids.count(task.id) > 1:
            return f"Two sub-tasks have the id {task.id}. Give each an id of its own."
        if not task.text.strip():
            return f"Sub-task {task.id} has no text. Say what it asks for."
        if len(task.text) > LONGEST_TEXT:
            return (
                f"Sub-task {task.id} has {len(task.text)} characters, and at most {LONGEST_TEXT} are read. Shorten it."
            )
        if task.specialist not in eligible:
            who = ", ".join(eligible) or "nobody"
            return f"Sub-task {task.id} names {task.specialist[:40]!r}, who may not see this request. Eligible: {who}."
        for other in task.depends_on:
            if other == task.id:
                return f"Sub-task {task.id} depends on itself. Take {other} out of its depends_on."
            if other not in ids:
                return f"Sub-task {task.id} depends on {other}, which is no sub-task. Ids: {', '.join(map(str, ids))}."
    circle = _circle({task.id: task.depends_on for task in tasks})
    if circle:
        return f"Sub-tasks {', '.join(map(str, circle))} wait for each other. Take one out of the other's depends_on."
    return None


def unfaithful(tasks: Sequence[SubTask], segments: Sequence[str]) -> str | None:
    """What a model's plan drops of the request or adds to it, in a sentence; None where it does neither."""
    planned = [_words(task.text) for task in tasks]
    everything = set().union(*planned)
    for segment in segments:
        words = _words(segment)
        if words and len(words & everything) < COVERED * len(words):
            return f"No sub-task asks for this part of the request: {segment[:200]!r}. Add one in the same words."
    asked = set().union(*(_words(segment) for segment in segments))
    for task, words in zip(tasks, planned, strict=True):
        if len(words - asked) > INVENTED * len(words):
            return f"Sub-task {task.id} asks for something that the request does not. Use the words of the request."
    return None


def in_order(tasks: Sequence[SubTask]) -> tuple[SubTask, ...]:
    """A valid plan's sub-tasks so that each stands after those that it depends on, otherwise as they were."""
    left, done, ordered = list(tasks), set[int](), list[SubTask]()
    while left:
        ready = next(task for task in left if done.issuperset(task.depends_on))
        left.remove(ready)
        done.add(ready.id)
        ordered.append(ready)
    return tuple(ordered)


def _circle(depends_on: dict[int, tuple[int, ...]]) -> list[int]:
    """Ids that wait for each other, or for such; empty for a graph without a cycle."""
    left = dict(depends_on)
    while ready := [id for id, others in left.items() if not left.keys() & set(others)]:
        for id in ready:
            del left[id]
    return sorted(left)


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}
