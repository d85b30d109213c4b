"""`concertino bench`: every benchmark by its name, from a checkout and from a wheel."""

import ast
import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from concertino.cli import bench
from concertino.errors import ConfigurationError
from tests.cli.conftest import ROOT, Command

PROGRAMS = sorted((ROOT / "bench").glob("*.py"))


def test_without_a_name_it_lists_every_program_with_a_line(concertino: Command) -> None:
    listed = json.loads(concertino("bench", "--json").stdout)
    assert [one["name"] for one in listed] == [path.stem.replace("_", "-") for path in PROGRAMS]
    assert all(one["description"].endswith((".", "?")) for one in listed)
    said = concertino("bench").stdout
    assert all(one["name"] in said and one["description"] in said for one in listed)


@pytest.mark.parametrize("name", ["routing", "conductor", "route-latency", "route_latency"])
def test_its_help_is_the_programs_own_under_the_name_of_the_verb(concertino: Command, name: str) -> None:
    done = concertino("bench", name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: concertino bench {name} ")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_its_help_says_what_each_option_is_and_how_it_is_called(program: Path) -> None:
    tree = ast.parse(program.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    for call in (call for call in calls if ast.unparse(call.func) == "parser.add_argument"):
        assert any(keyword.arg == "help" for keyword in call.keywords), ast.unparse(call)
    assert f"python bench/{program.name}" in (ast.get_docstring(tree) or "")


def test_options_reach_the_program_and_its_usage_errors_come_back(concertino: Command) -> None:
    done = concertino("bench", "conductor", "report", "--data-dir", ".")
    assert done.returncode == 2 and "give --out" in done.stderr


def test_a_mistyped_name_is_told_the_nearest(concertino: Command) -> None:
    done = concertino("bench", "conductr")
    assert done.returncode == 2 and "'conductor'" in done.stderr


def test_one_runs(concertino: Command) -> None:
    done = concertino("bench", "route-latency", "--runs", "10")
    assert done.returncode == 0, done.stderr
    assert "p50" in done.stdout and "10 decisions" in done.stdout


def test_a_missing_library_is_named_with_what_installs_it(tmp_path: Path) -> None:
    program = tmp_path / "needy.py"
    program.write_text('"""Needs much."""\nimport no_such_library\n')
    with pytest.raises(ConfigurationError, match=r"needs no_such_library.*concertino\[bench"):
        bench.run(program, ["needy"])


def test_a_program_finds_its_neighbours_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 3\n")
    program = tmp_path / "one.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nfrom neighbour import VALUE\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].VALUE == 3 and sys.argv[1:] == ['--x', '1']\n"
        "Path(__file__).with_name('done').touch()\n"
    )
    before = sys.argv, sys.path[:], sys.modules["__main__"]
    bench.run(program, ["one", "--x", "1"])
    assert (tmp_path / "done").exists()
    assert (sys.argv, sys.path, sys.modules["__main__"]) == before


def test_a_wheel_holds_the_programs_and_runs_one(tmp_path: Path, concertino: Command) -> None:
    pytest.importorskip("hatchling")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    held = {path.name for path in (tmp_path / "site" / "concertino" / "bench").iterdir()}
    assert held >= {path.name for path in (ROOT / "bench").glob("*.*")} - {"__pycache__"}
    environment = concertino.environment | {"PYTHONPATH": f"{tmp_path / 'site'}:{concertino.environment['PYTHONPATH']}"}
    where = "import concertino.cli.bench as bench; print(bench.folder())"
    run = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    assert str(tmp_path / "site") in subprocess.run([sys.executable, "-c", where], **run).stdout  # type: ignore[call-overload]
    command = [sys.executable, "-m", "concertino", "bench", "evidence"]
    assert "| legal/clause-type |" in subprocess.run(command, **run).stdout  # type: ignore[call-overload]


def test_the_conductor_counts_an_answer_by_what_it_says_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    conductor = importlib.import_module("conductor")
    test = "def check(candidate):\n    assert candidate((1, 2, 3)) == (1, 3)\n"
    code = conductor.Item("code", "", {"entry_point": "ends", "test": test})
    number = conductor.Item("general", "", {"answer": "3 + 4 = 7\n#### 7"})
    letter = conductor.Item("legal", "", {"answer": "C"})
    said = "### 1\n\nResult: {}\n\n### 2\n\n```python\ndef ends(row):\n    return row[0], row[{}]\n```\n\nChoice: {}"
    right, wrong = said.format(7, -1, "C"), said.format(8, 1, "D")
    assert [item.right(right) for item in (code, number, letter)] == [True, True, True]
    assert [item.right(wrong) for item in (code, number, letter)] == [False, False, False]
