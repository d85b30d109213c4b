"""The command as a whole: help, version, errors, exit statuses, where output goes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from concertino import __version__, errors
from concertino.cli import output
from concertino.cli.verbs import VERBS, load
from concertino.errors import ConcertinoError
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]


def test_the_version_is_told(concertino: Command) -> None:
    done = concertino("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"concertino {__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_says_what_it_does_and_gives_an_example(concertino: Command, verb: str) -> None:
    done = concertino(verb, "--help")
    assert done.returncode == 0 and done.stderr == ""
    examples = done.stdout.partition("Examples:\n")[2]
    assert re.search(rf"^    ?.*concertino {verb}", examples, re.MULTILINE), done.stdout


def test_every_command_below_a_verb_gives_an_example_too() -> None:
    for verb in VERBS:
        for name, command in getattr(load(verb), "commands", {}).items():
            assert re.search(rf"Examples?:\n +.*concertino {verb} {name}\b", command.help or ""), f"{verb} {name}"


def test_the_help_lists_every_verb_and_every_exit_status(concertino: Command) -> None:
    said = concertino("--help").stdout
    for verb, line in VERBS.items():
        assert f"  {verb} " in said and line.split()[0] in said
    for code in output.EXIT_CODES:
        assert re.search(rf"^ +{code}  ", said, re.MULTILINE)


def test_the_manual_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import generate; print(generate.page(), end='')"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (ROOT / "docs" / "cli.md").read_text("utf-8"), "run: python docs/generate.py"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["route", "a contract"], ["specialists"]])
def test_a_quick_command_imports_no_engine_server_or_database(concertino: Command, arguments: list[str]) -> None:
    code = (
        "import sys; from concertino.cli import run; run(sys.argv[1:]); "
        "heavy = {'aiohttp', 'sqlalchemy', 'granian', 'starlette', 'xllamacpp', 'alembic', 'torch', 'transformers'}; "
        "sys.exit(f'imported {heavy & sys.modules.keys()}' if heavy & sys.modules.keys() else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=concertino.environment,
        cwd=concertino.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_help_and_version_do_not_even_import_the_configuration_or_rich(concertino: Command) -> None:
    code = (
        "import sys; from concertino.cli import run; run(sys.argv[1:]); "
        "sys.exit(1 if {'yaml', 'rich', 'concertino.config'} & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], env=concertino.environment, check=False)
    assert done.returncode == 0


def test_a_mistyped_verb_is_a_usage_error_that_names_the_nearest(concertino: Command) -> None:
    done = concertino("rout", "x")
    assert done.returncode == 2 and "'route'" in done.stderr and done.stdout == ""


def test_a_mistyped_setting_is_named_with_the_nearest_and_no_traceback(concertino: Command) -> None:
    concertino.write_config(more="gatewya: {port: 1}\n")
    done = concertino("ask", "hello")
    assert done.returncode == 3 and done.stdout == ""
    assert "'gatewya'" in done.stderr and "'gateway'" in done.stderr and "team.yaml" in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_with_json_an_error_also_has_its_wire_shape_on_stdout(concertino: Command) -> None:
    done = concertino("ask", "--model", "legl", "--json", "hello")
    assert done.returncode == 2
    told = json.loads(done.stdout)["error"]
    assert told["code"] == "model_not_found" and told["param"] == "model" and told["message"] in done.stderr


@pytest.mark.parametrize("before", [True, False])
def test_config_may_stand_before_or_after_the_verb(concertino: Command, before: bool) -> None:
    other = concertino.folder / "other.yaml"
    other.write_text(concertino.config.read_text().replace("name: finance", "name: treasury"))
    option = ["--config", str(other)]
    arguments = [*option, "specialists", "--json"] if before else ["specialists", "--json", *option]
    assert "treasury" in [card["name"] for card in json.loads(concertino(*arguments).stdout)]


def test_a_missing_configuration_file_is_named(concertino: Command) -> None:
    done = concertino("--config", "nowhere.yaml", "specialists")
    assert done.returncode == 3 and "nowhere.yaml" in done.stderr


def test_a_reader_that_goes_away_is_no_error_worth_a_word(concertino: Command) -> None:
    lines = concertino.folder / "many.jsonl"
    lines.write_text('{"text": "a contract"}\n' * 2000)
    command = f"{concertino.script} route --jsonl {lines} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=concertino.environment, capture_output=True, text=True, check=False
    )
    first, status = done.stdout.splitlines()
    assert json.loads(first)["specialist"] == "legal" and status == "141" and done.stderr == ""


def every_error() -> list[type[ConcertinoError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ConcertinoError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_documented_exit_status(kind: type[ConcertinoError]) -> None:
    assert output.exit_code(kind("x")) in output.EXIT_CODES


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidRequest, 1),
        (errors.UnknownModel, 2),
        (errors.ConfigurationError, 3),
        (errors.ModelMissing, 4),
        (errors.PullFailed, 4),
        (errors.PolicyRefused, 5),
        (errors.BackendTimeout, 6),
        (errors.AuditUnavailable, 6),
        (errors.AddressInUse, 6),
    ],
)
def test_an_exit_status_says_what_kind_of_failure_it_was(kind: type[ConcertinoError], status: int) -> None:
    assert output.exit_code(kind("x")) == status


def test_colour_is_for_terminals_that_want_it(concertino: Command) -> None:
    def shown(**environment: str) -> bytes:
        parent, child = pty.openpty()
        subprocess.run(
            [concertino.script, "ask", "-m", "nobody", "x"],
            stdout=child,
            stderr=child,
            env=concertino.environment | environment,
            check=False,
        )
        os.close(child)
        return os.read(parent, 4096)

    assert b"\x1b[31m" in shown(TERM="xterm")
    assert not re.search(rb"\x1b\[[0-9;]*m", shown(TERM="xterm", NO_COLOR="1"))
