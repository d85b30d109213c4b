"""Weights that run away: a loss that is no number any more ends the training, before anything is kept of it."""

import math

from concertino.errors import TrainingRefused


def refuse_run_away(loss: float, step: int, learning_rate: float) -> None:
    """Raises TrainingRefused where the loss of a step is no finite number."""
    if math.isfinite(loss):
        return
    raise TrainingRefused(
        f"At step {step} the loss or its gradient is no number any more: the weights have run away. Lower "
        f"training.learning_rate, which is {learning_rate:g}, and train into another folder; the checkpoints of before "
        "this step are kept.",
        param="training.learning_rate",
    )
