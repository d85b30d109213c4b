"""`concertino bench`: the benchmarks behind the manual's figures. Each is a program of its own in the folder bench/.

A checkout has that folder beside src/; a wheel carries a copy of it inside the package.
"""

import ast
import difflib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from concertino.cli import output
from concertino.errors import ConfigurationError

PACKAGE = Path(__file__).parents[1]
EXTRAS = "pip install 'concertino[bench,evaluate,train]'"
_RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""A benchmark reads its own options, `--help` among them."""


def folder() -> Path:
    """Where the benchmarks are. Raises ConfigurationError where the package came without them."""
    found = next((path for path in (PACKAGE / "bench", PACKAGE.parents[1] / "bench") if path.is_dir()), None)
    if found is None:
        raise ConfigurationError(
            f"The benchmarks are neither in {PACKAGE / 'bench'} nor in {PACKAGE.parents[1] / 'bench'}. "
            "Install the wheel of Concertino again, or run them in a checkout."
        )
    return found


def benchmarks() -> dict[str, Path]:
    """Name -> program."""
    return {path.stem.replace("_", "-"): path for path in sorted(folder().glob("*.py"))}


def line_of(program: Path) -> str:
    """What a benchmark says of itself in the first line of its text; it is not run for that."""
    said = ast.get_docstring(ast.parse(program.read_text("utf-8"))) or ""
    return said.partition("\n")[0]


class BenchGroup(TyperGroup):
    """Every program in the folder is a command."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(benchmarks())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        known = benchmarks()
        program = known.get(cmd_name.replace("_", "-"))
        if program is None:
            nearest = difflib.get_close_matches(cmd_name, known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            return ctx.fail(f"No benchmark {cmd_name!r}.{hint} `concertino bench` lists them.")
        return _Benchmark(program, cmd_name, help=line_of(program), add_help_option=False, context_settings=_RAW)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Benchmarks"):
            formatter.write_dl([(name, line_of(program)) for name, program in benchmarks().items()])


class _Benchmark(TyperCommand):
    """One program, given all that stands behind its name."""

    def __init__(self, program: Path, name: str, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._program = program

    def invoke(self, ctx: Any) -> None:
        run(self._program, [f"concertino bench {self.name}", *ctx.args])


def run(program: Path, arguments: Sequence[str]) -> None:
    """Run a program in this process as `python PROGRAM` would; `arguments[0]` is the name that its help shows.

    Raises ConfigurationError where a library is missing, and what the program raises.
    """
    spec = importlib.util.spec_from_file_location("__main__", program)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__spec__ = None  # as Python leaves it for a script: processes that it spawns then find it by its file
    before = sys.argv, sys.path[:], sys.modules["__main__"]
    sys.argv, sys.path[:], sys.modules["__main__"] = list(arguments), [str(program.parent), *sys.path], module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This benchmark needs {error.name}, which is not installed: {EXTRAS} has what all of them need."
        ) from error
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before


app = typer.Typer(cls=BenchGroup, invoke_without_command=True)


@app.callback()
def bench(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="List them as JSON.")] = False
) -> None:
    """Measure: run a benchmark behind a figure of the manual, on this machine. Without a name, list them.

    Each has options of its own: `concertino bench NAME --help`. Most read public data sets from a folder (--data-dir,
    or CONCERTINO_DATA_DIR); some need an extra: `pip install 'concertino[bench,evaluate,train]'`.
    """
    if context.invoked_subcommand is not None:
        return
    found = {name: line_of(program) for name, program in benchmarks().items()}
    if as_json:
        output.print_json([{"name": name, "description": line} for name, line in found.items()])
    else:
        output.print_table(("benchmark", "what it measures"), list(found.items()))
