"""What a request costs: CPU time of the processes that work on it, wall time, and energy where the machine tells."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from msgspec import Struct

POWERCAP = Path("/sys/class/powercap")


class Spent(Struct, frozen=True):
    """Of one request: wall seconds, CPU seconds (None after an engine's restart), joules (None where unknown)."""

    seconds: float
    cpu_s: float | None
    joules: float | None


class Meter:
    """Reads the clocks of this process and of the engines' before and after a request."""

    def __init__(self, pids: Sequence[int] = (), powercap: Path = POWERCAP) -> None:
        self._pids = tuple(pids)
        self._energy = Energy(powercap)
        self.start()

    def start(self) -> None:
        self._joules = self._energy.read()
        self._cpu = self._cpu_now()
        self._wall = time.perf_counter()

    def stop(self) -> Spent:
        seconds = time.perf_counter() - self._wall
        cpu, joules = self._cpu_now(), self._energy.read()
        return Spent(
            seconds,
            None if cpu is None or self._cpu is None else cpu - self._cpu,
            self._energy.between(self._joules, joules),
        )

    def _cpu_now(self) -> float | None:
        try:
            return time.process_time() + sum(cpu_time(pid) for pid in self._pids)
        except (psutil.Error, OSError):
            return None


def cpu_time(pid: int) -> float:
    """User and system seconds of a process so far. On Linux to the nanosecond: ticks of 10 ms say little of a request
    that takes 5 (clock_getcpuclockid(3) gives the same clock). Raises OSError or psutil.Error."""
    if platform.system() == "Linux" and pid != os.getpid():
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class Energy:
    """RAPL counters of the processor packages (Linux powercap). They count the whole machine, not one process."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters: list[tuple[Path, int]] = []
        self.note = f"unknown: {powercap} has no energy counters"
        try:
            zones = sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []
            packages = [zone for zone in zones if zone.name.count(":") == 1]
            self._counters = [
                (zone / "energy_uj", int((zone / "max_energy_range_uj").read_text("ascii"))) for zone in packages
            ]
            for counter, _ in self._counters:
                counter.read_text("ascii")
        except OSError as error:
            self._counters = []
            self.note = f"unknown: {error.filename} cannot be read ({error.strerror})"
        if self._counters:
            self.note = f"RAPL, {len(self._counters)} processor package(s), everything that ran on the machine"

    def read(self) -> tuple[int, ...]:
        """Microjoules by package."""
        return tuple(int(counter.read_text("ascii")) for counter, _ in self._counters)

    def between(self, before: tuple[int, ...], after: tuple[int, ...]) -> float | None:
        """Joules between two readings; a counter that began again at 0 is allowed for."""
        if not self._counters:
            return None
        spans = (
            last - first if last >= first else last - first + most
            for first, last, (_, most) in zip(before, after, self._counters, strict=True)
        )
        return sum(spans) / 1e6


def describe_machine() -> str:
    """The processor and the cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
