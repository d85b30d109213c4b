"""The HTTP server around the application."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable
from typing import Any

from concertino.errors import AddressInUse, ConfigurationError
from concertino.gateway.app import create_app
from concertino.gateway.keys import Authenticator
from concertino.gateway.note import note
from concertino.orchestrator.service import Service

_DRAIN_S = 30.0


def claim_port(host: str, port: int) -> int:
    """The port to listen on: `port`, or a free one for 0. Raises AddressInUse, ConfigurationError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(
                    f"Port {port} on {host} is taken. Stop what listens there, or choose another with --port "
                    "(0 takes a free one).",
                    param="gateway.port",
                ) from error
            raise ConfigurationError(
                f"Cannot listen on {host}:{port}: {error.strerror}.", param="gateway.host"
            ) from error
        return int(probe.getsockname()[1])


async def serve(
    service: Service, keys: Authenticator, host: str, port: int, ready: Callable[[str], None] | None = None
) -> None:
    """Start the engines, listen, and serve until SIGINT or SIGTERM; then finish what is in flight, for 30 s or until a
    second signal.

    `ready` is called with the URL once requests are answered. Raises AddressInUse, ModelMissing, BackendUnavailable.
    """
    port = claim_port(host, port)
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        await _start_or_stop(service, stop)
        if stop.is_set():
            return
        keys.load()  # now, so that no request waits for the database's libraries
        server = _granian(create_app(service, keys), host, port)
        serving = asyncio.ensure_future(server.serve())
        await _until_listening(host, port, serving)
        with note(service.settings, url):
            if ready is not None:
                ready(url)
            await asyncio.wait({serving, asyncio.ensure_future(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            await _drain(service, hurry)
        if serving.done():
            serving.result()
        server.stop()
        # Not cancelled when it is late: connections that clients keep open are no reason for a traceback.
        await asyncio.wait({serving}, timeout=5)
    finally:
        await service.close()


async def _start_or_stop(service: Service, stop: asyncio.Event) -> None:
    """Start the engines, unless a signal comes first."""
    starting, stopping = asyncio.ensure_future(service.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return
    stopping.cancel()
    starting.result()


async def _drain(service: Service, hurry: asyncio.Event) -> None:
    """Requests that arrive now are told 503; those in flight may end, for 30 s or until a second signal."""
    service.draining = True
    waits = {asyncio.ensure_future(service.idle.wait()), asyncio.ensure_future(hurry.wait())}
    await asyncio.wait(waits, timeout=_DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
    for waiting in waits:
        waiting.cancel()
    await service.stop_work()


def _granian(app: Any, host: str, port: int) -> Any:
    from granian.constants import Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    return Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
    )


async def _until_listening(host: str, port: int, serving: "asyncio.Future[Any]") -> None:
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    for _ in range(200):
        if serving.done():
            serving.result()
            raise AddressInUse(f"The server on {host}:{port} ended as it started. Is the port taken?")
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(target, port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise AddressInUse(f"The server did not come up on {host}:{port} within 4 s.")
