"""The door to a database: how a function over a plain `Connection` becomes one transaction.

Persistence functions are written once, over SQLAlchemy's synchronous `Connection`. A database runs them in the way
that is cheapest for it (decision 0004): PostgreSQL over asyncpg without threads, SQLite inline.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

import sqlalchemy as sa

from domain.errors import BudkavleError, StorageFailed, StorageRejected
from persistence.waits import Waits

P = ParamSpec("P")
T = TypeVar("T")

Work = Callable[Concatenate[sa.Connection, P], T]


class DatabaseUnusable(BudkavleError):
    """The database cannot be used: its address is wrong or its tables are not those of this version."""


class Turns:
    """Queues of callers that want the same lock of the database: all but the first wait here, without a connection."""

    def __init__(self, timeout: float | None = None) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._timeout = timeout

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Wait until no other caller of this process has this turn, first come first served.

        Raises `StorageFailed` after the timeout: those in front may wait for a database that is silent.
        """
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout):
                await lock.acquire()
        except TimeoutError as exc:
            raise StorageFailed(f"turn {name}", f"others used the lock of {name} for {self._timeout} seconds") from exc
        try:
            yield
        finally:
            lock.release()


class Database(Protocol):
    """Runs work in transactions.

    `large` says that the work moves much data, `long` that it computes for long: others must not wait for either.
    """

    turns: Turns
    is_inline: bool
    """Whether short work runs within the event loop, so that work that takes long must be declared as large."""

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns; each of its statements sees what is committed when it begins."""

    async def read_large(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, for much data."""

    async def read_aside(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, but beside all that waits for a connection: for questions about the database itself."""

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, once all that it did is durable; if it raises, it did nothing."""

    async def mark(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for marks that end by themselves: each statement may stand alone, and a crash may undo it."""

    async def write_together(self, work: Callable[[sa.Connection, list[Any]], None], item: Any) -> None:
        """Returns once `work` has written the item durably, together with others that wait for the same work.

        `work` is given all of them, and is to write them with as few statements as one. If it raises, it is called
        again for each alone, and its error reaches the caller whose item it is.
        """

    async def write_large(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for much data."""

    async def read_long(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, but beside the event loop; all its statements see the same state."""

    async def write_long(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, but beside the event loop."""

    def worker_turn(self, waits: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Within it no other worker is at this database, where there may be only one; `waits` is told of a wait."""

    def check_exists(self) -> None:
        """Raise `DatabaseUnusable` where using the database would create it."""

    async def migrate(self) -> None:
        """Brings the tables to this version. Safe when several processes do it at once."""

    async def check_health(self) -> None:
        """Raise `StorageFailed` unless the database answers and takes writes. Waits for no connection of others."""

    async def read_clock(self) -> datetime | None:
        """Return the time by the clock of the database; None where that is the clock of this machine.

        Waits for no connection of others. Raises `StorageFailed`.
        """

    async def check_version(self) -> None:
        """Raises `DatabaseUnusable` unless the tables are those of this version."""

    async def close(self) -> None:
        """Ends all connections."""


def open_database(url: str, waits: Waits | None = None) -> Database:
    """Return the database at `sqlite:///path` or `postgresql://…`; connects when first used.

    `waits` are the limits of waits on PostgreSQL. Raises `DatabaseUnusable` for any other address.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in {"postgresql", "postgres"}:
        from persistence.postgresql import PostgresqlDatabase

        return PostgresqlDatabase(url, waits)
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise DatabaseUnusable("BUDKAVLE_DATABASE_URL is not a database URL") from exc
    if parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        from persistence.sqlite import SqliteDatabase

        return SqliteDatabase(str(parsed.database))
    raise DatabaseUnusable("BUDKAVLE_DATABASE_URL must begin with sqlite:///PATH or postgresql://")


def to_json(value: object) -> str:
    """JSON as it is stored: compact, and readable in any language."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raises `StorageFailed` for a database that is out of reach, busy for too long, full, broken or of other tables.

    What a driver says may hold what callers sent, so only the kind of its error and its code go on.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        # What breaks a constraint is for the function that wrote it to understand.
        raise
    except (sa.exc.ProgrammingError, sa.exc.DataError) as exc:
        raise StorageRejected(_kind(exc)) from exc
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as exc:
        # SQLITE_ERROR without more is a statement that SQLite does not accept.
        is_rejected = getattr(getattr(exc, "orig", None), "sqlite_errorname", None) == "SQLITE_ERROR"
        raise (StorageRejected if is_rejected else StorageFailed)(_kind(exc), _explain(exc)) from exc
    except OSError as exc:
        raise StorageFailed(type(exc).__name__, f"the database file cannot be used: {exc.strerror}") from exc


_EXPLANATIONS = {
    "SQLITE_BUSY": "another process writes to the database file, and did not end in time",
    "SQLITE_CANTOPEN": "the database file cannot be opened: correct BUDKAVLE_DATABASE_URL, or the rights of its folder",
    "SQLITE_CORRUPT": "the database file is damaged: restore it from a backup",
    "SQLITE_FULL": "the disk of the database file is full",
    "SQLITE_IOERR": "the disk of the database file fails: see the log of the operating system",
    "SQLITE_NOTADB": "the file is not a SQLite database: correct BUDKAVLE_DATABASE_URL, or restore it from a backup",
    "SQLITE_READONLY": "the database file or its folder is read-only for this user",
}


def _explain(exc: sa.exc.SQLAlchemyError) -> str:
    """Return the cause of an error of SQLite and its remedy, "" if it has none."""
    name = getattr(getattr(exc, "orig", None), "sqlite_errorname", None) or ""
    # Extended codes have a third part: SQLITE_READONLY_DIRECTORY.
    explanation = _EXPLANATIONS.get("_".join(name.split("_")[:2]))
    return f"{explanation} ({name})" if explanation else ""


def _kind(exc: sa.exc.SQLAlchemyError) -> str:
    original = getattr(exc, "orig", None) or exc
    driver_error = original.__cause__ or original
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(driver_error).__name__} {code or ''}".rstrip()
