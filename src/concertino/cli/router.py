"""concertino router: train the first tier of routing, and measure it."""

from pathlib import Path
from typing import Annotated

import typer

from concertino import config
from concertino.cli import output

app = typer.Typer(no_args_is_help=True, help="Train the router, and measure it.")

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def train(
    data_dir: DataDir,
    base_model: Annotated[
        Path | None, typer.Option("--base-model", help="Folder with the base model; default: the pulled one.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write the weights.")] = Path("router-weights"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of sampling and dropout.")] = 7,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the balanced draw.")] = 2,
    threads: Annotated[int, typer.Option("--threads", help="Processor threads.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Tune the encoder on the data folder, quantise it, and calibrate it."""
    from concertino.models import Store
    from concertino.training.router import BASE_MODEL
    from concertino.training.router import train as run
    from concertino.training.routing_tune import BaseModel, Recipe

    if base_model is not None:
        base = BaseModel.in_folder(base_model)
    else:
        store = Store(config.load().home_path)
        files = ("config.json", "model.safetensors", "tokenizer.json")
        base = BaseModel(*(store.resolve(BASE_MODEL, name) for name in files))
    manifest = run(data_dir, base, out, Recipe(seed=seed, epochs=epochs, threads=threads), output.say)
    if as_json:
        output.print_json(manifest)
    else:
        output.print_text(f"{out}: temperature {manifest.temperature}, threshold {manifest.threshold}")


@app.command()
def evaluate(
    data_dir: DataDir,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights other than the shipped ones.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the shipped weights on the test part and on exam questions."""
    from concertino.training.router import evaluate as run

    report = run(data_dir, weights, output.say)
    if as_json:
        output.print_json(report)
        return
    for name, part in (("test", report.test), ("exam", report.exam)):
        output.print_text(
            f"{name:<5} {part.rows:>6} rows  accuracy {part.accuracy:.3f}  macro-F1 {part.macro_f1:.3f}"
            f"  ECE {part.ece:.3f}  AUROC {part.auroc:.3f}  abstained {part.abstained:.3f}"
        )
    speed = report.speed
    output.print_text(
        f"one text {speed.p50_ms:.2f} ms (p99 {speed.p99_ms:.2f}), batch {speed.texts_per_second:.0f} texts/s"
    )
