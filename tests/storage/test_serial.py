"""Calls to a database run in order, and one that hangs holds nobody and nothing."""

import asyncio
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from concertino.storage.serial import SerialThread

PATIENCE_S = 5.0


async def test_calls_run_one_after_another_and_tell_their_results_and_failures() -> None:
    thread, ran = SerialThread("test"), []

    def work(number: int) -> int:
        ran.append(number)
        if number == 3:
            raise KeyError(number)
        return number * 2

    found = await asyncio.gather(*(thread.call(partial(work, n), PATIENCE_S) for n in range(6)), return_exceptions=True)
    assert ran == list(range(6))
    assert isinstance(found.pop(3), KeyError) and found == [0, 2, 4, 8, 10]
    assert thread.close(PATIENCE_S)


async def test_nobody_waits_behind_a_call_that_is_late_and_all_is_carried_out_once_it_is_back() -> None:
    thread, back, ran = SerialThread("test"), threading.Event(), []

    def hang() -> None:
        back.wait(30)
        ran.append("late")

    with pytest.raises(TimeoutError):
        await thread.call(hang, 0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await thread.call(lambda: ran.append("not begun"), PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S / 2
    thread.submit(lambda: ran.append("queued"))
    assert not thread.close(0.05), "it is told that something is still to be done"
    assert await thread.call(lambda: "anew", PATIENCE_S) == "anew", "a thread of its own after the end of the first"
    last = threading.Event()
    back.set()
    assert thread.close(PATIENCE_S)
    for _ in range(500):
        if ran == ["late", "queued"]:
            break
        last.wait(0.01)
    assert ran == ["late", "queued"]


def test_a_process_ends_although_a_call_hangs() -> None:
    program = (
        "import asyncio, time\n"
        "from concertino.storage.serial import SerialThread\n"
        "thread = SerialThread('test')\n"
        "async def main():\n"
        "    try:\n"
        "        await thread.call(lambda: time.sleep(60), 0.05)\n"
        "    except TimeoutError:\n"
        "        print('late', thread.close(0.05))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["late", "False"], "")
