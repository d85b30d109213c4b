"""A program passes by giving the right values and in no other way, and costs seconds at most whatever it does.

Programs and tests run in the real limited processes. Each attempt to get out is made by a program that returns the
right value where the attempt succeeds, so a test here fails when a barrier is gone.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concertino.errors import ConfigurationError
from concertino.programs import isolation, sandbox
from concertino.programs.outcome import Barrier, Outcome
from concertino.programs.sandbox import Allowance, Verdict, run_tests

TESTS = "from program import double\n\ndef check(candidate):\n    assert candidate(2) == 4\n\ncheck(double)\n"
RIGHT = "def double(x):\n    return 2 * x\n"


def judged(body: str, tests: str = TESTS, allowance: Allowance = Allowance()) -> Verdict:  # noqa: B008
    """The verdict on a function that first does `body` and then gives the right value."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return run_tests(f"def double(x):\n{lines}    return 2 * x\n", tests, allowance)


def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    assert run_tests(RIGHT, TESTS).outcome is Outcome.PASSED
    wrong = run_tests("def double(x):\n    return 3 * x\n", TESTS)
    assert wrong.outcome is Outcome.FAILED
    assert "assert candidate(2) == 4" in wrong.said


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("def double(x:\n", Outcome.SYNTAX),
        ("", Outcome.UNDEFINED),
        ("def triple(x):\n    return 3 * x\n", Outcome.UNDEFINED),
        ("def double(x):\n    raise ValueError(x)\n", Outcome.ERROR),
        ("def double(x):\n    assert False\n", Outcome.ERROR),
        ("import a_module_that_nobody_has\n" + RIGHT, Outcome.ERROR),
        ("import numpy\n" + RIGHT, Outcome.ERROR),
        ("def double(x):\n    return double(x)\n", Outcome.ERROR),
        ("def double(x):\n    return 'x' * (2 << 20)\n", Outcome.OUTPUT),
    ],
)
def test_what_went_wrong_is_told(program: str, outcome: Outcome) -> None:
    assert run_tests(program, TESTS).outcome is outcome


# A program cannot pass by other means than the right values


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)", "os.abort()", "os.closerange(0, 64)"])
def test_leaving_before_the_tests_have_run_is_no_pass(leave: str) -> None:
    assert run_tests(f"import os, sys\n{leave}\n", TESTS).outcome is Outcome.ERROR
    assert judged(f"import os, sys\n{leave}").outcome is Outcome.ERROR


def test_claiming_success_on_every_open_file_is_no_pass() -> None:
    claim = (
        "import os\nprint('passed')\n"
        "for number in range(64):\n"
        "    try:\n"
        '        os.write(number, b\'ended ["passed", ""]\\n\')\n'
        "    except OSError:\n"
        "        pass\n"
    )
    verdict = run_tests(claim + "def double(x):\n    return 5\n", TESTS)
    assert verdict.outcome is Outcome.ERROR
    assert "broke" in verdict.said


@pytest.mark.parametrize(
    "program",
    [
        "class Same(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\ndouble = Same",
        "class Same:\n    __eq__ = lambda self, other: True\ndef double(x):\n    return Same()",
        "import builtins\nbuiltins.AssertionError = None\ndef double(x):\n    return 5",
        "import operator, json, sys\nsys.excepthook = lambda *a: None\noperator.eq = lambda a, b: True\n"
        "json.loads = lambda text: 4\ndef double(x):\n    return 5",
        "import gc\nfor found in gc.get_objects():\n"
        "    if isinstance(found, dict) and 'check' in found:\n        found['check'] = print\n"
        "def double(x):\n    return 5",
    ],
)
def test_equality_and_assertions_are_not_the_program_s_to_change(program: str) -> None:
    assert run_tests(program, TESTS).outcome in (Outcome.FAILED, Outcome.UNDEFINED)


