"""Opening the state database, with its tables brought up to date.

SQLAlchemy and alembic are imported by the functions that need them: most commands need neither, and the pair takes
about half a second to import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from concertino.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

T = TypeVar("T")

HEAD = "0003"
"""The newest migration. Compared with the version table, so that alembic is loaded only when there is work."""

_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """An engine on a database at the newest version; a missing SQLite file is made (0600).

    Raises ConfigurationError when the URL is wrong, the database cannot be reached, or it is newer than this program.
    """
    import sqlalchemy
    from sqlalchemy import event

    try:
        parsed = sqlalchemy.make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            _prepare_file(Path(str(parsed.database)))
        engine = sqlalchemy.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
        if parsed.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _pragmas)
        if _version(engine) != HEAD:
            with _migration_lock(parsed.get_backend_name(), str(parsed.database or "")):
                _migrate(engine)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError) as error:
        # The URL may hold a password; SQLAlchemy's own rendering hides it.
        raise ConfigurationError(
            f"The state database {_shown(url)} cannot be opened: {_cause(error)}. Check database_url and that it is "
            "reachable and writable.",
            param="database_url",
        ) from error
    return engine


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL, None for any other; needs no SQLAlchemy."""
    scheme, _, rest = url.partition("://")
    if scheme.split("+")[0] != "sqlite" or len(rest) < 2:
        return None
    return Path(rest[1:].split("?")[0])


class StoreOf(Generic[T]):
    """A store in the state database at `url`, opened when it is first asked for. For one thread."""

    def __init__(self, url: str, make: Callable[[Engine], T]) -> None:
        self._url = url
        self._make = make
        self._store: T | None = None
        self._inode = -1

    def exists(self) -> bool:
        """False while nothing was ever stored: then there is nothing to open, and SQLAlchemy stays unimported."""
        path = sqlite_path(self._url)
        return path is None or path.exists()

    def open(self) -> T:
        """The store. Raises what `open_database` raises, OSError."""
        path = sqlite_path(self._url)
        inode = path.stat().st_ino if path else 0
        if self._store is None or inode != self._inode:  # a restored copy is another file
            self._store, self._inode = self._make(open_database(self._url)), inode
        return self._store

    def forget(self) -> None:
        """Open it anew the next time: this one failed."""
        self._store = None


def _prepare_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)


def _pragmas(connection: object, _record: object) -> None:
    """Readers beside a writer, a commit that outlives a power cut, patience with other processes."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=2000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]


def _version(engine: Engine) -> str | None:
    """What the version table says, None where there is none yet."""
    import sqlalchemy

    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


@contextlib.contextmanager
def _migration_lock(backend: str, database: str) -> Iterator[None]:
    """One migration at a time among the processes that share a SQLite file; other databases have their own locks."""
    if backend != "sqlite" or database in ("", ":memory:"):
        yield
        return
    from filelock import FileLock

    with FileLock(f"{database}.migrate.lock", timeout=60):
        yield


def _migrate(engine: Engine) -> None:
    from alembic.script.revision import ResolutionError
    from alembic.util.exc import CommandError

    with engine.begin() as connection:
        try:
            _upgrade(connection)
        except (CommandError, ResolutionError) as error:
            raise ConfigurationError(
                f"The state database was made by a newer Concertino ({error}). Install that version or use another "
                "database_url.",
                param="database_url",
            ) from error


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _shown(url: str) -> str:
    import sqlalchemy

    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "(not a URL)"


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
