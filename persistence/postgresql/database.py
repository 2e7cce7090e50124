"""PostgreSQL over asyncpg, for any number of processes. Only long computations use a thread."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar, assert_never

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from domain.audit_signatures import EntrySigner
from domain.errors import StorageBlocked, StorageFailed
from persistence import schema
from persistence.batches import Batcher
from persistence.database import SIGNER_OPTION, DatabaseFacts, DatabaseUnusable, NamedLocks
from persistence.loop_thread import LoopThread
from persistence.notifier import Notifier, web_messages_raise_events
from persistence.postgresql.connections import Connector, PoolerFound, SessionSettings
from persistence.postgresql.errors import (
    CONFLICTS,
    DRIVER_ERRORS,
    READ_ONLY,
    find_driver_error,
    find_sqlstate,
    postgresql_errors,
)
from persistence.postgresql.notifications import Listener, notify
from persistence.postgresql.pool import open_pool
from persistence.postgresql.url import parse_url
from persistence.waits import Waits
from persistence.work import Cost, Mark, Read, WorkFunction, Write, short_read

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("budkavle.database")

MARKS_POOL_SIZE = 2
"""Connections for marks, per process."""

BATCH_SECONDS = 0.05
"""Seconds after which the next batch begins although the previous one has not ended."""

ENOUGH = 8
"""The fewest writes for which a batch begins at once: half of 16 callers. A smaller batch takes too long for each."""

MAX_ATTEMPTS = 6
"""Maximum attempts for work that failed without any effect."""

CONFLICT_SECONDS = 0.01
"""Shortest delay (seconds) before a retry after a deadlock or a serialization failure. It doubles."""

_MIGRATION_LOCK = 0x6275646B61766C65
"""The key of our advisory lock: the letters of the product's name."""

MIGRATION_SECONDS = 3600
"""Timeout of one statement of a migration."""

MIGRATION_LOCK_SECONDS = 2.0
"""Maximum wait of a migration for a lock of a table. Meanwhile all other work on the table queues behind it."""

MIGRATION_RETRY_SECONDS = (1.0, 15.0)
"""The first and the longest delay after a migration that waited in vain, in which the work behind it is done."""

BLOCKED_SECONDS = 600.0
"""Time for which a migration is retried while other transactions hold its locks."""

_NOT_FOR_QUEUE = ("enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit")
_QUEUE_PLANNER = {**dict.fromkeys(_NOT_FOR_QUEUE, "off"), "random_page_cost": "0.1"}
"""Settings of the planner for the queue, so that each statement looks rows up by ordered scans of an index.

The planner estimates neither that the table grows after a plan was cached, nor the entries of deliveries that have left
the queue since the last vacuum: a bitmap scan reads all of them each time, and an ordered scan skips those that an
earlier one has met.
"""

_SAFE_IF_ON = ("fsync", "full_page_writes")
_FACT_NAMES = (
    *_SAFE_IF_ON,
    "server_version",
    "server_encoding",
    "transaction_read_only",
    "max_connections",
    "superuser_reserved_connections",
)
_FACTS = sa.text("select " + ", ".join(f"current_setting('{name}') as {name}" for name in _FACT_NAMES))
_ENCODING = sa.text("select current_setting('server_encoding')")
_CLOCK = sa.text("select clock_timestamp()")
_IS_READ_ONLY = sa.text("select current_setting('transaction_read_only') = 'on'")


@dataclass(slots=True)
class _Progress:
    """The progress of an attempt, from which the caller decides whether a retry is safe."""

    is_connected: bool = False
    may_have_effect: bool = False
    """Whether the work may have had an effect if the connection is lost now."""
    statements: int = 0
    """The number of statements that were committed by themselves."""

    def begin(self) -> None:
        """Reset for another attempt."""
        self.is_connected = self.may_have_effect = False
        self.statements = 0


@dataclass(frozen=True, slots=True)
class _RunMode:
    """An engine with the limits of its work, and whether each statement commits by itself."""

    engine: sa.Engine
    limits: SessionSettings
    is_autocommit: bool = False