def test_the_tests_cannot_be_read_by_the_program() -> None:
    """The expected value is nowhere in the program's process, and the other process is out of reach."""
    spy = (
        "import gc, os\n"
        "seen = [text for text in gc.get_objects() if isinstance(text, str) and 'candidate' in text]\n"
        "assert not seen\n"
        "for process in range(1, 100_000):\n"
        "    try:\n"
        "        open(f'/proc/{process}/mem', 'rb')\n"
        "        raise AssertionError('it opened')\n"
        "    except OSError:\n"
        "        pass"
    )
    assert judged(spy).outcome is Outcome.PASSED


# What it may use


@pytest.mark.parametrize(
    "body",
    ["while True: pass", "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"],
    ids=["plain", "deaf"],
)
def test_an_endless_loop_is_stopped(body: str) -> None:
    began = time.monotonic()
    assert judged(body, allowance=Allowance(seconds=20, cpu_s=1)).outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 25


def test_a_program_that_only_waits_is_stopped_by_the_clock() -> None:
    began = time.monotonic()
    assert judged("import time\ntime.sleep(600)", allowance=Allowance(seconds=3)).outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 20


def test_a_memory_bomb_ends_by_its_own_limit() -> None:
    assert judged("kept = []\nwhile True: kept.append(bytearray(32 << 20))").outcome is Outcome.MEMORY
    assert judged("held = bytearray(64 << 20)").outcome is Outcome.PASSED
    assert judged("held = bytearray(64 << 20)", allowance=Allowance(memory=48 << 20)).outcome is Outcome.MEMORY


# What it may reach


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that anybody may read and write, in a folder where anybody may make files."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    file = tmp_path / "secret"
    file.write_text("the key", "utf-8")
    file.chmod(0o666)
    return file


calls = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no filter for this processor")


@calls
@pytest.mark.parametrize(
    "attempt",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import threading\nwhile True: threading.Thread(target=input).start()",
        "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import socket\nsocket.socket(socket.AF_UNIX)",
        "import os\nos.kill(os.getppid(), 0)",
        "import resource\nresource.prlimit(0, resource.RLIMIT_CPU, (9, 9))",
    ],
    ids=["fork", "run", "threads", "network", "socket", "signal", "limits"],
)
def test_processes_and_network_are_out_of_reach(attempt: str) -> None:
    verdict = judged(attempt)
    assert verdict.outcome is Outcome.ERROR
    assert "not permitted" in verdict.said or "can't start new thread" in verdict.said


@pytest.mark.parametrize(
    "attempt",
    [
        "open({secret!r}).read()",
        "open({secret!r}, 'w')",
        "open({secret!r} + '-new', 'w')",
        "import os\nos.remove({secret!r})",
        "import os\nos.chmod({secret!r}, 0)",
        "import os\nos.listdir(os.path.dirname({secret!r}))",
        "open('here', 'w').write('in its own folder')",
        "import tempfile\ntempfile.TemporaryFile().write(b'x' * (1 << 30))",
        "open('/proc/self/oom_score_adj', 'w').write('0')",
    ],
    ids=["read", "write", "make", "remove", "mode", "list", "own folder", "large", "proc"],
)
def test_files_are_out_of_reach(attempt: str, outside: Path) -> None:
    verdict = judged(attempt.format(secret=str(outside)))
    if Barrier.FILES in verdict.missing:
        pytest.skip("this kernel has no Landlock")
    assert verdict.outcome is Outcome.ERROR
    assert outside.read_text("utf-8") == "the key"
    assert [path.name for path in outside.parent.iterdir()] == ["secret"]
    assert outside.stat().st_mode & 0o777 == 0o666


