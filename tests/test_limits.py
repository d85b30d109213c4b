"""Limits hold from inside and from outside."""

import subprocess
import sys
import time

from concertino.limits import Deadline

IMPOSED = "from concertino.limits import Limits, allow_cpu, impose\n"


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", IMPOSED + code], capture_output=True, text=True)


def test_memory_files_and_processor_time_end_where_they_were_set() -> None:
    assert "MemoryError" in run("impose(Limits(256 << 20)); bytearray(512 << 20)").stderr
    opening = "impose(Limits(1 << 30, open_files=8)); kept = [open('/dev/null') for _ in range(9)]"
    assert "Too many open files" in run(opening).stderr
    assert run("allow_cpu(0.1)\nwhile True: pass").returncode < 0
    assert run("impose(Limits(1 << 30))").returncode == 0


def test_a_deadline_kills_once_it_has_passed_and_not_before() -> None:
    killed: list[float] = []
    with Deadline(30, lambda: killed.append(1)) as deadline:
        pass
    assert not deadline.passed
    with Deadline(0.05, lambda: killed.append(2)) as deadline:
        time.sleep(0.5)
    assert deadline.passed
    assert killed == [2]