class _RunModes:
    """All engines of a database with their connection pools, configured for the servers that the connector found."""

    def __init__(self, connector: Connector, signer: EntrySigner | None) -> None:
        waits = connector.waits
        short, long = (
            SessionSettings(waits, waits.statement_timeout),
            SessionSettings(waits, waits.long_statement_timeout),
        )
        health = SessionSettings(waits, waits.health_timeout)
        # A crash may undo marks because they expire anyway, so their commits need not wait for the disk.
        marks = SessionSettings(waits, waits.statement_timeout, is_durable=False, planner=_QUEUE_PLANNER)
        engine = open_pool(connector, short, waits.pool_size)
        # Health checks must be fast, so their reserved connection does not wait for a server that restarts.
        reserved_pool = open_pool(connector, health, 1, timeout=waits.health_timeout, retry_seconds=0)
        marks_pool = open_pool(connector, marks, MARKS_POOL_SIZE)
        long_pool = open_pool(connector, long, waits.long_pool_size)
        self.engines = [engine, reserved_pool, marks_pool]
        self.long_engines = [long_pool]
        for each in (engine, long_pool):
            # The engines that are derived below inherit it.
            each.sync_engine.update_execution_options(**{SIGNER_OPTION: signer})

        def create_run_mode(engine: AsyncEngine, limits: SessionSettings) -> _RunMode:
            if connector.server.has_transaction_pooler:
                # Outside a transaction, the pooler may send the next statement to a session without our settings.
                return _RunMode(engine.sync_engine, limits)
            # Single statements need neither BEGIN nor COMMIT, which saves two round trips.
            autocommit = engine.sync_engine.execution_options(isolation_level="AUTOCOMMIT")
            return _RunMode(autocommit, limits, is_autocommit=True)

        self.single = create_run_mode(engine, short)
        self.single_reserved = create_run_mode(reserved_pool, health)
        self.single_marks = create_run_mode(marks_pool, marks)
        self.transaction = _RunMode(engine.sync_engine, short)
        queue_limits, large_queue_limits = (
            SessionSettings(waits, timeout, planner=_QUEUE_PLANNER)
            for timeout in (waits.statement_timeout, waits.long_statement_timeout)
        )
        self.queue_transaction = _RunMode(engine.sync_engine, queue_limits)
        self.large_queue_transaction = _RunMode(engine.sync_engine, large_queue_limits)
        self.large = _RunMode(engine.sync_engine, long)
        self.migration = _RunMode(engine.sync_engine, SessionSettings(waits, MIGRATION_SECONDS))
        self.long_write = _RunMode(long_pool.sync_engine, long)
        snapshot_engine = long_pool.sync_engine.execution_options(isolation_level="REPEATABLE READ")
        self.long_read = _RunMode(snapshot_engine, long)
        sa.event.listen(self.single_marks.engine, "after_cursor_execute", _count_statement)


