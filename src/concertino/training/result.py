"""What a training was and what came of it: `training.json` in the run folder."""

import importlib.metadata
import platform
from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.errors import TrainingRefused
from concertino.training.checkpoint import written_whole

RESULT = "training.json"
ADAPTER = "adapter"
"""The adapter's folder in a run folder."""


class TrainingResult(Struct, frozen=True):
    """The record of one training."""

    name: str
    """specialist/skill."""
    recipe_digest: str
    dataset: str
    """Content hash of the dataset."""
    engine: str
    base: str
    base_sha256: str
    seed: int
    steps: int
    epochs: float
    tokens: int
    """Tokens read, padding not counted, over all processes that worked on it."""
    seconds: float
    """Seconds of training, evaluation on dev included."""
    metric: str
    best_dev: float | None
    """The metric of the kept weights on dev; None without dev rows."""
    best_step: int
    threads: int
    rows: int
    rows_cut: int = 0
    """Encoder only: training rows that are longer than `max_tokens`, and lost their middle."""
    agreement: float | None = None
    """Share of answers that llama.cpp gave as torch did; None for encoders, and for bases without a GGUF file."""
    steps_digest: str = ""
    """Causal only: digest of the recipe as far as the checkpoints depend on it, so that another rank is written from
    them."""
    members_from: str = ""
    """How many members of an encoder adapter were taken over from which version, and are not in the counts above."""
    versions: dict[str, str] = field(default_factory=dict)


def library_versions(*names: str) -> dict[str, str]:
    """Versions of Python and of the libraries named."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def write_result(run: Path, result: TrainingResult) -> None:
    with written_whole(run / RESULT) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read_result(run: Path) -> TrainingResult:
    """The record of a finished training. Raises TrainingRefused where there is none."""
    try:
        return msgspec.json.decode((run / RESULT).read_bytes(), type=TrainingResult)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingRefused(f"{run} holds no finished training: {error}. Run `concertino train` first.") from error
