"""A recipe's training, by whichever engine it names."""

from pathlib import Path

from concertino.backends.encoder.session import ENCODER_FILES, EncoderFiles
from concertino.datasets.folder import Dataset
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
    folder of another training, ModelMissing, and what the engines raise.
    """
    if dataset.manifest.name != recipe.name:
        raise TrainingRefused(f"{dataset.folder} is the dataset of {dataset.manifest.name}, not of {recipe.name}.")
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
    run.mkdir(parents=True, exist_ok=True)
    if recipe.training.engine is Engine.ENCODER:
        from concertino.training.encoder import train as train_encoder

        return train_encoder(recipe, dataset, encoder_files(store, recipe.training.base), run, note, members_from)
    if members_from is not None:
        raise TrainingRefused("Only encoder adapters have members. Train without --members-from.", param="members_from")
    from concertino.training.causal import train as train_causal

    folder = Path(recipe.training.base)
    base = folder if folder.is_dir() else store.resolve(recipe.training.base)
    return train_causal(recipe, dataset, base, run, note)


def encoder_files(store: Store, base: str) -> EncoderFiles:
    """The files of an encoder: of a Hugging Face folder where `base` is one, else of the store."""
    folder = Path(base)
    if folder.is_dir():
        missing = [name for name in ENCODER_FILES if not (folder / name).is_file()]
        if missing:
            raise TrainingRefused(f"The base {base} has no {missing[0]}.", param="training.base")
        return EncoderFiles.found(lambda name: folder / name)
    return EncoderFiles.found(lambda name: store.resolve(base, name))