def test_without_landlock_nothing_can_be_written_to_a_file(outside: Path) -> None:
    assert Allowance().limits.file_bytes == 0
    code = (
        "from concertino.limits import Limits, impose\n"
        "impose(Limits(1 << 30, file_bytes=0))\n"
        f"with open({str(outside)!r}, 'a') as file: file.write('x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert outside.read_text("utf-8") == "the key"


def test_the_environment_and_standard_input_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    assert judged("import os\nassert dict(os.environ).keys() <= {'PYTHONHASHSEED', 'LC_CTYPE'}").outcome is (
        Outcome.PASSED
    )
    assert judged("import sys\nassert sys.stdin.read() == ''").outcome is Outcome.PASSED
    assert judged("import os\nassert os.listdir('.') == []").outcome is Outcome.PASSED


def test_sets_have_the_same_order_each_time() -> None:
    shown = "def double(x):\n    return ''.join({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})\n"
    said = {run_tests(shown, "from program import double\nassert 0, double(2)").said for _ in range(3)}
    assert len(said) == 1


def test_a_barrier_that_the_kernel_does_not_give_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tests(RIGHT, TESTS).missing == ()
    # The child is told of a processor that the filter has no numbers for.
    begin = sandbox._BEGIN.replace("main(sys.argv[1])", "import platform; platform.machine = str; main(sys.argv[1])")
    monkeypatch.setattr(sandbox, "_BEGIN", begin)
    assert run_tests(RIGHT, TESTS) == Verdict(Outcome.PASSED, "", (Barrier.CALLS,))


def test_where_no_process_can_be_limited_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_BEGIN", "raise SystemExit(3)")
    with pytest.raises(ConfigurationError, match=r"did not begin .*status 3"):
        run_tests(RIGHT, TESTS)


def test_no_process_is_left_over() -> None:
    before = _children()
    judged("while True: pass", allowance=Allowance(seconds=1))
    assert not _children() - before


def _children() -> set[Path]:
    return {path for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == os.getpid()}


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text("utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return -1


# Tests that test nothing


@pytest.mark.parametrize("tests", ["", "assert True", "import sys; sys.exit(0)", "assert (", "import program"])
def test_tests_that_never_call_the_program_pass_nothing(tests: str) -> None:
    assert run_tests(RIGHT, tests).outcome is Outcome.UNTESTED


def test_tests_may_expect_exceptions_by_their_class() -> None:
    raising = "class Odd(ValueError): pass\ndef double(x):\n    raise Odd(x)\n"
    expects = "from program import double\ntry:\n    double(1)\nexcept {}:\n    pass\n"
    assert run_tests(raising, expects.format("ValueError")).outcome is Outcome.PASSED
    assert run_tests(raising, expects.format("KeyError")).outcome is Outcome.ERROR


def test_a_function_is_the_program_s_own_whatever_its_name() -> None:
    tests = "import program\ndef check(candidate):\n    assert candidate(1) == 2\ncheck(program.{})\n"
    for name in ("check", "sum", "program", "print"):
        assert run_tests(f"def {name}(x):\n    return x + 1\n", tests.format(name)).outcome is Outcome.PASSED
        assert run_tests(f"def {name}(x):\n    return x\n", tests.format(name)).outcome is Outcome.FAILED
    assert run_tests("def other(): pass", tests.format("check")).outcome is Outcome.UNDEFINED


def test_objects_of_the_program_can_be_made_and_called_but_are_equal_to_nothing() -> None:
    stack = "class Stack:\n    def __init__(self): self.kept = []\n    def push(self, x): self.kept.append(x)\n"
    tests = "from program import Stack\ns = Stack()\ns.push((1, 2))\nassert s.kept == [(1, 2)]\n"
    assert run_tests(stack, tests).outcome is Outcome.PASSED
    assert run_tests(stack, tests + "assert Stack() == Stack()").outcome is Outcome.FAILED


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of another table")
def test_the_filter_answers_to_every_name_it_lists() -> None:
    code = isolation._filter(*isolation._ARCHITECTURES["x86_64"])
    assert len(code) % 8 == 0
    assert len(code) // 8 < 256  # jumps are bytes
