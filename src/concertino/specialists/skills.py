"""A skill as a generation: the prompt, the constraint on the answer, and what its log-probabilities say."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from concertino.backends.base import Capability, Generation
from concertino.confidence import tempered
from concertino.config import SkillCard, SpecialistCard
from concertino.errors import UnsupportedParameter
from concertino.types import Message, Role, Sampling, TokenLogprob

TOP_LOGPROBS = 40
"""Rivals asked for at each token; a label's first token is nearly always among so many."""
_LEAST = -700.0
"""Log-probabilities count for no less: below, their exponentials are zero, and engines write zero as -3.4e38."""


def skill_generation(card: SpecialistCard, skill: SkillCard, text: str, can: frozenset[Capability]) -> Generation:
    """One constrained generation for one text, greedy or by beam search. Raises UnsupportedParameter if the engine
    cannot constrain, or search."""
    grammar, response_format = None, None
    if skill.labels and Capability.LABELS not in can:
        if Capability.GRAMMAR in can:
            grammar = label_grammar(skill.labels)
        elif Capability.JSON_SCHEMA in can:
            response_format = _schema_format(skill.name, {"type": "string", "enum": list(skill.labels)})
        else:
            raise _cannot(card, skill, "one of a set of labels")
    elif skill.json_schema is not None:
        if Capability.JSON_SCHEMA not in can:
            raise _cannot(card, skill, "a JSON schema")
        response_format = _schema_format(skill.name, skill.json_schema)
    if skill.beams > 1 and Capability.BEAMS not in can:
        raise _cannot(card, skill, "the likeliest of several texts (`beams`)", "search for it")
    instruction = skill.instruction.replace("{labels}", "; ".join(skill.labels))
    rivals = TOP_LOGPROBS if skill.labels else int(_tells_text(skill))
    wants_logprobs = rivals > 0 and Capability.LOGPROBS in can
    return Generation(
        model=card.model,
        messages=(Message(Role.SYSTEM, instruction), Message(Role.USER, text)),
        sampling=Sampling(
            max_tokens=skill.max_tokens,
            temperature=0.0,
            logprobs=wants_logprobs,
            top_logprobs=rivals if wants_logprobs else 0,
        ),
        adapter=card.adapter,
        grammar=grammar,
        response_format=response_format,
        beams=skill.beams if skill.beams > 1 else UNSET,
    )


def label_grammar(labels: Sequence[str]) -> str:
    """A GBNF grammar whose only sentences are the labels."""
    quoted = ('"' + label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"' for label in labels)
    return "root ::= " + " | ".join(quoted)


def confidence_of(skill: SkillCard, tokens: Sequence[TokenLogprob]) -> float | None:
    """What an answer's log-probabilities say of it; None for what has none, or whose meaning nobody has measured."""
    if skill.labels:
        return label_confidence(skill.labels, tokens)
    return text_confidence(tokens, skill.text_temperature) if _tells_text(skill) else None


def _tells_text(skill: SkillCard) -> bool:
    return skill.text_temperature is not None and skill.json_schema is None and not skill.labels


def text_confidence(tokens: Sequence[TokenLogprob], temperature: float | None = 1.0) -> float | None:
    """Probability of a whole answer in free text, to the power of one over the temperature; None without tokens.

    By itself it is far below the share of right answers, as there are many ways to say the same; the temperature,
    fitted on rows held back, makes up for that.
    """
    if not tokens or not temperature:
        return None
    return tempered(math.exp(min(0.0, math.fsum(step.logprob for step in tokens))), temperature)


def label_confidence(labels: Sequence[str], tokens: Sequence[TokenLogprob]) -> float | None:
    """Probability of the label that was generated, among the labels.

    At each step the token's probability is divided by that of all tokens that could still lead to a label, so the
    product is the label's probability under the constrained model. A label that none of the listed tokens leads to is
    counted for the most that it may have: a model that would rather say something else than any label is not sure of
    the one that it was made to say. None without log-probabilities. It is not calibrated by itself; a
    threshold on it is fitted on held-out data.
    """
    if not tokens:
        return None
    prefix, total = "", 0.0
    for step in tokens:
        reachable = [label for label in labels if label.startswith(prefix + step.token)]
        if not step.token or not reachable:
            break
        allowed = {
            rival.token: rival.logprob for rival in step.top if rival.token and _leads(labels, prefix + rival.token)
        }
        allowed[step.token] = step.logprob
        total += math.log(_mass([step.logprob]) / (_mass(allowed.values()) + _unlisted(labels, prefix, step, allowed)))
        prefix += step.token
        if len(reachable) == 1:
            break
    return min(1.0, math.exp(total))


def _leads(labels: Sequence[str], prefix: str) -> bool:
    return any(label.startswith(prefix) for label in labels)


def _unlisted(labels: Sequence[str], prefix: str, step: TokenLogprob, allowed: Mapping[str, float]) -> float:
    """The most that labels to which no listed token leads may have: each no more than the least of the listed, nor than
    the token that was chosen before them, and all together no more than those leave."""
    count = sum(
        label.startswith(prefix) and not any(label.startswith(prefix + token) for token in allowed) for label in labels
    )
    listed = {rival.token: rival.logprob for rival in step.top} | {step.token: step.logprob}
    least = _mass([min(listed.values())])
    return min(count * least, max(0.0, 1.0 - _mass(listed.values()))) if step.top else 0.0


def _mass(logprobs: Iterable[float]) -> float:
    return math.fsum(math.exp(max(value, _LEAST)) for value in logprobs)


def _schema_format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def _cannot(
    card: SpecialistCard, skill: SkillCard, what: str, action: str = "constrain its answers"
) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{card.name}/{skill.name} must answer with {what}, and backend {card.backend!r} cannot {action}. "
        "Give the specialist another backend.",
        param="model",
    )
