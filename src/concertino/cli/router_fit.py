"""`concertino router fit`: another router, by examples, by the development data or by a table of outcomes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertino.cli import output, router_tables
from concertino.cli.router_options import AsJson, LabelField, OutOfScope, TextField

if TYPE_CHECKING:
    from concertino.training.routing.examples import Fields
    from concertino.training.routing.kept import Keep


def fit(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="CONCERTINO_DATA_DIR", help="Folder with the development data, for labels."),
    ] = None,
    outcomes: Annotated[
        Path | None, typer.Option("--outcomes", help="Fit on this table of outcomes instead: text x candidate.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option("--examples", help="Learn your own domains from these rows: a text and its domain.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="linear (examples only, and their default), knn (the default else), clusters, or matrix-factorisation "
            "(outcomes only).",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Calibrate on these rows, not on folds of the examples.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Judge on these rows, not on a part of the examples.")
    ] = None,
    text: TextField = "text",
    label: LabelField = "label",
    fine: Annotated[
        str | None, typer.Option("--fine", help="The examples' field with a finer label, to learn domains by.")
    ] = None,
    out_of_scope: OutOfScope = "oos",
    out_of_scope_share: Annotated[
        float, typer.Option("--out-of-scope-share", help="What share of your requests is probably nobody's.")
    ] = 0.1,
    keep_texts: Annotated[
        bool,
        typer.Option(
            "--keep-texts/--no-keep-texts", help="Lay the examples beside the router, for `concertino router explain`."
        ),
    ] = True,
    personal: Annotated[
        bool, typer.Option("--personal", help="Lay examples there too that identify somebody.")
    ] = False,
    cost: Annotated[list[str] | None, typer.Option("--cost", help="NAME=NUMBER: what a candidate costs.")] = None,
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="Labelled texts a domain.")] = 2000,
    out: Annotated[Path, typer.Option("--out", help="Where to write the router.")] = Path("router-fitted"),
    as_json: AsJson = False,
) -> None:
    """Fit another router: your own domains on examples, the built-in ones on the data folder, or a table of outcomes.

    A row of the examples (jsonl, CSV) has a text and the domain that it belongs to; rows labelled oos are nobody's.
    What was measured is printed; the folder that is written goes into router.options.weights.

    A line of a table is {"text": ..., "scores": {"candidate": 0.5, ...}}; candidates that were not tried on a text
    may be left out, and lines of one text are taken together. All three methods are compared on a test part of the
    table, with the best single candidate and the oracle.

    \b
    Examples:
      concertino router fit --examples mine.jsonl --out my-router
      concertino router fit --examples mine.csv --label team --fine topic --test later.csv --json
      concertino router fit --outcomes outcomes.jsonl --method clusters
    """
    if examples is not None and outcomes is not None:
        raise typer.BadParameter("give either --examples FILE or --outcomes FILE.")
    if personal and (outcomes is not None or not keep_texts):
        raise typer.BadParameter("--personal is for the texts of examples that are kept.")
    if cost and outcomes is None:
        raise typer.BadParameter("--cost is for --outcomes FILE.")
    if outcomes is None:
        from concertino.training.routing.kept import Keep

        kept = Keep.NONE if not keep_texts else Keep.ALL if personal else Keep.IMPERSONAL
    if examples is not None:
        from concertino.training.routing.examples import Fields

        files = (examples, calibration, test)
        fields = Fields(text, label, fine, out_of_scope)
        _fit_examples(files, fields, method, out_of_scope_share, out, as_json, kept)
        return
    method = method or "knn"
    if outcomes is not None:
        _fit_outcomes(outcomes, method, cost or [], out, as_json)
        return
    if data_dir is None:
        raise typer.BadParameter("give --examples FILE, --outcomes FILE, or --data-dir for the built-in domains.")
    from concertino.training.routing.data import load_splits
    from concertino.training.routing.fit import check_label_method, drawn_rows, fit_domains
    from concertino.training.routing.out import check_out

    check_label_method(method)
    check_out(out)
    splits = load_splits(data_dir, output.say)
    rows, held = drawn_rows(splits.train, per_class), drawn_rows(splits.calibration, 400)
    manifest = fit_domains(rows, held, out, method, splits.hashes, output.say, keep_texts=kept)
    _show(manifest, f"{method} of {manifest.rows} texts, threshold {manifest.threshold}", out, method, as_json)


def _fit_examples(
    files: tuple[Path, Path | None, Path | None],
    fields: "Fields",
    method: str | None,
    share: float,
    out: Path,
    as_json: bool,
    kept: "Keep",
) -> None:
    from concertino.router.fitted import EXAMPLES
    from concertino.training.routing.examples import read_examples
    from concertino.training.routing.own import fit_own

    read = [read_examples(path, fields) if path is not None else None for path in files]
    for part in filter(None, read):
        for trouble in part.troubles:
            output.say(f"{part.name}: {trouble}")
    examples, calibration, test = read
    assert examples is not None
    report = fit_own(
        examples, out, method or "linear", calibration=calibration, test=test, outside_share=share, note=output.say,
        keep_texts=kept,
    )  # fmt: skip
    if kept != "none":
        stored = (out / EXAMPLES).exists()
        output.say(
            f"the texts of the examples lie in {out / EXAMPLES}, for `concertino router explain`"
            if stored
            else "no texts of the examples lie beside the router, so that `concertino router explain` will show none"
        )
    _show(report, router_tables.own(report), out, report.method, as_json)


def _fit_outcomes(table: Path, method: str, costs: list[str], out: Path, as_json: bool) -> None:
    from concertino.training.routing.fit import check_outcome_method, fit_outcomes
    from concertino.training.routing.table import read_outcomes

    check_outcome_method(method)
    given = dict(map(_cost, costs))
    report = fit_outcomes(read_outcomes(table, given), out, method, output.say)
    _show(report, router_tables.outcomes(report), out, method, as_json)


def _cost(item: str) -> tuple[str, float]:
    name, _, number = item.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not 0.0 <= value < math.inf:
        raise typer.BadParameter(f"--cost {item}: give NAME=NUMBER, a number that is not negative.")
    return name, value


def _show(found: object, text: str, out: Path, method: str, as_json: bool) -> None:
    """What was measured, and where the router went."""
    where = f"{out}: router.options.weights, with router.type {method}"
    if as_json:
        output.print_json(found)
        output.say(where)
    else:
        output.print_text(f"{text}\n{where}")
