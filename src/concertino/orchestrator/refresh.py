"""A running team follows the registry: what is promoted or rolled back serves within seconds, without a restart."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from concertino.config import Settings
from concertino.errors import ConcertinoError
from concertino.orchestrator.service import Service
from concertino.registry import Overlay, Registry, lay_over
from concertino.registry.overlay import PROMOTED
from concertino.specialists.pool import Pool

INTERVAL_S = 1.0
_AGAIN_S = 30.0
"""A state of the registry that could not be served is tried again after so long: a base may have been pulled."""

log = logging.getLogger("concertino.registry")


class Refresher:
    """Looks at the registry each second, and swaps the team's pool when other versions are to serve.

    `settings` are those of the configuration, without the registry's; `build` makes a pool that keeps the backends of
    the one before where nothing changed for them.
    """

    def __init__(self, settings: Settings, build: Callable[[Settings, Pool | None], Pool]) -> None:
        self._settings = settings
        self._build = build
        self._registry = Registry(settings.home_path)
        self._leases = ExitStack()
        self._seen: object = None
        self._known: tuple[str, ...] = ()
        """Problems that the team serves in spite of."""
        self._refused: object = None
        self._tried_at = 0.0

    def first(self) -> Settings:
        """The settings to start with. What is damaged is logged, and not served."""
        self._seen = self._stamp()
        found = lay_over(self._settings)
        self._known = tuple(problem.message for problem in found.problems)
        for problem in self._known:
            log.warning("%s", problem)
        self._leases = self._lease(found)
        return found.settings

    async def watch(self, service: Service) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            stamp = self._stamp()
            if stamp == self._seen:
                continue
            if stamp == self._refused and time.monotonic() - self._tried_at < _AGAIN_S:
                continue
            self._tried_at = time.monotonic()
            try:
                await self._refresh(service)
            except ConcertinoError as error:
                self._refused = stamp
                log.error("The registry has changed, and what it asks for cannot serve: %s", error.message)
                continue
            except Exception:
                # A full disk, a fault of ours: if it ended the watch, nothing promoted later would ever serve.
                self._refused = stamp
                log.exception("The registry has changed, and what it asks for could not be made to serve.")
                continue
            self._seen = stamp

    async def _refresh(self, service: Service) -> None:
        """Serve what the registry says now. Raises RegistryCorrupt, ModelError, BackendError: then nothing changes."""
        found = await asyncio.to_thread(lay_over, self._settings)
        for problem in found.problems:
            if problem.message not in self._known:
                raise problem
        leases = self._lease(found)
        try:
            if found.settings != service.settings:
                running = service.pool
                pool = await asyncio.to_thread(self._build, found.settings, running)
                await pool.start(running)
                _tell(service.settings, found)
                service.swap(found.settings, pool)
        except BaseException:
            leases.close()
            raise
        self._leases.close()
        self._leases = leases
        self._known = tuple(problem.message for problem in found.problems)

    def _lease(self, found: Overlay) -> ExitStack:
        """Hold the promoted versions that serve, so that nobody deletes them."""
        with ExitStack() as held:
            for served in found.served:
                if served.origin == PROMOTED:
                    held.enter_context(self._registry.lease(served.skill, served.version.version))
            return held.pop_all()

    def _stamp(self) -> object:
        try:
            about = self._registry.current_path.stat()
        except OSError:
            return ()
        return about.st_ino, about.st_mtime_ns, about.st_size

    def close(self) -> None:
        """Let the versions go."""
        self._leases.close()


def _tell(before: Settings, found: Overlay) -> None:
    served = found.by_skill()
    for card in found.settings.specialists:
        old = before.card(card.name)
        for skill in card.skills:
            if old is not None and old.skill(skill.name) != skill:
                name = f"{card.name}/{skill.name}"
                what = f"version {served[name].label}" if name in served else "its prompted card"
                log.info("%s is now served by %s.", name, what)
        for gone in {skill.name for skill in old.skills} - {skill.name for skill in card.skills} if old else ():
            log.info("%s/%s is no longer served.", card.name, gone)
