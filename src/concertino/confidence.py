"""How sure an answer is, when the text may not be one that the skill is for."""

EVEN = 0.5
"""From this scope on a text keeps its answer's confidence; below, it falls towards none."""


def tempered(probability: float | None, temperature: float) -> float | None:
    """A probability to the power of one over a temperature; None stays None."""
    return None if probability is None else probability ** (1.0 / temperature)


def within(confidence: float | None, scope: float | None) -> float | None:
    """An answer's confidence, lowered for a text that is likelier not the skill's.

    `scope` is the probability that it is, None where nobody says. Where the answer has no confidence of its own, as
    free text has none, the scope is all that is known.
    """
    if scope is None:
        return confidence
    return scope if confidence is None else confidence * min(1.0, scope / EVEN)
