"""The interface to a database: it runs declared work over a plain `Connection` in one transaction.

Functions in `persistence` are written once, for SQLAlchemy's synchronous `Connection`. Each database runs them in its
cheapest way (decision 0004): PostgreSQL over asyncpg without threads, SQLite inline in the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

import orjson

from domain.errors import BudkavleError, StorageFailed
from persistence.work import Mark, Read, Write

P = ParamSpec("P")
T = TypeVar("T")


SIGNER_OPTION = "audit_signer"
"""The execution option of all connections of a database that has the signer of audit entries, or None."""


class DatabaseUnusable(BudkavleError):
    """The database cannot be used: its address is wrong or its tables are not those of this version."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The state of a database, for operators.

    `revision` is the version of its tables, None without tables. `unsafe_settings` may lose committed data in a crash.
    `free_bytes` is the free space for a SQLite file. `connections` are how many clients the server accepts.
    """

    product: str
    place: str
    pooler: str | None
    revision: str | None
    unsafe_settings: Mapping[str, str]
    encoding: str | None = None
    write_obstacle: str | None = None
    free_bytes: int | None = None
    connections: int | None = None


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
    """Runs declared work (see `persistence.work`) in transactions, in its cheapest way."""

    locks: NamedLocks

    async def read(self, work: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work`."""

    async def write(self, work: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work` once its changes are durable. If `work` raises, no change is made."""

    async def mark(self, work: Mark[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work` once its changes are visible to others."""

    def hold_worker_lock(self, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Hold the lock for workers where only one may run per database. If another worker has it, call `on_wait`."""

    def notify_workers(self, *, is_certain: bool = True) -> None:
        """Wake the workers of other processes soon, after a commit that made deliveries due.

        Without `is_certain`, the commit stored a web message, which raises an event only if the operator has mapped
        web messages to a type. This is best effort: workers also poll.
        """

    async def wake_workers(self) -> None:
        """Wake the workers of other processes as `notify_workers` does, and return when that is done."""

    def watch_deliveries(self, wake: Callable[[], None]) -> AbstractAsyncContextManager[Callable[[], bool]]:
        """Call `wake` soon after another process has made deliveries due.

        Yield a function that returns whether this works now. Even then a commit may be missed.
        """

    def check_exists(self) -> None:
        """Raise `DatabaseUnusable` if the database does not exist and using it would create it."""

    async def migrate(self) -> None:
        """Run missing migrations. Several processes may call this concurrently."""

    async def downgrade(self, revision: str) -> None:
        """Undo the migrations after a revision, with the data that only later versions store.

        Raises `DatabaseUnusable` if there is no such revision, or if the database is not at a later one.
        """

    async def check_health(self) -> None:
        """Raise `StorageFailed` unless the database responds and accepts writes. Uses no pooled connection."""

    async def read_clock(self) -> datetime | None:
        """Return the time of the database's clock, or None if it uses the clock of this machine.

        Uses no pooled connection. Raises `StorageFailed`.
        """

    async def check_version(self) -> None:
        """Raise `DatabaseUnusable` unless the tables are those of this version."""

    async def read_facts(self) -> DatabaseFacts:
        """Return the state of the database, for operators. Raises `StorageFailed`."""

    async def free_deleted_bytes(self) -> bool:
        """Remove all copies of deleted data from the files. Return False if that was not possible now.

        Writers wait meanwhile.
        """

    async def close(self) -> None:
        """Close all connections."""


def to_json(value: object) -> str:
    """Return a value as stored JSON: compact, and without escapes for non-ASCII characters."""
    return orjson.dumps(value).decode()
