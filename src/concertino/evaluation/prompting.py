"""The prompts that a generalist is given, and the choice of its best on a few rows of the dev part.

A comparison with a badly prompted generalist would prove nothing, so it gets its instruction alone, retrieved
examples, and answers constrained to the labels, and only the best of these meets the test part.
"""

from collections.abc import Sequence

from msgspec import Struct

from concertino.backends.base import Generation
from concertino.datasets.folder import Row
from concertino.evaluation.running import Asked
from concertino.recipe import Recipe
from concertino.specialists.skills import TOP_LOGPROBS, label_grammar
from concertino.types import Message, Role, Sampling

NEAREST_LABELS_OF = 20
"""Neighbours whose labels are offered by the prompt that narrows the labels down."""
_FREE_TOKENS = 48
"""Room for a label that is written freely; some models begin with a phrase."""


class Prompt(Struct, frozen=True):
    """One way to ask."""

    name: str
    shots: bool = False
    """With the nearest training rows as examples."""
    constrained: bool = False
    narrowed: bool = False
    """Only labels among the nearest training rows are offered."""

    @property
    def needs_neighbours(self) -> bool:
        return self.shots or self.narrowed


ZERO_SHOT = Prompt("zero-shot")
FEW_SHOT = Prompt("few-shot", shots=True)
CONSTRAINED = Prompt("zero-shot, constrained", constrained=True)
FEW_SHOT_CONSTRAINED = Prompt("few-shot, constrained", shots=True, constrained=True)
NARROWED = Prompt("few-shot, constrained to the neighbours' labels", shots=True, constrained=True, narrowed=True)


def prompts_for(labels: Sequence[str]) -> tuple[Prompt, ...]:
    """The prompts worth trying for a skill with these labels (none: free text)."""
    if not labels:
        return (ZERO_SHOT, FEW_SHOT)
    tried = (ZERO_SHOT, CONSTRAINED, FEW_SHOT, FEW_SHOT_CONSTRAINED)
    return (*tried, NARROWED) if len(labels) > NEAREST_LABELS_OF else tried


def ask(
    prompt: Prompt, recipe: Recipe, labels: Sequence[str], model: str, text: str, neighbours: Sequence[Row]
) -> Asked:
    """The generation for one text. `neighbours` are training rows, nearest first."""
    offered = tuple(labels)
    if prompt.narrowed:
        near = {label for row in neighbours[:NEAREST_LABELS_OF] for label in row.labels}
        offered = tuple(label for label in labels if label in near) or offered
    messages = [Message(Role.SYSTEM, instruction(recipe.instruction, offered))]
    if prompt.shots:
        for row in reversed(neighbours[: recipe.evaluation.shots]):  # the nearest stands last, where it weighs most
            messages += [Message(Role.USER, row.text), Message(Role.ASSISTANT, expected(row))]
    messages.append(Message(Role.USER, text))
    constrained = prompt.constrained and bool(offered)
    room = recipe.max_tokens if constrained or not offered else max(recipe.max_tokens, _FREE_TOKENS)
    generation = Generation(
        model=model,
        messages=tuple(messages),
        sampling=Sampling(
            max_tokens=room,
            temperature=0.0,
            logprobs=constrained,
            top_logprobs=TOP_LOGPROBS if constrained else 0,
        ),
        grammar=label_grammar(offered) if constrained else None,
    )
    return Asked(generation, offered if constrained else ())


def instruction(template: str, labels: Sequence[str]) -> str:
    """The recipe's instruction, which names the labels even where the recipe forgot to."""
    listed = "; ".join(labels)
    if labels and "{labels}" not in template:
        return f"{template}\nAnswer with one of these labels and nothing else: {listed}."
    return template.replace("{labels}", listed)


def expected(row: Row) -> str:
    """What a training row should be answered with."""
    return row.labels[0] if row.labels else row.answer
