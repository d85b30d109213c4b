"""concertino router: train the first tier of routing, and measure it."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, help="Train the router, and measure it.")

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _note(message: str) -> None:
    sys.stderr.write(message + "\n")


@app.command()
def train(
    data_dir: DataDir,
    base_model: Annotated[
        Path, typer.Option("--base-model", help="Folder with all-MiniLM-L6-v2, Hugging Face layout.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write the weights.")] = Path("router-weights"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of sampling and dropout.")] = 7,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the balanced draw.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Tune the encoder on the data folder, quantise it, and calibrate it."""
    from concertino.training.router import train as run
    from concertino.training.routing_tune import Recipe

    manifest = run(data_dir, base_model, out, Recipe(seed=seed, epochs=epochs), _note)
    if as_json:
        typer.echo(msgspec.json.encode(manifest).decode())
    else:
        typer.echo(f"{out}: temperature {manifest.temperature}, threshold {manifest.threshold}")


@app.command()
def evaluate(
    data_dir: DataDir,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights other than the shipped ones.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the shipped weights on the test part and on exam questions."""
    from concertino.training.router import evaluate as run

    report = run(data_dir, weights, _note)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    for name, part in (("test", report.test), ("exam", report.exam)):
        typer.echo(
            f"{name:<5} {part.rows:>6} rows  accuracy {part.accuracy:.3f}  macro-F1 {part.macro_f1:.3f}"
            f"  ECE {part.ece:.3f}  AUROC {part.auroc:.3f}  abstained {part.abstained:.3f}"
        )
    speed = report.speed
    typer.echo(f"one text {speed.p50_ms:.2f} ms (p99 {speed.p99_ms:.2f}), batch {speed.texts_per_second:.0f} texts/s")
