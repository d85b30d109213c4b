"""Running estimates of how fast each specialist answers. In memory, of one process; they start empty."""

from msgspec import Struct

NEWEST = 0.2
"""Weight of the newest answer in the running mean."""
FEWEST_TOKENS = 4
"""A shorter answer says nothing of tokens per second."""


class Speed(Struct, frozen=True):
    """Exponentially weighted means over a specialist's answers."""

    first_token_s: float
    tokens_per_s: float | None
    """None until an answer was long enough to tell."""
    answer_tokens: float
    answers: int = 1

    def seconds(self, tokens: float | None) -> float:
        """Until the first token, or until so many have been written."""
        if tokens is None or self.tokens_per_s is None:
            return self.first_token_s
        return self.first_token_s + tokens / self.tokens_per_s


class Speeds:
    """What was measured, by specialist."""

    def __init__(self) -> None:
        self._known: dict[str, Speed] = {}

    def get(self, specialist: str) -> Speed | None:
        return self._known.get(specialist)

    def observe(self, specialist: str, first_token_s: float | None, duration_s: float, tokens: int) -> None:
        """One answer, from its decision to its end. One that had no token says nothing."""
        if first_token_s is None or tokens < 1:
            return
        rest = duration_s - first_token_s
        rate = tokens / rest if tokens >= FEWEST_TOKENS and rest > 0 else None
        was = self._known.get(specialist)
        if was is None:
            self._known[specialist] = Speed(first_token_s, rate, tokens)
            return
        self._known[specialist] = Speed(
            first_token_s=_mean(was.first_token_s, first_token_s),
            tokens_per_s=rate if was.tokens_per_s is None else _mean(was.tokens_per_s, rate or was.tokens_per_s),
            answer_tokens=_mean(was.answer_tokens, tokens),
            answers=was.answers + 1,
        )


def _mean(was: float, newest: float) -> float:
    return was + NEWEST * (newest - was)
