"""The process in which documents are parsed: paths on stdin, events on stdout, both a JSON value a line.

Paths are sent as bytes, since a name need not be UTF-8.
"""

import os
import sys
from pathlib import Path

import msgspec

from concertino import plugins
from concertino.documents.base import Problem, Reader
from concertino.documents.limited import END, LAST
from concertino.errors import ConcertinoError
from concertino.limits import Limits, allow_cpu, impose

_MESSAGE = 300


def main(seconds: float, memory: int) -> None:
    impose(Limits(memory))
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a parser prints is no event
    for line in sys.stdin.buffer:
        suffix, name = msgspec.json.decode(line, type=tuple[str, bytes])
        path = os.fsdecode(name)
        allow_cpu(seconds)
        try:
            reader: Reader = plugins.load(plugins.READERS, suffix, path)()
            for event in reader.read(Path(path)):
                out.write(msgspec.json.encode(event) + b"\n")
        except MemoryError:
            out.write(msgspec.json.encode(_memory(memory)) + b"\n")
            out.write(LAST)
            return  # what is left of the memory is in pieces; the next document gets a fresh process
        except ConcertinoError as error:
            out.write(msgspec.json.encode(Problem("reader not usable", error.message)) + b"\n")
        except Exception as error:  # whatever a parser raises on a damaged file is about that file
            because = f"{type(error).__name__}: {error}"[:_MESSAGE].encode("utf-8", "replace").decode()
            out.write(msgspec.json.encode(Problem("damaged", because)) + b"\n")
        out.write(END)
        out.flush()


def _memory(memory: int) -> Problem:
    return Problem("took too much memory", f"reading it needs more than {memory // 1024 // 1024} MB")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
