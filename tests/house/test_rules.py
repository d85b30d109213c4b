"""The rules of the house: which way imports run, how long a file may be, what a base.py holds."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from concertino import default_models

ROOT = Path(__file__).parents[2] / "src" / "concertino"
FILES = sorted(ROOT.rglob("*.py"))

GROUND = {
    "plugins", "config", "config_check", "settings", "recipe", "recipe_check", "recipe_digest", "recipe_file",
    "default_models", "limits", "whole_file", "template", "related", "calculation", "confidence", "errors", "types",
}  # fmt: skip

# A room may import rooms of the floors below its own, and itself. Rooms on one floor do not import each other.
FLOORS = (
    {"cli", "dashboard"},
    {"gateway"},
    {"orchestrator"},
    {"policy", "router", "specialists", "guards"},
    {"backends", "registry", "audit", "knowledge"},
    {"models", "storage", "telemetry"},
    GROUND,
)
FACTORY = {
    "documents": set(),
    "programs": set(),
    "datasets": {"documents"},
    "training": {"datasets", "programs"},
    "evaluation": {"datasets", "training", "programs"},
}
FACTORY_MAY_USE = (
    {"registry", "models", "backends", "router", "policy", "specialists"}
    | GROUND
)  # fmt: skip
HEAVY = {"torch", "transformers", "ray", "onnx", "sklearn"}
LONGEST = 400


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "concertino":
                found |= {f"concertino.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("concertino.")}


def floor_of(name: str) -> int | None:
    return next((number for number, floor in enumerate(FLOORS) if name in floor), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for other in rooms_imported(path) - {here, "__version__"}:
        if here in FACTORY:
            assert other in FACTORY[here] | FACTORY_MAY_USE, f"{here} imports {other}"
        elif other in FACTORY:
            assert here == "cli", f"the serving half imports the factory: {here} imports {other}"
        else:
            mine, theirs = floor_of(here), floor_of(other)
            assert mine is not None, f"{here} has no floor; add it to FLOORS"
            assert theirs is not None, f"{other} has no floor; add it to FLOORS"
            assert mine < theirs or {here, other} <= FLOORS[-1], f"{here} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_serving_half_never_imports_a_training_library(path: Path) -> None:
    if room(path) not in FACTORY:
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_is_not_a_drawer(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def test_each_base_holds_one_protocol() -> None:
    bases = [path for path in FILES if path.name == "base.py"]
    assert bases
    for path in bases:
        tree = ast.parse(path.read_text("utf-8"))
        protocols = [
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)
        ]
        assert len(protocols) == 1, f"{path}: {protocols}"


def test_the_name_of_a_default_model_is_written_once() -> None:
    names = {default_models.SENTENCE_ENCODER, default_models.SMALL_LANGUAGE_MODEL, default_models.GENERALIST}
    written = {
        (path.name, node.value)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert written == {("default_models.py", name) for name in names}


def test_importing_the_package_loads_nothing_heavy_and_opens_nothing() -> None:
    probe = (
        "import sys, time\n"
        "opened = []\n"
        "sockets = ('socket.connect', 'socket.bind')\n"
        "sys.addaudithook(lambda name, args: opened.append(args[0]) if name in sockets else None)\n"
        "start = time.perf_counter(); import concertino; spent = time.perf_counter() - start\n"
        "heavy = {'numpy', 'aiohttp', 'onnxruntime', 'sqlalchemy', 'yaml', 'typer', 'starlette'} & set(sys.modules)\n"
        "print(spent, sorted(heavy), opened)\n"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    seconds, rest = out.split(" ", 1)
    assert rest.strip() == "[] []"
    assert float(seconds) < 0.3
