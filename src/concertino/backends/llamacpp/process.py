"""Supervision of one engine process: start, watch, restart, stop."""

import asyncio
import collections
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from concertino.backends.base import Health
from concertino.errors import BackendUnavailable

_READY_WAIT_S = 30.0
_STOP_WAIT_S = 3.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0
_STABLE_S = 30.0


class EngineSpec(Struct, frozen=True):
    """What an engine process needs to know. `context_tokens` is per request, `parallel` the requests served at once."""

    name: str
    model_path: str
    context_tokens: int = 4096
    parallel: int = 4
    threads: int = 2
    batch_tokens: int = 64
    prompt_cache_mib: int = 256
    adapters: tuple[str, ...] = ()
    embed: bool = False


class EngineProcess:
    """One llama.cpp process for one base model, kept alive until `stop`.

    A crash costs the requests that it held; the process comes back after a pause that doubles with each crash in a row.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._log: collections.deque[str] = collections.deque(maxlen=40)
        self._failure = ""
        self._stopping = False
        # A folder of our own with mode 0700: nobody else on the machine can reach the socket.
        self._folder = Path(tempfile.mkdtemp(prefix="concertino-"))
        self.socket_path = self._folder / "engine.sock"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    def health(self) -> Health:
        if self._ready.is_set():
            return Health.READY
        return Health.DOWN if self._failure else Health.STARTING

    async def start(self) -> None:
        """Start and wait until the model is loaded. Raises BackendUnavailable with the engine's last words."""
        await self._launch()
        self._supervisor = asyncio.create_task(self._supervise(), name=f"engine {self.spec.name}")

    async def wait_ready(self) -> None:
        """Return once requests can be sent; a request that meets a restart waits for it. Raises BackendUnavailable."""
        if self._ready.is_set():
            return
        if self._stopping or self._supervisor is None:
            raise BackendUnavailable(f"The engine of {self.spec.name} is stopped.")
        try:
            await asyncio.wait_for(self._ready.wait(), _READY_WAIT_S)
        except TimeoutError as error:
            raise BackendUnavailable(
                f"The engine of {self.spec.name} is not running: {self._failure or 'it is still loading'}. "
                "Try again shortly; `concertino doctor` tells more."
            ) from error

    async def wait_restarted(self) -> None:
        """After a refused connection: wait for the dead process to be noticed, and then for its successor."""
        for _ in range(20):
            if self.pid is None or not self._ready.is_set():
                break
            await asyncio.sleep(0.05)
        if self.pid is None:
            self._ready.clear()
        await self.wait_ready()

    async def stop(self) -> None:
        """End the process: close its lifeline, then kill it by its own process id if it lingers."""
        self._stopping = True
        self._ready.clear()
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self._end_process()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _launch(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LLAMA_ARG_")}
        # Threads that spin long while they wait for each other stall as soon as anything else wants the cores: with one
        # busy neighbour on two cores 2 tokens/s became 12 by this, and an idle machine loses about a tenth.
        environment.setdefault("GOMP_SPINCOUNT", "1000")
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "concertino.backends.llamacpp.engine",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is the gateway's to handle, not the engine's
        )
        assert process.stdin and process.stdout and process.stderr
        spec = msgspec.to_builtins(self.spec) | {"socket_path": str(self.socket_path)}
        drain = asyncio.create_task(self._drain(process.stderr))
        try:
            process.stdin.write(msgspec.json.encode(spec) + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
            while line and not line.startswith(b'{"listening"'):
                line = await process.stdout.readline()
        except (ConnectionError, asyncio.CancelledError):
            await self._end_process()
            raise
        if not line:
            await process.wait()
            await drain
            self._failure = self._last_words(process.returncode)
            raise BackendUnavailable(f"The engine of {self.spec.name} did not start: {self._failure}.")
        self._failure = ""
        self._ready.set()

    async def _supervise(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping:
            assert self._process is not None
            started = time.monotonic()
            code = await self._process.wait()
            self._ready.clear()
            self._failure = self._last_words(code)
            if time.monotonic() - started > _STABLE_S:
                pause = _FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            self.restarts += 1
            # A failed launch leaves its reason in `_failure`, and the loop comes round to it again.
            with contextlib.suppress(BackendUnavailable, ConnectionError):
                await self._launch()

    async def _drain(self, stream: asyncio.StreamReader) -> None:
        with contextlib.suppress(ValueError, ConnectionError):
            while line := await stream.readline():
                self._log.append(line.decode("utf-8", "replace").rstrip())

    def _last_words(self, code: int | None) -> str:
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        words = [line for line in self._log if line.strip()][-3:]
        return f"{how}; {' / '.join(words)}" if words else how

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_WAIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
