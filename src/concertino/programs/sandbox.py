"""Tests of a program that nobody has read, run in two limited processes.

One process holds the program, the other the tests. What the tests import from the module `program` are stand-ins; a
call to one goes through this process to the program, and what comes back is plain data. So a program cannot change
what `assert` or `==` mean, cannot read what is expected of it, and has nothing to print or to exit with that would
count: it passes by giving the right values, and in no other way.

Each process is a fresh interpreter with nothing of the environment and without site-packages, in an empty folder of
its own, with limits of memory, processor time, open files and processes, and with no way to files or to the network
where the kernel can forbid that (isolation.py). Both are killed when the time is over, and at the end.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

import concertino
from concertino.errors import ConfigurationError
from concertino.limits import Deadline, Limits
from concertino.programs.outcome import Barrier, Outcome

_ROOT = str(Path(concertino.__file__).parents[1])
_BEGIN = "import sys; sys.path.insert(0, sys.argv[1]); from concertino.programs.child import main; main(sys.argv[1])"
_FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8")
"""With an empty environment what -I does. That itself would ignore the seed below too."""
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""The order of sets is the same each time, so that a verdict is."""
_LINE = 1 << 20
"""Bytes of one call or result."""
_BY_PROGRAM = frozenset({Outcome.ERROR, Outcome.MEMORY, Outcome.SYNTAX})
"""How it can end by what the program's process says."""


class Allowance(Struct, frozen=True, forbid_unknown_fields=True):
    """What a program and its tests may use, each of the two processes for itself."""

    seconds: float = 60.0
    """Of wall-clock time, for both together: more than processor time, since a busy machine makes all wait."""
    cpu_s: float = 5.0
    memory: int = 512 * 1024 * 1024
    """Bytes of address space."""
    open_files: int = 32

    @property
    def limits(self) -> Limits:
        """No process or thread beside its own, and not a byte into any file."""
        return Limits(self.memory, file_bytes=0, open_files=self.open_files, processes=0)


class Verdict(Struct, frozen=True):
    """How it ended, why in a line, and which barriers this kernel did not give."""

    outcome: Outcome
    said: str = ""
    missing: tuple[Barrier, ...] = ()


def run_tests(program: str, tests: str, allowance: Allowance = Allowance()) -> Verdict:  # noqa: B008 - it is frozen
    """Whether a program passes its tests.

    `tests` is Python that imports from the module `program`, calls what it imported with plain data (numbers, texts,
    lists, tuples, sets, dicts and the like), and raises where a result is wrong. Objects of the program's own classes
    can be made, called and looked into there, but only plain data can be compared. Blocks until the end, for
    `allowance.seconds` at most. Raises ConfigurationError where no process can be limited here.
    """
    with tempfile.TemporaryDirectory(prefix="concertino-") as folder, ExitStack() as held:
        program_side, tests_side = pair = (_Process(folder, allowance), _Process(folder, allowance))
        for process in pair:
            held.callback(process.end)

        def kill() -> None:
            for process in pair:
                process.kill()

        deadline = held.enter_context(Deadline(allowance.seconds, kill))
        try:
            program_side.begin("program", program)
            tests_side.begin("tests", tests)
            for process in pair:
                process.ready()
            outcome, said = _carry(program_side, tests_side)
        except _Gone as gone:
            outcome, said = (Outcome.TIMEOUT, "") if deadline.passed else (gone.outcome, gone.said)
        return Verdict(outcome, said, program_side.missing)


def passes(program: str, tests: str) -> bool:
    """Whether the program passes, however it ended if it does not."""
    return run_tests(program, tests).outcome is Outcome.PASSED


def _carry(program_side: "_Process", tests_side: "_Process") -> tuple[Outcome, str]:
    """Take calls and results to and fro. What the program's side says of itself is never that it passed."""
    word, text = program_side.hear()
    if word != b"loaded":
        return _ended(text, _BY_PROGRAM)
    while True:
        word, text = tests_side.hear()
        if word == b"ended":
            return _ended(text, frozenset(Outcome))
        program_side.tell(word, text)
        word, text = program_side.hear()
        if word not in (b"value", b"raised", b"undefined"):
            return _ended(text, _BY_PROGRAM)
        tests_side.tell(word, text)


def _ended(text: bytes, possible: frozenset[Outcome]) -> tuple[Outcome, str]:
    """What a process says of its end; an error where it says something else."""
    try:
        outcome, said = json.loads(text)
        if outcome in possible:
            return Outcome(outcome), str(said)
    except (ValueError, TypeError, RecursionError):
        pass
    return Outcome.ERROR, "it broke what carries calls to it"


class _Gone(Exception):
    """A process ended, or said too much, where it should have answered."""

    def __init__(self, outcome: Outcome, said: str) -> None:
        super().__init__(said)
        self.outcome, self.said = outcome, said


class _Process:
    """A limited process and the pipes to it."""

    def __init__(self, folder: str, allowance: Allowance) -> None:
        self._allowance = allowance
        self._began = time.monotonic()
        self.missing: tuple[Barrier, ...] = ()
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, *_FLAGS, "-c", _BEGIN, _ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_ENVIRONMENT,
            start_new_session=True,
        )

    def begin(self, role: str, code: str) -> None:
        """Tell what it is for."""
        job = {"code": code, "cpu_s": self._allowance.cpu_s, "limits": self._allowance.limits._asdict()}
        try:
            self.tell(role.encode(), json.dumps(job).encode())
        except _Gone as gone:
            raise _cannot_run(gone) from gone

    def ready(self) -> None:
        """Wait until its limits are set. Raises ConfigurationError where it did not come so far."""
        try:
            word, text = self.hear()
        except _Gone as gone:
            raise _cannot_run(gone) from gone
        assert word == b"ready"
        self.missing = tuple(Barrier(name) for name in json.loads(text))

    def tell(self, word: bytes, text: bytes) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(word + b" " + text + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def hear(self) -> tuple[bytes, bytes]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline(_LINE + 1)
        if not line.endswith(b"\n"):
            raise _Gone(Outcome.OUTPUT, f"more than {_LINE} bytes") if len(line) > _LINE else self._gone()
        word, _, text = line[:-1].partition(b" ")
        return word, text

    def _gone(self) -> _Gone:
        self.kill()
        status = self._child.wait()
        # The kernel's SIGKILL comes to those who ignore its SIGXCPU, ours to those who only closed their pipes.
        lasted = time.monotonic() - self._began
        if status == -signal.SIGXCPU or (status == -signal.SIGKILL and lasted >= self._allowance.cpu_s):
            return _Gone(Outcome.TIMEOUT, f"more than {self._allowance.cpu_s:g} s of processor time")
        return _Gone(Outcome.ERROR, f"its process ended with status {status}")

    def kill(self) -> None:
        """Kill it and whatever it started, at once."""
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def end(self) -> None:
        self.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def _cannot_run(gone: _Gone) -> ConfigurationError:
    return ConfigurationError(
        f"Programs cannot be run here: the limited process did not begin ({gone.said}). `{sys.executable} "
        f"{' '.join(_FLAGS)} -c pass` must work, and {Allowance().memory >> 20} MiB of address space must do."
    )
