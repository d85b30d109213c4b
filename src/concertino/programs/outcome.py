"""How a run of a program's tests ended, and what it was kept from. Standard library only."""

from enum import StrEnum


class Outcome(StrEnum):
    """How the tests of one program ended. Only PASSED counts as right."""

    PASSED = "passed"
    """Every test held, and the program was called."""
    FAILED = "failed"
    """A test did not hold: an assertion was wrong, or could not be made of what the program gave."""
    ERROR = "error"
    """The program raised an exception, exited, or its process died."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    """A result was larger than is read."""
    SYNTAX = "syntax"
    """It is not valid Python."""
    UNDEFINED = "undefined"
    """It lacks what the tests import from it."""
    NO_PROGRAM = "no_program"
    """The answer holds no program."""
    UNTESTED = "untested"
    """The tests are not valid Python, exited, or never called the program."""


class Barrier(StrEnum):
    """What the kernel keeps a program from, beside the limits of memory and time, which always hold."""

    FILES = "files"
    """Reading outside of Python and the system's libraries, and making files (Landlock)."""
    CALLS = "calls"
    """The network, other processes, and signals to them (seccomp)."""
