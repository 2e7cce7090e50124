"""SQLite with one writer and concurrent readers (WAL). Short work runs in the event loop.

A statement on SQLite takes microseconds, less than a switch to a thread. So short work runs in the thread of the event
loop and must not wait there: its busy timeout is zero. Work that meets a lock of another process, or that transfers
much data, runs in a thread.
"""

import asyncio
import shutil
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, assert_never

import fasteners
import orjson
import sqlalchemy as sa

from domain.audit_signatures import EntrySigner
from persistence import schema
from persistence.batches import Arrivals, Batcher
from persistence.database import SIGNER_OPTION, DatabaseFacts, DatabaseUnusable, NamedLocks, to_json
from persistence.notifier import Notifier, web_messages_raise_events
from persistence.prepared import PreparedStatement
from persistence.sqlite.errors import storage_errors
from persistence.sqlite.file import SqliteFile, find_write_obstacle
from persistence.sqlite.file_lock import create_private, hold_file_lock
from persistence.sqlite.use_lock import UseLock
from persistence.sqlite.wake_pipe import WakePipe
from persistence.sqlite.write_ahead_log import Checkpoints, never_copy_after_commits
from persistence.work import BatchFunction, Cost, Mark, Read, WorkFunction, Write, short_read, short_write

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 20
"""Maximum seconds that a thread waits for the lock of another process."""

READER_THREADS = 8

BATCH = 16
"""Maximum writes in one transaction."""


