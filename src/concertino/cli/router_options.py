"""Options that several verbs of `concertino router` share."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TextField = Annotated[str, typer.Option("--text", help="The examples' field that holds the text.")]
LabelField = Annotated[str, typer.Option("--label", help="The examples' field that holds the domain.")]
OutOfScope = Annotated[str, typer.Option("--out-of-scope", help="The label of examples that are nobody's.")]
OptionalData = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data."),
]
