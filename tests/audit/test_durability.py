"""What the log keeps when processes die, disks fill and files cannot be written."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concertino.audit import AuditLog, AuditReader, Begin, ChainState, End
from concertino.errors import AuditUnavailable
from concertino.types import Outcome, Principal

WRITER = Path(__file__).with_name("writer.py")
POINTS = int(os.environ.get("CONCERTINO_KILL_POINTS", "20"))


def writer(path: Path, prefix: str, count: int = 100_000, at_once: int = 4, limit: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), str(path), prefix, str(count), str(at_once)]
    if limit:
        command = ["bash", "-c", f"trap '' XFSZ; ulimit -f {limit}; exec \"$@\"", "bash", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def begin(request_id: str) -> Begin:
    return Begin(request_id, Principal(), "auto", b"hello")


def test_kill_9_loses_no_acknowledged_record(tmp_path: Path) -> None:
    path, random_point, acknowledged = tmp_path / "audit.db", random.Random(11), set[tuple[str, str]]()
    for point in range(POINTS):
        process = writer(path, f"p{point}-")
        assert process.stdout is not None
        acknowledged.add(tuple(process.stdout.readline().split()))  # type: ignore[arg-type]  # it is up and writing
        time.sleep(random_point.uniform(0, 0.08))
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].splitlines(keepends=True)
        acknowledged |= {tuple(line.split()) for line in rest if line.endswith("\n")}  # type: ignore[misc]
    with sqlite3.connect(path) as connection:
        stored = set(connection.execute("SELECT kind, request_id FROM records").fetchall())
    assert len(acknowledged) > POINTS
    assert acknowledged <= stored
    assert AuditReader(path).verify().state is ChainState.INTACT


def test_several_processes_append_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    processes = [writer(path, f"w{number}-", count=40) for number in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert not any("refused" in output for output in outputs)
    result = AuditReader(path).verify()
    assert (result.state, result.records, result.unfinished) == (ChainState.INTACT, 240, 0)


def test_a_full_disk_refuses_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    output = writer(path, "full-", count=2000, at_once=4, limit="160").communicate(timeout=120)[0].splitlines()
    refused = [line for line in output if line.startswith("refused")]
    kept = {tuple(line.split()) for line in output if line.startswith(("begin", "end"))}
    assert kept and refused
    assert "cannot be written" in refused[0] and "Free or mend its disk" in refused[0]
    # The same file takes records again where there is room, and nothing acknowledged is gone.
    after = writer(path, "after-", count=4).communicate(timeout=60)[0]
    assert "refused" not in after
    with sqlite3.connect(path) as connection:
        assert kept <= set(connection.execute("SELECT kind, request_id FROM records").fetchall())
    assert AuditReader(path).verify().state is ChainState.INTACT


async def test_a_log_that_cannot_be_written_refuses_at_once_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.write_text("a file where the folder should be")
    log = AuditLog(folder / "audit.db", key_path=tmp_path / "audit.key")
    with pytest.raises(AuditUnavailable):
        await log.begin(begin("r0"))  # makes the key, starts the thread
    started = time.monotonic()
    with pytest.raises(AuditUnavailable, match="cannot be written"):
        await log.begin(begin("r1"))
    assert time.monotonic() - started < 0.1
    folder.unlink()
    await log.begin(begin("r2"))
    log.close()
    assert [entry.id for entry in AuditReader(folder / "audit.db").tail()] == ["r2"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_read_only_file_refuses_with_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    writer(path, "a", count=4).communicate(timeout=60)
    code = (
        "import os, sys, asyncio; sys.path.insert(0, sys.argv[1]); import writer\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "from concertino.audit import AuditLog; from pathlib import Path\n"
        "log = AuditLog(Path(sys.argv[2]), key_path=Path(sys.argv[3]))\n"
        "asyncio.run(writer.one(log, 'r1'))"
    )
    key = tmp_path / "nobody.key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    os.chown(key, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    path.chmod(0o444)
    result = subprocess.run(
        [sys.executable, "-c", code, str(WRITER.parent), str(path), str(key)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.startswith("refused r1"), result.stderr
    assert "cannot be written" in result.stdout


async def test_a_corrupt_file_refuses(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 40)
    log = AuditLog(path)
    with pytest.raises(AuditUnavailable, match="not a database"):
        await log.begin(begin("r1"))
    log.close()


async def test_many_at_once_share_a_sync_and_the_loop_stays_free(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.db")
    await log.begin(begin("first"))
    commits = 0
    append = log._file.append

    def counted(batch: list[dict[str, object]]) -> None:
        nonlocal commits
        commits += 1
        time.sleep(0.05)  # a slow disk
        append(batch)

    log._file.append = counted  # type: ignore[method-assign,assignment]
    longest, last = 0.0, time.monotonic()
    tasks = [asyncio.create_task(log.begin(begin(f"r{number}"))) for number in range(200)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    await asyncio.gather(*tasks)
    log.close()
    assert commits <= 5
    assert longest < 0.05


async def test_close_writes_what_waits_and_then_refuses(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.db")
    waiting = [asyncio.create_task(log.begin(begin(f"r{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(log.close)
    await asyncio.gather(*waiting)
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.end(End("r1", Outcome.COMPLETED))
    assert AuditReader(tmp_path / "audit.db").verify().unfinished == 20


async def test_an_id_used_twice_is_refused_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.db")
    await log.begin(begin("same"))
    results = await asyncio.gather(*(log.begin(begin(name)) for name in ("a", "same", "b")), return_exceptions=True)
    log.close()
    assert [type(result) for result in results] == [type(None), AuditUnavailable, type(None)]
    assert AuditReader(tmp_path / "audit.db").verify().records == 3


def move_away(folder: Path) -> None:
    for file in folder.glob("audit.db*"):
        file.rename(folder / file.name.replace("audit.db", "archive.db"))


async def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    log = AuditLog(path)
    await log.begin(begin("old"))
    move_away(tmp_path)
    await log.begin(begin("new"))
    log.close()
    assert [entry.id for entry in AuditReader(path).tail()] == ["new"]
