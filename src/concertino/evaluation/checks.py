"""Refusals of measurements that would mean nothing, and the count of looks at the test part."""

import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct, field

from concertino.datasets.folder import Dataset, Part, Row
from concertino.errors import EvaluationRefused
from concertino.evaluation.results import FOLDER, Looks
from concertino.training.result import read_result
from concertino.whole_file import write_json

LOOKED = "looked.json"
_SHOWN = 3


class Look(Struct, frozen=True):
    """One adapter that met the test part, how often, and when last."""

    adapter: str
    count: int
    last: str


class Looked(Struct, frozen=True):
    """The looks at one dataset's test part from one run folder."""

    dataset_content: str
    looks: list[Look] = field(default_factory=list)


def check_same_data(run_folder: Path, dataset: Dataset) -> None:
    """Raises EvaluationRefused where the run was trained on another dataset, TrainingRefused where it did not end."""
    trained_on = read_result(run_folder).dataset
    content = dataset.manifest.content
    if trained_on != content:
        raise EvaluationRefused(
            f"The run {run_folder} was trained on dataset {trained_on[:12]}, and {dataset.folder} is "
            f"{content[:12]}: its test rows may have been trained on. Give the dataset of the run, or train again."
        )


def check_overlap(dataset: Dataset, part: Part) -> list[Row]:
    """The rows of a part, none of whose texts occurs in train, dev or calibration. Raises EvaluationRefused."""
    rows = list(dataset.rows(part))
    if not rows:
        raise EvaluationRefused(
            f"{dataset.folder} has no {part} rows. Give `data.split.{part}` a share and curate again."
        )
    others = [Part.TRAIN] if part is not Part.TEST else [Part.TRAIN, Part.DEV, Part.CALIBRATION]
    mine = {normalised(row.text): row for row in rows}
    for other in others:
        shared = [(row, mine[text]) for row in dataset.rows(other) if (text := normalised(row.text)) in mine]
        if shared:
            shown = "; ".join(f"{a.id} = {b.id}: {b.text[:60]!r}" for a, b in shared[:_SHOWN])
            raise EvaluationRefused(
                f"{len(shared)} rows of {other} have a text that is in {part} too ({shown}): the figures would be too "
                "good. Curate the dataset again; `concertino curate` keeps equal texts in one part."
            )
    return rows


def normalised(text: str) -> str:
    """A text without case, accents' forms, punctuation and white space that do not matter."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split()) or plain.strip()


def record_look(run_folder: Path, dataset_content: str, adapter: str) -> Looks:
    """Count one more look of this adapter at the test part; the sums so far, over the adapters of this run folder."""
    path = run_folder / FOLDER / LOOKED
    try:
        looked = msgspec.json.decode(path.read_bytes(), type=Looked)
    except FileNotFoundError:
        looked = Looked(dataset_content)
    except msgspec.DecodeError as error:
        raise EvaluationRefused(f"{path} is damaged: {error}. It counts the looks at the test part.") from error
    if looked.dataset_content != dataset_content:
        looked = Looked(dataset_content)
    by_adapter = {look.adapter: look for look in looked.looks}
    before = by_adapter.get(adapter)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    by_adapter[adapter] = Look(adapter, (before.count if before else 0) + 1, now)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, Looked(dataset_content, list(by_adapter.values())))
    return Looks(len(by_adapter), sum(look.count for look in by_adapter.values()))