class SqliteDatabase:
    """A SQLite file. Any number of processes may use it; their writes are serialised."""

    def __init__(self, path: str, signer: EntrySigner | None = None) -> None:
        self.locks = NamedLocks()
        self._path = Path(path)
        self._use_lock = UseLock(self._path)
        url = sa.URL.create("sqlite", database=path)
        options: dict[str, Any] = {
            "hide_parameters": True,
            "json_serializer": to_json,
            "json_deserializer": orjson.loads,
            "execution_options": {SIGNER_OPTION: signer},
        }
        self._inline_engine = sa.create_engine(
            url, poolclass=sa.NullPool, connect_args={"check_same_thread": False}, **options
        )
        self._reader_engine, self._writer_engine = (
            sa.create_engine(
                url,
                poolclass=sa.QueuePool,
                pool_size=size,
                max_overflow=0,
                # Cached statements keep their last parameters, which may be whole files.
                connect_args={"check_same_thread": False, "cached_statements": 0},
                **options,
            )
            # A copy of the log needs two connections, one of which holds a lock.
            for size in (READER_THREADS, 3)
        )
        for engine in (self._inline_engine, self._reader_engine, self._writer_engine):
            sa.event.listen(engine, "do_connect", self._share_file)
        sa.event.listen(self._inline_engine, "connect", _set_up_inline)
        for engine in (self._reader_engine, self._writer_engine):
            sa.event.listen(engine, "connect", _set_up_thread)
        sa.event.listen(self._reader_engine, "connect", _permit_only_reads)
        self._reader: sa.Connection | None = None
        self._writer: sa.Connection | None = None
        self._write_lock = asyncio.Lock()
        self._batcher = Batcher(self._write_inline)
        self._reads = Arrivals()
        self._read_batcher = Batcher(self._read_batch)
        self._waiting: deque[_Waiting] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._file = SqliteFile(self._path)
        self._checkpoints = Checkpoints(self._writer_engine, self._file, self._write_lock)
        self._wake_pipe = WakePipe(self._path)
        self._notifier = Notifier(self._send_wake, lambda: self.read(web_messages_raise_events))
        # True while writes fail for a reason that affects all writes.
        self._cannot_write = False
        # Do not use anyio's threads: they keep their last work, with all its data, until the next work.
        self._reader_threads = ThreadPoolExecutor(READER_THREADS, "sqlite-reader")
        self._writer_thread = ThreadPoolExecutor(1, "sqlite-writer")

    async def read(self, work: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if work.batch is not None and self._reads.is_joined():
            return await self._read_batcher.add(work.batch, *args, **kwargs)  # type: ignore[no-any-return]  # As in `write`.
        match work.find_cost(*args, **kwargs):
            case Cost.SHORT:
                return await self._read_inline(work.function, *args, **kwargs)
            case Cost.BULK | Cost.LARGE:
                return await self._read_in_thread(work.function, *args, **kwargs)
            case Cost.LONG:
                return await self._read_snapshot(work.function, *args, **kwargs)
            case _ as unreachable:
                assert_never(unreachable)

    async def write(self, work: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if work.batch is not None:
            return await self._batcher.add(work.batch, *args, **kwargs)  # type: ignore[no-any-return]  # A batch has results of any type.
        match work.find_cost(*args, **kwargs):
            case Cost.SHORT:
                return await self._write_inline(work.function, *args, **kwargs)
            case Cost.BULK | Cost.LARGE | Cost.LONG:
                async with self._write_lock:
                    result = await self._write_in_thread(work.function, *args, **kwargs)
                self._checkpoints.count_large_write()
                return result
            case _ as unreachable:
                assert_never(unreachable)

    async def mark(self, work: Mark[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Waiting writes share one commit, so marks would save nothing.
        return await self._write_inline(work.function, *args, **kwargs)

    def hold_worker_lock(self, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        # Permit one worker, because several would only compete for the write lock of the file.
        return hold_file_lock(f"{self._path}.worker.lock", on_wait)

    def notify_workers(self, *, is_certain: bool = True) -> None:
        self._notifier.notify(is_certain=is_certain)

    async def wake_workers(self) -> None:
        await self._notifier.notify_now()

    @asynccontextmanager
    async def watch_deliveries(self, wake: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
        with self._wake_pipe.watch(wake) as is_watched:
            yield lambda: is_watched

    def check_exists(self) -> None:
        with storage_errors():
            self._check_not_emptied()
            is_there = self._path.exists()
        if not is_there:
            raise DatabaseUnusable(
                f"there is no database file {self._path}: check BUDKAVLE_DATABASE_URL, "
                "or create it with 'budkavle migrate'"
            )

    async def migrate(self) -> None:
        await self._change_tables(schema.upgrade)

    async def downgrade(self, revision: str) -> None:
        self.check_exists()
        await self._change_tables(lambda connection: schema.downgrade(connection, revision))

    async def _change_tables(self, change: Callable[[sa.Connection], T]) -> T:
        def change_in_thread() -> T:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Acquire it before the checks, because a restore replaces the file.
            self._use_lock.share()
            create_private(Path(f"{self._path}.lock"))
            with fasteners.InterProcessLock(f"{self._path}.lock"):
                self._check_not_emptied()
                if not self._path.exists():
                    self._create()
                with self._writer_engine.connect() as connection:
                    # SQLite changes a constraint by copying the table. With foreign keys, dropping the old one would
                    # delete all rows that refer to it. The connection is closed afterwards.
                    connection.detach()
                    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                    # One transaction: if the process dies in the middle, the old tables remain.
                    _BEGIN.execute(connection)
                    result = change(connection)
                    connection.commit()
                    return result

        with storage_errors():
            return await asyncio.get_running_loop().run_in_executor(self._writer_thread, change_in_thread)

    async def check_health(self) -> None:
        self._file.check()
        await self.read(_ping)
        if self._cannot_write:
            # Without requests, no other write would detect that the disk has space again.
            await self.write(_probe)

    async def read_clock(self) -> None:
        """Return None: a file has no clock of its own."""

    async def check_version(self) -> None:
        await self.read(schema.check)

    async def read_facts(self) -> DatabaseFacts:
        def read(connection: sa.Connection) -> DatabaseFacts:
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            return DatabaseFacts(
                product=f"SQLite {sqlite3.sqlite_version}",
                place=str(self._path),
                pooler=None,
                revision=schema.read_revision(connection),
                unsafe_settings={} if journal == "wal" else {"journal_mode": journal},
                write_obstacle=find_write_obstacle(self._path),
                free_bytes=shutil.disk_usage(self._path.parent).free,
            )

        return await self._read_in_thread(read)

    async def free_deleted_bytes(self) -> bool:
        # SQLite overwrites deleted rows, but may leave copies of rows that it moved between pages before. And the log
        # has pages from before the deletion until it is truncated.
        def rewrite() -> None:
            with self._writer_engine.connect() as connection:
                connection.exec_driver_sql("VACUUM")

        def empty_log(connection: sa.Connection) -> bool:
            is_busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            return not is_busy

        self._file.check()
        async with self._write_lock:
            try:
                await asyncio.get_running_loop().run_in_executor(self._writer_thread, rewrite)
                return await self._checkpoints.run(empty_log)
            except sa.exc.OperationalError:
                # Another process writes or reads for long, or the disk has no space for a second copy.
                return False

    async def close(self) -> None:
        await self._notifier.close()
        await self._checkpoints.finish()
        async with self._write_lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None
            self._reader_engine.dispose()
            self._writer_engine.dispose()
            self._reader_threads.shutdown()
            self._writer_thread.shutdown()
            self._checkpoints.close()
            self._use_lock.release()

    async def _send_wake(self) -> None:
        self._wake_pipe.send()

    async def _read_inline(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with storage_errors():
            if self._reader is None:
                self._reader = self._connect()
                self._reader.exec_driver_sql(_ONLY_READS)
            try:
                return work(self._reader, *args, **kwargs)
            except sa.exc.OperationalError as exc:
                if not _is_busy(exc):
                    raise
        return await self._read_in_thread(work, *args, **kwargs)

    async def _read_batch(self, work: BatchFunction, items: list[Any]) -> Sequence[Any]:
        self._reads.record_batch(len(items))
        results = await self._read_inline(work, items)
        if len(results) < len(items):
            self._reads.record_large()
        return results

    async def _read_in_thread(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def read_in_thread() -> T:
            with self._reader_engine.connect() as connection:
                return work(connection, *args, **kwargs)

        self._file.check()
        with storage_errors():
            return await asyncio.get_running_loop().run_in_executor(self._reader_threads, read_in_thread)

    async def _read_snapshot(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def work_in_transaction(connection: sa.Connection) -> T:
            with connection.begin():
                connection.exec_driver_sql("BEGIN")
                return work(connection, *args, **kwargs)

        return await self._read_in_thread(work_in_transaction)

    async def _write_inline(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(lambda connection: work(connection, *args, **kwargs), future))
        if self._flushing is None:
            # Use a new context, because the task runs as long as there are writes: the caller's contains a request.
            self._flushing = asyncio.create_task(self._flush(), context=Context())
        with storage_errors():
            return await future

    async def _flush(self) -> None:
        """Run all waiting writes in batches, with one transaction and one disk flush per batch."""
        try:
            while self._waiting:
                # Acquire the lock for each batch, so that large writes run between small ones.
                async with self._write_lock:
                    await self._write_batch()
                self._checkpoints.count_commit()
                # Yield to other tasks, which may add writes to the next batch.
                await asyncio.sleep(0)
        finally:
            self._flushing = None

    async def _write_batch(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
        try:
            self._file.check()
            if self._writer is None:
                self._writer = self._connect()
            outcomes = _transact(self._writer, _run_batch, batch)
        except Exception as exc:  # noqa: BLE001  # Any error is the outcome of the callers.
            # BEGIN IMMEDIATE is the only statement here that can meet a lock, so nothing has been written yet.
            outcomes = await self._write_batch_in_thread(batch) if _is_busy(exc) else [exc] * len(batch)
        self._cannot_write = any(map(_is_permanent, outcomes))
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.settle(outcome)

    async def _write_batch_in_thread(self, batch: list["_Waiting"]) -> list[Any]:
        try:
            return await self._write_in_thread(_run_batch, batch)
        except Exception as exc:  # noqa: BLE001  # Any error is the outcome of the callers.
            return [exc] * len(batch)

    async def _write_in_thread(self, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def write_in_thread() -> T:
            with self._writer_engine.connect() as connection:
                return _transact(connection, work, *args, **kwargs)

        self._file.check()
        future = asyncio.get_running_loop().run_in_executor(self._writer_thread, write_in_thread)
        with storage_errors():
            try:
                result = await asyncio.shield(future)
            except sa.exc.OperationalError as exc:
                self._cannot_write = _is_permanent(exc)
                raise
            except asyncio.CancelledError:
                # A cancelled caller does not stop the thread, so keep the lock until the thread is done.
                await asyncio.wait([future])
                # The caller is gone: retrieve an error, so that asyncio does not log it as lost.
                future.cancelled() or future.exception()
                raise
            self._cannot_write = False
            return result

    def _check_not_emptied(self) -> None:
        """Raise `DatabaseUnusable` if a database was lost and SQLite would create a new one in its place.

        A file of ours is never empty. A non-empty log next to it contains transactions of a database that was not
        closed; SQLite would delete this log.
        """
        # SQLite resolves links before it determines the path of the log.
        size, log_path = _get_file_size(self._path), Path(f"{self._path.resolve()}-wal")
        if size == 0:
            found = f"the database file {self._path} is empty"
        elif size is None and _get_file_size(log_path):
            found = f"there is no database file {self._path}, but {log_path} has changes of it"
        else:
            return
        # Name both files: a log does not match any other database file.
        remains = " and ".join(str(path) for path in (self._path, log_path) if _get_file_size(path) is not None)
        raise DatabaseUnusable(f"{found}: restore it from a backup, or remove {remains} to begin with a new database")

    def _create(self) -> None:
        """Create the file with a header under another name first, so that the final name never has an empty file."""
        path = self._path.resolve()
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        # SQLite copies the mode of the file to its companion files.
        create_private(new)
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(new)), poolclass=sa.NullPool)
        sa.event.listen(engine, "connect", _set_up_thread)
        engine.connect().close()
        new.rename(path)

    def _share_file(self, *_arguments: object) -> None:
        self._use_lock.share()

    def _connect(self) -> sa.Connection:
        connection = self._inline_engine.connect()
        self._file.open()
        return connection


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A write that waits for its batch, with the future of its caller."""

    work: Callable[[sa.Connection], Any]
    future: asyncio.Future[Any]

    def settle(self, outcome: Any) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


@short_read
def _ping(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SELECT 1")


def _run_batch(connection: sa.Connection, batch: list[_Waiting]) -> list[Any]:
    """Return the result or the error of each write. A write that raised is rolled back."""
    if len(batch) == 1:
        return [batch[0].work(connection)]
    driver = connection.connection
    outcomes: list[Any] = []
    for waiting in batch:
        driver.execute("SAVEPOINT work")
        try:
            outcomes.append(waiting.work(connection))
        except Exception as exc:  # noqa: BLE001  # Any error is the outcome of this caller alone.
            driver.execute("ROLLBACK TO work")
            outcomes.append(exc)
        driver.execute("RELEASE work")
    return outcomes


_BEGIN = PreparedStatement(sa.text("BEGIN IMMEDIATE"))


def _transact(connection: sa.Connection, work: WorkFunction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    with connection.begin():
        _BEGIN.execute(connection)
        return work(connection, *args, **kwargs)


def _set_up_inline(connection: sqlite3.Connection, _record: object) -> None:
    _set_up(connection, 0)


def _set_up_thread(connection: sqlite3.Connection, _record: object) -> None:
    _set_up(connection, BUSY_SECONDS)


def _set_up(connection: sqlite3.Connection, busy_seconds: int) -> None:
    # Begin transactions explicitly: the driver begins them late and may then fail to acquire the lock.
    connection.isolation_level = None
    # Until WAL is enabled, readers and writers block each other.
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # Deleted data must not remain in the file.
    connection.execute("PRAGMA secure_delete=ON")
    never_copy_after_commits(connection)
    connection.execute(f"PRAGMA busy_timeout={busy_seconds * 1000}")


_ONLY_READS = "PRAGMA query_only=ON"
"""Makes a write that is declared as a read an error, because it would have no transaction."""


def _permit_only_reads(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(_ONLY_READS)


def _get_file_size(path: Path) -> int | None:
    """Return the size of a file in bytes, or None without a file. Raises `OSError` if it cannot be determined."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


@short_write
def _probe(connection: sa.Connection) -> None:
    """Execute a write that changes nothing."""
    connection.exec_driver_sql("update alembic_version set version_num = version_num")


def _is_permanent(outcome: object) -> bool:
    """Return whether a write failed for a reason that affects all writes, such as a full disk or an unusable file."""
    name = getattr(getattr(outcome, "orig", None), "sqlite_errorname", "")
    return isinstance(name, str) and name.startswith(_PERMANENT)


_PERMANENT = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN")


def _is_busy(exc: Exception) -> bool:
    code = getattr(getattr(exc, "orig", None), "sqlite_errorcode", 0)
    return isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_BUSY
