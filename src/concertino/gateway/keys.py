"""Who is asking: `Authorization: Bearer ck_...` -> Principal.

Keys come from the configuration (by hash) and from the state database. The database is read at most twice a second,
not with every request, so a revoked key is refused within that time on every worker.
"""

import asyncio
import hmac
import ipaddress
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from concertino.config import Settings
from concertino.errors import Unauthenticated
from concertino.storage.database import StoreOf
from concertino.storage.keys import PREFIX, KeyStore, hash_secret
from concertino.types import Principal

_PATIENCE_S = 5.0
"""For a database that does not answer."""


class Requirement(StrEnum):
    REQUIRED = "required"
    """The endpoint can be reached from other machines: every request needs a key."""
    OPTIONAL = "optional"
    """Loopback: a request without a key is the local user's. A wrong key is refused all the same.

    What does not look like a key of ours counts as none: OpenAI clients always send something, such as `local`.
    """


class Authenticator:
    """Checks keys, with a small read of the database every `refresh_s` seconds.

    `check` does not hold up the event loop while it reads. Not for several threads. The keys of a database that cannot
    be read are refused: a key that was revoked meanwhile must not pass.
    """

    def __init__(
        self, settings: Settings, *, refresh_s: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        open_here = is_loopback(settings.gateway.host) and not settings.gateway.require_key
        self.requirement = Requirement.OPTIONAL if open_here else Requirement.REQUIRED
        self._configured = {key.sha256: (key.sha256, Principal(key.id, key.tenant)) for key in settings.keys}
        self._stored: dict[str, tuple[str, Principal]] = {}
        self._revoked: frozenset[str] = frozenset()
        self._refresh_s = refresh_s
        self._clock = clock
        self._read_at: float | None = None
        self._store = StoreOf(settings.state_url, KeyStore)
        self._unreadable = ""
        self._reading: asyncio.Future[None] | None = None
        self._late = False
        """What is being read was waited for as long as anything is."""

    async def check(self, authorization_header: str | None) -> Principal:
        """Who sent the header; others are served meanwhile. Raises Unauthenticated, with what to do and without the
        header's value.

        A database that does not answer is one that cannot be read; whoever comes after that was found out does not wait
        for it again.
        """
        if authorization_header and self._is_due():
            if self._reading is None or self._reading.done():
                self._read_at, self._late = self._clock(), False
                self._reading = self._read_aside()
            if not self._late:
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        await asyncio.shield(self._reading)
                except TimeoutError:
                    self._stored, self._unreadable, self._late = {}, "it does not answer", True
        return self._judge(authorization_header)

    def _read_aside(self) -> asyncio.Future[None]:
        """Read in a thread that a process may end with: one of a pool would keep it until the database answers."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def tell() -> None:
            if not over.done():
                over.set_result(None)

        def read() -> None:
            self._read()
            with suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(tell)

        threading.Thread(target=read, name="concertino-keys", daemon=True).start()
        return over

    def _judge(self, authorization_header: str | None) -> Principal:
        if authorization_header is None or not authorization_header.strip():
            if self.requirement is Requirement.OPTIONAL:
                return Principal()
            raise Unauthenticated(
                "This endpoint needs an API key: send `Authorization: Bearer ck_...`. "
                "`concertino keys create` makes one."
            )
        scheme, _, secret = authorization_header.strip().partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthenticated("The Authorization header must read `Bearer ck_...`. Correct its form.")
        presented = hash_secret(secret.strip())
        # Looked up by hash: what the timing of a lookup could tell is of the hash, which leads to no key.
        found = self._stored.get(presented) or self._configured.get(presented)
        if found and presented not in self._revoked and hmac.compare_digest(found[0], presented):
            return found[1]
        if presented in self._revoked:
            raise Unauthenticated("This API key was revoked. Ask the operator for another (`concertino keys create`).")
        placeholder = secret.strip().isascii() and not secret.strip().startswith(PREFIX)
        if placeholder and self.requirement is Requirement.OPTIONAL:
            return Principal()
        if self._unreadable:
            raise Unauthenticated(
                f"This API key cannot be checked because the key database cannot be read ({self._unreadable}). "
                "Ask again later, and tell the operator."
            )
        raise Unauthenticated("This API key is not known here. Check it, or make one with `concertino keys create`.")

    def load(self) -> None:
        """Read the database if it is time to. Call it once at start: the first read imports SQLAlchemy."""
        if self._is_due():
            self._read_at = self._clock()
            self._read()

    def _is_due(self) -> bool:
        return self._read_at is None or self._clock() - self._read_at >= self._refresh_s

    def _read(self) -> None:
        try:
            keys = self._store.open().list() if self._store.exists() else []
        except Exception as error:
            # SQLAlchemy's errors are a family of their own, and it is not imported before a database is there.
            self._unreadable, self._stored = type(error).__name__, {}
            self._store.forget()
            return
        self._revoked = frozenset(key.sha256 for key in keys if key.revoked is not None)
        self._stored = {key.sha256: (key.sha256, Principal(key.id, key.tenant)) for key in keys if key.revoked is None}
        self._unreadable = ""


def is_loopback(host: str) -> bool:
    """Can only this machine reach an address? Names other than localhost count as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
