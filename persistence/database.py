"""The interface to a database: it runs a function over a plain `Connection` in one transaction.

Functions in `persistence` are written once, for SQLAlchemy's synchronous `Connection`. Each database runs them in its
cheapest way (decision 0004): PostgreSQL over asyncpg without threads, SQLite inline in the event loop.
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


class NamedLocks:
    """FIFO locks within the process, so that callers that need the same database lock wait without a connection."""

    def __init__(self, timeout: float | None = None) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._timeout = timeout

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold the lock `name`. Callers are served in order of arrival.

        Raises `StorageFailed` after the timeout, because callers in front may wait for a database that does not
        respond.
        """
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout):
                await lock.acquire()
        except TimeoutError as exc:
            raise StorageFailed(
                f"lock {name}", f"the lock of {name} was not released within {self._timeout} seconds"
            ) from exc
        try:
            yield
        finally:
            lock.release()


class Database(Protocol):
    """Runs work in transactions.

    Use the `large` methods for work that transfers much data and the `long` methods for work that computes for a long
    time, so that other callers do not wait for either.
    """

    locks: NamedLocks
    is_inline: bool
    """Whether short work runs in the event loop. If so, slow work must use the `large` methods."""

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work`. Each of its statements sees the data committed before it begins."""

    async def read_large(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `read` for much data."""

    async def read_aside(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `read` without waiting for a pooled connection, for queries about the database itself."""

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work` once its changes are durable. If `work` raises, no change is made."""

    async def mark(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `write` for marks that expire: statements may commit one by one, and a crash may undo them."""

    async def write_together(self, work: Callable[[sa.Connection, list[Any]], None], item: Any) -> None:
        """Run `work` in one batch with other waiting items for the same work; return once the item is durable.

        `work` receives all items of the batch and must write them with as few statements as for one item. If it raises,
        it is called again for each item alone, and an error reaches only the caller of its item.
        """

    async def write_large(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `write` for much data."""

    async def read_long(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `read` outside the event loop. All statements see the same snapshot."""

    async def write_long(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `write` outside the event loop."""

    def hold_worker_lock(self, waits: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Hold the lock for workers where only one may run per database. Call `waits` if another worker holds it."""

    def check_exists(self) -> None:
        """Raise `DatabaseUnusable` if the database does not exist and using it would create it."""

    async def migrate(self) -> None:
        """Run missing migrations. Several processes may call this concurrently."""

    async def check_health(self) -> None:
        """Raise `StorageFailed` unless the database responds and accepts writes. Uses no pooled connection."""

    async def read_clock(self) -> datetime | None:
        """Return the time of the database's clock, or None if it uses the clock of this machine.

        Uses no pooled connection. Raises `StorageFailed`.
        """

    async def check_version(self) -> None:
        """Raise `DatabaseUnusable` unless the tables are those of this version."""

    async def close(self) -> None:
        """Close all connections."""


def open_database(url: str, waits: Waits | None = None) -> Database:
    """Return the database at `sqlite:///path` or `postgresql://…`. It connects when it is first used.

    `waits` are the timeouts for PostgreSQL. Raises `DatabaseUnusable` for any other URL.
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
    """Return a value as stored JSON: compact, and without escapes for non-ASCII characters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise `StorageFailed` for a database that is unreachable, busy for too long, full, damaged or of another version.

    Driver messages may contain data of callers, so the error has only the class of the driver's error and its code.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        # The function that wrote the row knows the meaning of its constraints.
        raise
    except (sa.exc.ProgrammingError, sa.exc.DataError) as exc:
        raise StorageRejected(_kind(exc)) from exc
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as exc:
        # SQLite reports rejected statements as SQLITE_ERROR without an extended code.
        is_rejected = getattr(getattr(exc, "orig", None), "sqlite_errorname", None) == "SQLITE_ERROR"
        raise (StorageRejected if is_rejected else StorageFailed)(_kind(exc), _explain(exc)) from exc
    except OSError as exc:
        raise StorageFailed(type(exc).__name__, f"the database file cannot be used: {exc.strerror}") from exc


_EXPLANATIONS = {
    "SQLITE_BUSY": "another process held the write lock of the database file for too long",
    "SQLITE_CANTOPEN": "the database file cannot be opened: correct BUDKAVLE_DATABASE_URL, or the rights of its folder",
    "SQLITE_CORRUPT": "the database file is damaged: restore it from a backup",
    "SQLITE_FULL": "the disk of the database file is full",
    "SQLITE_IOERR": "the disk of the database file fails: see the log of the operating system",
    "SQLITE_NOTADB": "the file is not a SQLite database: correct BUDKAVLE_DATABASE_URL, or restore it from a backup",
    "SQLITE_READONLY": "the database file or its folder is read-only for this user",
}


def _explain(exc: sa.exc.SQLAlchemyError) -> str:
    """Return the cause of a SQLite error and its remedy, or "" if unknown."""
    name = getattr(getattr(exc, "orig", None), "sqlite_errorname", None) or ""
    # Extended codes have a third part: SQLITE_READONLY_DIRECTORY.
    explanation = _EXPLANATIONS.get("_".join(name.split("_")[:2]))
    return f"{explanation} ({name})" if explanation else ""


def _kind(exc: sa.exc.SQLAlchemyError) -> str:
    original = getattr(exc, "orig", None) or exc
    driver_error = original.__cause__ or original
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(driver_error).__name__} {code or ''}".rstrip()
