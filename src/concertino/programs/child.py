"""One of the two limited processes: it holds a program and answers calls to it, or holds tests and makes them.

Each line is a word, a blank and a text in JSON. Neither process has anything of the other but these lines, which the
parent carries, and only the process with the tests says how they ended. Standard library only: it runs without
site-packages.
"""

import builtins
import json
import linecache
import os
import sys
import sysconfig
import traceback
from types import ModuleType
from typing import Any, BinaryIO

from concertino.limits import Limits, allow_cpu, impose
from concertino.programs.isolation import isolate
from concertino.programs.outcome import Outcome
from concertino.programs.wire import decode, encode

PROGRAM = "program"
"""The module that tests import what they test from."""
_SAID = 300
_GRACE = 1


class Channel:
    """Lines to and from the parent, on what were stdin and stdout; these lead nowhere from now on."""

    def __init__(self) -> None:
        self._reader: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._writer = os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)

    def say(self, word: str, text: Any = None) -> None:
        left = memoryview(f"{word} {json.dumps(text)}\n".encode())
        while left:
            left = left[os.write(self._writer, left) :]

    def hear(self) -> tuple[str, Any]:
        line = self._reader.readline()
        if not line:
            os._exit(0)  # the parent has what it wants
        word, _, text = line.decode().partition(" ")
        return word, json.loads(text)


def main(root: str) -> None:
    """Live as what the first line says. `root` is the folder on sys.path that Concertino was imported from."""
    sys.path.remove(root)
    channel = Channel()
    role, job = channel.hear()
    impose(Limits(**job["limits"]))
    allow_cpu(job["cpu_s"], grace=_GRACE)
    channel.say("ready", isolate(_readable()))
    if role == "program":
        hold_program(job["code"], channel)
    else:
        hold_tests(job["code"], channel)


def _readable() -> list[str]:
    """Python's own modules, and what the system's libraries are loaded from."""
    python = {sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return sorted(python | {"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/dev/urandom", "."})


# The program


def hold_program(code: str, channel: Channel) -> None:
    """Run the program's module, then answer what the tests ask of it."""
    module = ModuleType(PROGRAM)
    sys.modules[PROGRAM] = module
    try:
        exec(compile(code, "<program>", "exec"), module.__dict__)  # noqa: S102 - what this process is for
    except BaseException as error:
        channel.say("ended", _how_it_ended(error))
        return
    channel.say("loaded")
    objects: list[Any] = []

    def number_of(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    while True:
        word, asked = channel.hear()
        try:
            value = _answer(word, asked, module, objects)
            found = encode(value, number_of)
        except _Undefined:
            channel.say("undefined", asked)
        except MemoryError:
            channel.say("ended", [Outcome.MEMORY, "MemoryError"])
            return
        except Exception as error:
            channel.say("raised", _exception_as_data(error))
        except BaseException as error:
            channel.say("ended", _how_it_ended(error))
            return
        else:
            channel.say("value", found)


class _Undefined(Exception):
    """The program has nothing of that name."""


def _answer(word: str, asked: Any, module: ModuleType, objects: list[Any]) -> Any:
    if word == "name":
        if asked not in module.__dict__:
            raise _Undefined
        return module.__dict__[asked]
    if word == "attribute":
        number, name = asked
        return getattr(objects[number], name)
    number, arguments, named = asked
    arguments, named = decode(arguments, objects.__getitem__), decode(named, objects.__getitem__)
    return objects[number](*arguments, **named)


def _how_it_ended(error: BaseException) -> tuple[Outcome, str]:
    if isinstance(error, SyntaxError):
        return Outcome.SYNTAX, _text(error)
    if isinstance(error, MemoryError):
        return Outcome.MEMORY, "MemoryError"
    if isinstance(error, SystemExit):
        return Outcome.ERROR, "it exited"
    return Outcome.ERROR, _text(error)


def _exception_as_data(error: Exception) -> tuple[str, str]:
    """The nearest class of the exception that the tests know too, and its text."""
    kind = next(kind for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    text = _text(error)
    return kind.__name__, text.partition(": ")[2] if kind is type(error) else text


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:_SAID]
    except Exception:  # a program's own exception may not even have a text
        return type(error).__name__


# The tests


class Remote:
    """Something of the program that is no plain data: it can be called, and has attributes. Equal to itself alone."""

    def __init__(self, number: int, caller: "Caller") -> None:
        self.__number = number
        self.__caller = caller

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.__caller.call(self.__number, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__caller.ask("attribute", [self.__number, name])


class Caller:
    """Asks the program, and remembers how often, and what it raised."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.calls = 0
        self.raised: BaseException | None = None
        self.undefined = ""

    def call(self, number: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.calls += 1
        return self.ask("call", [number, encode(arguments, _number_of), encode(named, _number_of)])

    def name(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.ask("name", name)

    def ask(self, word: str, asked: Any) -> Any:
        self._channel.say(word, asked)
        answered, found = self._channel.hear()
        if answered == "value":
            return decode(found, self._object)
        if answered == "undefined":
            self.undefined = str(asked)
            raise AttributeError(self.undefined)
        kind, text = found
        self.raised = _exception(kind, text)
        raise self.raised

    def _object(self, number: int) -> Remote:
        return Remote(number, self)


def _number_of(value: Any) -> int:
    if isinstance(value, Remote):
        return int(value._Remote__number)
    raise TypeError(f"{type(value).__name__} cannot be handed to the program, only plain data can")


def _exception(kind: str, text: str) -> Exception:
    known = getattr(builtins, kind, None)
    if not (isinstance(known, type) and issubclass(known, Exception)):
        return Exception(text)
    try:
        return known(text)
    except TypeError:  # some cannot be made of a text alone
        return Exception(text)


def hold_tests(code: str, channel: Channel) -> None:
    """Run the tests, and say how they ended."""
    caller = Caller(channel)
    module = ModuleType(PROGRAM)
    module.__dict__["__getattr__"] = caller.name
    sys.modules[PROGRAM] = module
    channel.say("ended", _tested(code, caller))


def _tested(code: str, caller: Caller) -> tuple[Outcome, str]:
    try:
        compiled = compile(code, "<tests>", "exec")
    except (SyntaxError, ValueError) as error:
        return Outcome.UNTESTED, _text(error)
    linecache.cache["<tests>"] = (len(code), None, code.splitlines(keepends=True), "<tests>")
    try:
        exec(compiled, {"__name__": "tests"})  # noqa: S102 - what this process is for
    except SystemExit:
        return Outcome.UNTESTED, "the tests exited"
    except BaseException as error:
        if isinstance(error, MemoryError):
            return Outcome.MEMORY, _where(error)
        if error is caller.raised:
            return Outcome.ERROR, _where(error)
        if isinstance(error, ImportError | AttributeError) and caller.undefined:
            return Outcome.UNDEFINED, caller.undefined
        return Outcome.FAILED, _where(error)
    return (Outcome.PASSED, "") if caller.calls else (Outcome.UNTESTED, "the tests never call the program")


def _where(error: BaseException) -> str:
    """The line of the tests that was reached, and the exception."""
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<tests>"]
    return f"{lines[-1] if lines else ''} ({_text(error)})"[:_SAID]
