"""`concertino curate`: sources and a recipe -> a dataset folder."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino import config
from concertino.cli import output
from concertino.cli.session import RecipeDataOption
from concertino.default_models import SENTENCE_ENCODER

if TYPE_CHECKING:
    from concertino.datasets.contamination import Embed
    from concertino.datasets.folder import DatasetManifest
    from concertino.datasets.select import Progress
    from concertino.recipe import Recipe

_TEXTS = 64
"""Texts that are embedded at once."""
_CHARACTERS = 600
"""What is embedded of a text: about the 128 tokens that the model was trained on."""


def curate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe of the skill, in YAML.")],
    data_dir: RecipeDataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The dataset's folder; default: datasets/SPECIALIST/SKILL.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset that is there.")] = False,
    paraphrases: Annotated[
        bool, typer.Option(help="Look for paraphrases of evaluation sets, where the embedding model is pulled.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the dataset's manifest as JSON.")] = False,
) -> None:
    """Make a dataset: read the recipe's sources, clean, filter, deduplicate, split, and write a data sheet.

    A dataset that this recipe made from these files is used as it is. Nothing appears in the folder before it is
    complete. Read its datasheet.md before you train: it says what was removed, and why.

    \b
    Examples:
      concertino curate recipes/finance/banking-intent.yaml --data-dir data
      concertino curate recipe.yaml --out /tmp/try --force
    """
    from concertino.datasets.tally import read_counts
    from concertino.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    folder = out or Path("datasets") / loaded.specialist / loaded.skill
    try:
        manifest = curated(loaded, data_dir or recipe.parent, folder, force=force, paraphrases=paraphrases)
    except KeyboardInterrupt:
        output.say("Interrupted. No dataset was written; the same command begins anew.")
        raise typer.Exit(output.INTERRUPTED) from None
    if as_json:
        output.print_json(manifest)
        return
    steps = [
        (each.name, str(each.before), str(each.after), str(each.before - each.after))
        for each in read_counts(folder).steps
    ]
    output.print_table(("step", "before", "after", "removed"), steps)
    output.print_text("")
    parts = [(part.value, str(info.rows), info.sha256[:16]) for part, info in manifest.parts.items()]
    output.print_table(("part", "rows", "sha256"), parts)
    output.print_text(f"\n{len(manifest.labels)} labels. Read {folder / 'datasheet.md'} before you train.")


def curated(
    recipe: "Recipe", data_dir: Path, folder: Path, *, force: bool = False, paraphrases: bool = True
) -> "DatasetManifest":
    """Make the recipe's dataset in `folder`, or use the one there, with a bar for a person who waits."""
    from concertino.datasets.curate import curate as run

    with ExitStack() as stack:
        progress = stack.enter_context(_progress())
        embed, why_not = None, "the recipe names no evaluation set"
        if recipe.data.decontaminate and not paraphrases:
            why_not = "--no-paraphrases was given"
        elif recipe.data.decontaminate:
            embed, why_not = stack.enter_context(_embedder())
        return run(recipe, data_dir, folder, output.say, embed, force=force, progress=progress, why_no_embed=why_not)


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("reading", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total or None)


@contextmanager
def _embedder() -> "Iterator[tuple[Embed | None, str]]":
    """(what embeds texts by the pulled model, ""); (None, why not) where it is not pulled."""
    import numpy as np

    from concertino import plugins
    from concertino.backends.base import BackendContext, ModelUse
    from concertino.errors import BackendError, ConfigurationError, ModelError
    from concertino.models import Store, gguf_path

    store = Store(config.load().home_path)
    with asyncio.Runner() as runner:
        try:
            store.require(SENTENCE_ENCODER)
            use = ModelUse(SENTENCE_ENCODER, context_tokens=512, embed=True)
            context = BackendContext("curate", {}, (use,), lambda name: gguf_path(store, name), store.resolve)
            backend = plugins.load(plugins.BACKENDS, "encoder", "curate")(context)
            runner.run(backend.start())
        except (ModelError, BackendError, ConfigurationError) as error:
            output.say(f"Paraphrases of the evaluation sets are not looked for: {error.message}")
            yield None, error.message
            return

        def embed(texts: Sequence[str]) -> np.ndarray:
            vectors: list[Sequence[float]] = []
            for start in range(0, len(texts), _TEXTS):
                batch = [text[:_CHARACTERS] for text in texts[start : start + _TEXTS]]
                vectors += runner.run(backend.embed(SENTENCE_ENCODER, batch)).vectors
            found = np.asarray(vectors, np.float32)
            return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

        try:
            yield embed, ""
        finally:
            runner.run(backend.close())
