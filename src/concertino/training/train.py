"""A recipe's training, by whichever engine it names."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from concertino.backends.encoder.session import ENCODER_FILES, EncoderFiles
from concertino.datasets.folder import Dataset
from concertino.default_models import SENTENCE_ENCODER, SMALL_LANGUAGE_MODEL
from concertino.errors import TrainingRefused
from concertino.models.store import Store
from concertino.recipe import Engine, Recipe
from concertino.training.checkpoint import Note
from concertino.training.result import RESULT, TrainingResult, read_result


def train(
    recipe: Recipe,
    dataset: Dataset,
    store: Store,
    run: Path,
    note: Note = lambda _: None,
    members_from: Path | None = None,
) -> TrainingResult:
    """Train `recipe` on `dataset` into the folder `run`, with the base model from `store`.

    `members_from` is the folder of an earlier version of an encoder skill, whose members are taken over. A run folder
    with a finished training of the same recipe and data is left as it is; where only `export_rank` changed, the adapter
    is written again without training, and where `cycles` was raised, the training goes on. Raises TrainingRefused for a
    folder of another training, or one that another process trains into, ModelMissing, and what the engines raise.
    """
    if dataset.manifest.name != recipe.name:
        raise TrainingRefused(f"{dataset.folder} is the dataset of {dataset.manifest.name}, not of {recipe.name}.")
    with locked(run):
        return _train(recipe, dataset, store, run, note, members_from)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other trainings and evaluations out of a run folder, which is made if need be.

    The kernel ends the lock with the process.
    Raises TrainingRefused where another process holds it. Of several processes of one training the first holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    handle = os.open(run, os.O_RDONLY)
    try:
        if os.environ.get("RANK", "0") == "0":
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise TrainingRefused(
            f"Another run is training into {run}, or evaluates it. Wait for it, or name another folder.", param="out"
        ) from error
    finally:
        os.close(handle)


def _train(
    recipe: Recipe, dataset: Dataset, store: Store, run: Path, note: Note, members_from: Path | None
) -> TrainingResult:
    if (run / RESULT).is_file():
        done = read_result(run)
        if (done.recipe_digest, done.dataset) == (recipe.training_digest, dataset.manifest.content):
            note(f"{run} holds this training already; nothing to do")
            return done
        same = recipe.training.engine is Engine.CAUSAL and done.dataset == dataset.manifest.content
        longer = recipe.training.epochs * recipe.training.cycles - done.epochs
        if not same or longer < 0 or recipe.steps_digest not in (done.steps_digest, done.recipe_digest):
            raise TrainingRefused(
                f"{run} holds a training of another recipe or dataset. Train into another folder with --out, or remove "
                "it."
            )
        what = "of fewer cycles; it goes on" if longer else "written at another rank; it is written again"
        note(f"{run} holds this training, {what} from its last checkpoint")
        (run / RESULT).unlink()
    if recipe.training.engine is Engine.ENCODER:
        from concertino.training.encoder import train as train_encoder

        return train_encoder(recipe, dataset, encoder_files(store, recipe.training.base), run, note, members_from)
    if members_from is not None:
        raise TrainingRefused("Only encoder adapters have members. Train without --members-from.", param="members_from")
    from concertino.training.causal import train as train_causal

    return train_causal(recipe, dataset, causal_base(store, recipe.training.base), run, note)


def causal_base(store: Store, base: str) -> Path:
    """`base` if it is a Hugging Face folder, else the GGUF file of the store. Raises TrainingRefused for an encoder."""
    folder = Path(base)
    if folder.is_dir():
        encoder, found = _is_bert(folder / "config.json"), folder
    else:
        found, manifest = store.resolve(base), store.manifest(base)
        # An encoder may have a GGUF file that was derived from its weights; what was pulled says what it is.
        encoder = manifest is not None and not next(iter(manifest.files)).endswith(".gguf")
    if encoder:
        raise TrainingRefused(
            f"The base {base} is an encoder, which writes nothing, and training.engine is causal. For labels set "
            f"`engine: encoder`, or choose a language model, as {SMALL_LANGUAGE_MODEL}.",
            param="training.base",
        )
    return found


def _is_bert(config: Path) -> bool:
    try:
        return bool(json.loads(config.read_bytes()).get("model_type") == "bert")
    except (OSError, ValueError, AttributeError):
        return False


def encoder_files(store: Store, base: str) -> EncoderFiles:
    """The files of an encoder: of a Hugging Face folder where `base` is one, else of the store."""
    folder = Path(base)
    if folder.is_dir():
        missing = [name for name in ENCODER_FILES if not (folder / name).is_file()]
        if missing:
            raise TrainingRefused(f"The base {base} has no {missing[0]}.", param="training.base")
        return EncoderFiles.found(lambda name: folder / name)
    if next(iter(store.require(base).files)).endswith(".gguf"):
        raise TrainingRefused(
            f"The base {base} is a language model, and training.engine is encoder. Set `engine: causal`, or choose an "
            f"encoder, as {SENTENCE_ENCODER}.",
            param="training.base",
        )
    return EncoderFiles.found(lambda name: store.resolve(base, name))