class PostgresqlDatabase:
    """A PostgreSQL database."""

    def __init__(self, url: str, waits: Waits | None = None, signer: EntrySigner | None = None) -> None:
        waits = waits or Waits()
        self.locks = NamedLocks(waits.long_statement_timeout)
        self._connector = Connector(parse_url(url), waits)
        self._signer = signer
        self._modes = _RunModes(self._connector, signer)
        self._former_modes: list[_RunModes] = []
        self._modes_lock = threading.Lock()
        self._thread = LoopThread("postgresql-long")
        # The batchers of writes and reads execute one statement for all items of a batch.
        self._write_batcher = Batcher(self._write_statement, patience=BATCH_SECONDS, enough=ENOUGH)
        # One batch at a time: its lock, for which others would wait, should take no further connections.
        self._transaction_batcher = Batcher(self._write_transaction, enough=ENOUGH)
        self._read_batcher = Batcher(self._read_statement, patience=BATCH_SECONDS)
        self._notifier = Notifier(lambda: self.mark(notify), lambda: self.read(web_messages_raise_events))

    async def read(self, work: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if work.batch is not None:
            return await self._read_batcher.add(work.batch, *args, **kwargs)  # type: ignore[no-any-return]  # A batch has results of any type.
        if work.is_of_queue:
            return await self._run(lambda modes: modes.single_marks, True, work.function, *args, **kwargs)
        match work.find_cost(*args, **kwargs):
            case Cost.SHORT | Cost.BULK | Cost.LARGE:
                # asyncpg reads while data arrives, so large results do not block other callers.
                return await self._read_statement(work.function, *args, **kwargs)
            case Cost.LONG:
                return await self._thread.run(
                    lambda: self._run(lambda modes: modes.long_read, True, work.function, *args, **kwargs)
                )
            case _ as unreachable:
                assert_never(unreachable)

    async def write(self, work: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if work.batch is not None:
            batcher = self._write_batcher if work.is_one_statement else self._transaction_batcher
            return await batcher.add(work.batch, *args, **kwargs)  # type: ignore[no-any-return]  # A batch has results of any type.
        cost = work.find_cost(*args, **kwargs)
        if work.is_of_queue:
            is_large = cost is Cost.LARGE
            return await self._run(
                lambda modes: modes.large_queue_transaction if is_large else modes.queue_transaction,
                False,
                work.function,
                *args,
                **kwargs,
            )
        match cost:
            case Cost.SHORT | Cost.BULK:
                return await self._run(lambda modes: modes.transaction, False, work.function, *args, **kwargs)
            case Cost.LARGE:
                return await self._run(lambda modes: modes.large, False, work.function, *args, **kwargs)
            case Cost.LONG:
                return await self._thread.run(
                    lambda: self._run(lambda modes: modes.long_write, False, work.function, *args, **kwargs)
                )
            case _ as unreachable:
                assert_never(unreachable)

    async def mark(self, work: Mark[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(lambda modes: modes.single_marks, False, work.function, *args, **kwargs)

    def hold_worker_lock(self, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:  # noqa: ARG002  # Any number may work at once.
        return nullcontext()

    def notify_workers(self, *, is_certain: bool = True) -> None:
        self._notifier.notify(is_certain=is_certain)

    async def wake_workers(self) -> None:
        await self._notifier.notify_now()

    @asynccontextmanager
    async def watch_deliveries(self, wake: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
        listener = Listener(self._connector, wake)
        listening = asyncio.create_task(listener.run())
        try:
            yield lambda: listener.is_listening
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    def check_exists(self) -> None:
        """Do nothing: using a server never creates a database."""

    async def migrate(self) -> None:
        await self.read(_check_encoding)
        # Each migration has a transaction of its own, so that no table is locked during the others.
        while await self._change_tables(lambda connection: schema.upgrade(connection, steps=1)):
            pass

    async def downgrade(self, revision: str) -> None:
        await self._change_tables(lambda connection: schema.downgrade(connection, revision))

    async def _change_tables(self, change: Callable[[sa.Connection], T]) -> T:
        """Run migrations in one transaction, and return the result. Retry them while they are blocked."""
        deadline = time.monotonic() + BLOCKED_SECONDS
        delay, longest = MIGRATION_RETRY_SECONDS
        while True:
            try:
                return await self._run(lambda modes: modes.migration, False, _lock_and_change_tables, change)
            except StorageBlocked as exc:
                if time.monotonic() + delay > deadline:
                    raise StorageBlocked(exc.reason, f"{_BLOCKED}: {exc.explanation}") from exc
                log.warning("migration_blocked", reason=exc.reason, retry_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest)

    async def check_version(self) -> None:
        await self.read(_check_encoding)
        await self.read(schema.check)

    async def check_health(self) -> None:
        if await self._read_reserved(_is_read_only):
            # After a failover, a new connection may reach the new primary.
            self._connector.replace_connections()
            explanation = f"PostgreSQL at {self._connector.server}: the server is read-only"
            raise StorageFailed(f"read-only {READ_ONLY}", explanation)

    async def read_clock(self) -> datetime:
        return await self._read_reserved(_read_clock)

    async def read_facts(self) -> DatabaseFacts:
        facts = await self._read_reserved(_read_facts)
        # The first connection has found out whether there is a pooler.
        return replace(facts, place=str(self._connector.server), pooler=self._connector.server.pooler)

    async def free_deleted_bytes(self) -> bool:
        """Return False: the server overwrites deleted rows after its next vacuum, and recycles its log."""
        return False

    async def close(self) -> None:
        await self._notifier.close()
        opened = [*self._former_modes, self._modes]
        await self._close_engines(*(engine for modes in opened for engine in modes.engines))
        await self._thread.end(
            lambda: self._close_engines(*(engine for modes in opened for engine in modes.long_engines))
        )

    async def _read_reserved(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read on a reserved connection, for queries about the database itself, which must not wait for the pools."""
        return await self._run(lambda modes: modes.single_reserved, True, work, *args, **kwargs)

    async def _read_statement(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(lambda modes: modes.single, True, work, *args, **kwargs)

    async def _write_statement(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a write of a single statement, which is its own transaction."""
        return await self._run(lambda modes: modes.single, False, work, *args, **kwargs)

    async def _write_transaction(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(lambda modes: modes.transaction, False, work, *args, **kwargs)

    async def _run(
        self,
        choose: Callable[[_RunModes], _RunMode],
        is_read: bool,  # noqa: FBT001  # All arguments by name are those of the work.
        work: WorkFunction[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run work. Retry it if it failed and certainly had no effect."""

        def attempt_work(mode: _RunMode, progress: _Progress) -> T:
            # Connect, work and release in a single switch to SQLAlchemy's greenlet instead of three.
            with _connect(mode.engine) as connection:
                progress.is_connected = True
                connection.connection.driver_connection.set_limits(mode.limits)  # type: ignore[union-attr]  # The driver's connection is ours.
                if mode.is_autocommit:
                    progress.may_have_effect = not is_read
                    return work(connection.execution_options(progress=progress), *args, **kwargs)
                with connection.begin():
                    result = work(connection, *args, **kwargs)
                    progress.may_have_effect = not is_read
                return result

        progress = _Progress()
        with postgresql_errors(self._connector.server, lambda: progress.may_have_effect):
            while True:
                modes = self._modes
                try:
                    return await _retry(partial(greenlet_spawn, attempt_work, choose(modes)), progress)
                except PoolerFound:
                    self._replace_modes(modes)

    def _replace_modes(self, found: _RunModes) -> None:
        """Configure all further work for a pooler in transaction mode, unless another caller has already done so."""
        # Long work runs in another thread.
        with self._modes_lock:
            if self._modes is found:
                self._connector.expect_pooler()
                self._former_modes.append(found)
                self._modes = _RunModes(self._connector, self._signer)

    async def _close_engines(self, *engines: AsyncEngine) -> None:
        await self._connector.close_all()
        for engine in engines:
            # `close_all` has closed all connections of the pool.
            await engine.dispose()


async def _retry(attempt: Callable[[_Progress], Awaitable[T]], progress: _Progress) -> T:
    """Return the result of an attempt. Retry while it fails without effect, up to `MAX_ATTEMPTS` attempts.

    `progress` is updated by each attempt.
    """
    for number in range(1, MAX_ATTEMPTS):
        progress.begin()
        try:
            return await attempt(progress)
        except (sa.exc.SQLAlchemyError, *DRIVER_ERRORS) as exc:
            if not _had_no_effect(exc, progress):
                raise
            if find_sqlstate(exc) in CONFLICTS:
                # Wait for a random time, so that the same transactions do not conflict again.
                await asyncio.sleep(CONFLICT_SECONDS * 2**number * random.uniform(0.5, 1))  # noqa: S311  # A delay is no secret.
    progress.begin()
    return await attempt(progress)


def _had_no_effect(exc: BaseException, progress: _Progress) -> bool:
    """Return whether failed work had certainly no effect, so that it can be retried at once."""
    if not progress.is_connected:
        # The connector has already retried for the permitted time.
        return False
    code = find_sqlstate(exc)
    if (
        code in CONFLICTS
        or code == READ_ONLY
        or isinstance(find_driver_error(exc), asyncpg.InvalidCachedStatementError)
    ):
        # The server rejected the statement. Only single statements before it had an effect.
        return progress.statements == 0 and (code != READ_ONLY or _is_lost(exc))
    return _is_lost(exc) and not progress.may_have_effect


def _is_lost(exc: BaseException) -> bool:
    return isinstance(exc, sa.exc.DBAPIError) and exc.connection_invalidated


def _connect(engine: sa.Engine) -> sa.Connection:
    try:
        return engine.connect()
    except sa.exc.InvalidRequestError as exc:
        raise ConnectionResetError("the server ends each new connection") from exc


def _count_statement(connection: sa.Connection, *_others: object) -> None:
    progress = connection.get_execution_options().get("progress")
    if progress is not None:
        progress.statements += 1


def _lock_and_change_tables(connection: sa.Connection, change: Callable[[sa.Connection], T]) -> T:
    # The lock is held until the transaction ends, so a second process waits and then finds nothing to do. This wait has
    # no timeout. Table locks have one, because all other work on a table queues behind a waiting lock.
    connection.execute(_SET_LOCK_TIMEOUT, {"limit": "0"})
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    connection.execute(_SET_LOCK_TIMEOUT, {"limit": f"{MIGRATION_LOCK_SECONDS * 1000:.0f}"})
    return change(connection)


_SET_LOCK_TIMEOUT = sa.text("select set_config('lock_timeout', :limit, true)")
_BLOCKED = (
    f"a migration was blocked for {BLOCKED_SECONDS:.0f} seconds: end long transactions, which pg_stat_activity lists, "
    "and run 'budkavle migrate' again"
)


@short_read
def _check_encoding(connection: sa.Connection) -> None:
    encoding = connection.execute(_ENCODING).scalar_one()
    if encoding != "UTF8":
        raise DatabaseUnusable(
            f"the database has encoding {encoding}, which cannot hold every character: create it with encoding UTF8"
        )


def _read_clock(connection: sa.Connection) -> datetime:
    moment: datetime = connection.execute(_CLOCK).scalar_one()
    return moment


def _is_read_only(connection: sa.Connection) -> bool:
    return bool(connection.execute(_IS_READ_ONLY).scalar_one())


def _read_facts(connection: sa.Connection) -> DatabaseFacts:
    values = dict(connection.execute(_FACTS).mappings().one())
    unsafe = {name: values[name] for name in _SAFE_IF_ON if values[name] != "on"}
    return DatabaseFacts(
        product=f"PostgreSQL {values['server_version'].split()[0]}",
        place="",
        pooler=None,
        revision=schema.read_revision(connection),
        unsafe_settings=unsafe,
        encoding=values["server_encoding"],
        write_obstacle="the server, which is read-only" if values["transaction_read_only"] == "on" else None,
        connections=int(values["max_connections"]) - int(values["superuser_reserved_connections"]),
    )
