"""PostgreSQL over asyncpg: any number of processes, and no threads but one for work that computes for long."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from persistence import schema
from persistence.database import DatabaseUnusable, Turns, Work, storage_errors, to_json
from persistence.gathering import Gathering, WorkTogether
from persistence.loop_thread import LoopThread

P = ParamSpec("P")
T = TypeVar("T")

POOL_SIZE = 20
"""Connections of one process, beside one for its health. More requests than these wait for one; none holds two."""

MARKS_POOL_SIZE = 2
"""Connections of one process for marks."""

LONG_POOL_SIZE = 10
"""Connections of one process for work that computes for long. Whoever wants one more waits, however long it takes."""

_MIGRATION_LOCK = 0x6275646B61766C65
"""Names our advisory lock: the letters of the product."""


_OPTIONS = {"host": "host", "port": "port", "ssl": "ssl", "sslmode": "ssl"}
"""What may follow the `?` of an address, and how the driver calls it."""


class PostgresqlDatabase:
    """A PostgreSQL database."""

    def __init__(self, url: sa.URL) -> None:
        self.turns = Turns()
        # Errors reach the log, and parameters hold what callers sent.
        options = {"max_overflow": 0, "json_serializer": to_json, "hide_parameters": True}
        self._engine = create_async_engine(_for_asyncpg(url), pool_size=POOL_SIZE, **options)
        self._aside = create_async_engine(_for_asyncpg(url), pool_size=1, isolation_level="AUTOCOMMIT", **options)
        # What a crash of the database undoes there comes to its end anyway: nobody waits for the disk.
        self._marks = create_async_engine(
            _for_asyncpg(url),
            pool_size=MARKS_POOL_SIZE,
            isolation_level="AUTOCOMMIT",
            connect_args={"server_settings": {"synchronous_commit": "off"}},
            **options,
        )
        self._long = create_async_engine(_for_asyncpg(url), pool_size=LONG_POOL_SIZE, pool_timeout=None, **options)
        self._long_state = self._long.execution_options(isolation_level="REPEATABLE READ")
        self._thread = LoopThread("postgresql-long")
        # Single statements need no BEGIN and COMMIT around them: two round trips less.
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        # What is written together is one statement.
        self._gathering = Gathering(self.read)

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Connecting, working and giving back in one switch to SQLAlchemy's side instead of three.
        def at_once() -> T:
            with self._autocommit.sync_engine.connect() as connection:
                return work(connection, *args, **kwargs)

        with storage_errors():
            return await greenlet_spawn(at_once)

    async def read_aside(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with storage_errors():
            async with self._aside.connect() as connection:
                return await connection.run_sync(work, *args, **kwargs)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with storage_errors():
            async with self._engine.begin() as connection:
                return await connection.run_sync(work, *args, **kwargs)

    async def mark(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with storage_errors():
            async with self._marks.connect() as connection:
                return await connection.run_sync(work, *args, **kwargs)

    async def write_together(self, work: WorkTogether, item: Any) -> None:
        await self._gathering.add(work, item)

    # asyncpg reads and writes as the socket allows, so much data stops nobody.
    read_large = read
    write_large = write

    async def read_long(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._in_thread(self._long_state, work, *args, **kwargs)

    async def write_long(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._in_thread(self._long, work, *args, **kwargs)

    def worker_turn(self, waits: Callable[[], None]) -> AbstractAsyncContextManager[None]:  # noqa: ARG002  # Any number may work at once.
        return nullcontext()

    async def migrate(self) -> None:
        with storage_errors():
            async with self._engine.begin() as connection:
                # Held until the transaction ends, so a second process waits and then finds nothing to do.
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                await connection.run_sync(schema.upgrade)

    async def check_version(self) -> None:
        await self.read(schema.check)

    async def close(self) -> None:
        await self._engine.dispose()
        await self._aside.dispose()
        await self._marks.dispose()
        await self._thread.end(self._long.dispose)

    async def _in_thread(self, engine: AsyncEngine, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async def transact() -> T:
            async with engine.begin() as connection:
                return await connection.run_sync(work, *args, **kwargs)

        with storage_errors():
            return await self._thread.run(transact)


def _for_asyncpg(url: sa.URL) -> sa.URL:
    unknown = sorted(set(url.query) - set(_OPTIONS))
    if unknown:
        raise DatabaseUnusable(f"BUDKAVLE_DATABASE_URL has options that are not known: {', '.join(unknown)}")
    query = {_OPTIONS[name]: value for name, value in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=query)
