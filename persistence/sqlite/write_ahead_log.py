"""Copy the log of a SQLite file to the file in a thread, and let no commit reset the log meanwhile.

SQLite before 3.51.3 can damage a file if a checkpoint begins when the log has just been copied, and a commit resets the
log, to write at its start again, at the same moment. So no connection copies the log after its commit, as SQLite does
by default, and another connection holds a lock during each copy (decision 0004).
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence.sqlite.file import SqliteFile

T = TypeVar("T")

LOG_PAGES = 4000
"""Pages in the log (16 MiB) after which it is copied to the file. A page that several commits change is copied once."""

LARGE_WRITE_PAGES = 1000
"""Pages that a write in a thread is assumed to add to the log."""

FIRST_PAGES_PER_COMMIT = 10.0
"""Pages that a commit of the event loop is assumed to add to the log, until the first copy reports them."""


class Checkpoints:
    """Copies the log, and begins new generations of the file, in a thread.

    SQLite reports the length of the log only as the result of a copy, so the time of the next copy follows from the
    number of commits, and from the pages that the previous ones have written.
    """

    def __init__(self, engine: sa.Engine, file: SqliteFile, write_lock: asyncio.Lock) -> None:
        self._engine = engine
        self._file = file
        self._write_lock = write_lock
        self._thread = ThreadPoolExecutor(1, "sqlite-checkpoint")
        self._running: asyncio.Task[None] | None = None
        self._is_closed = False
        self._commits = 0
        self._large_writes = 0
        self._pages_per_commit = FIRST_PAGES_PER_COMMIT
        self._rest = 0
        """Pages that the previous copy has left in the log."""

    def count_commit(self) -> None:
        """Record a commit of the event loop, and begin a copy if it is due."""
        self._commits += 1
        self._copy_if_due()

    def count_large_write(self) -> None:
        """Record a write in a thread, and begin a copy if it is due."""
        self._large_writes += 1
        self._copy_if_due()

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run other work that includes a checkpoint. SQLite permits one at a time, and does not wait for another."""

        def run_in_thread() -> T:
            with self._engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run_in_thread)

    async def finish(self) -> None:
        """Wait for a running copy, and begin no further one."""
        self._is_closed = True
        if self._running is not None:
            await asyncio.wait([self._running])

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _copy_if_due(self) -> None:
        if self._running is not None or self._is_closed:
            return
        pages = self._commits * self._pages_per_commit + self._large_writes * LARGE_WRITE_PAGES
        if pages >= LOG_PAGES or self._file.is_advance_due():
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        # The next write meets the same error and reports it to its caller.
        try:
            with contextlib.suppress(StorageFailed, sa.exc.SQLAlchemyError):
                # Writes go on during the long copy. They extend the log, which SQLite resets only when all is copied.
                await self.run(partial(copy_next_to_writes, self._engine))
                # Writes of this process wait here, and not for the lock of the file.
                async with self._write_lock:
                    await self.run(self._advance if self._file.is_advance_due() else self._copy_rest)
        finally:
            self._running = None

    def _advance(self, connection: sa.Connection) -> None:
        self._file.advance(connection, self._copy_rest)

    def _copy_rest(self, connection: sa.Connection) -> None:
        commits, self._commits = self._commits, 0
        large_writes, self._large_writes = self._large_writes, 0
        pages, copied = copy_without_writes(self._engine, connection)
        written = pages - self._rest if pages > self._rest else pages
        self._rest = pages - copied
        if commits and not large_writes and written > 0:
            self._pages_per_commit = max(written / commits, 1.0)


def copy_next_to_writes(engine: sa.Engine, connection: sa.Connection) -> None:
    """Copy what is in the log now, while processes write.

    Another connection reads meanwhile. If it reads pages from the log, SQLite cannot reset the log. If it needs
    none of them, all are copied already, and SQLite copies nothing, since it would change what this connection reads.
    """
    with engine.connect() as guard, guard.begin():
        guard.exec_driver_sql("BEGIN")
        # Only the first read begins the transaction.
        guard.exec_driver_sql("SELECT count(*) FROM sqlite_schema").close()
        connection.exec_driver_sql(_COPY).close()


def copy_without_writes(engine: sa.Engine, connection: sa.Connection) -> tuple[int, int]:
    """Copy all that is in the log, while no process can write. Return the pages in the log, and those that are copied.

    Another connection holds the lock of writes meanwhile: SQLite copies outside of transactions only. Raises an error
    of SQLite if another process writes for long.
    """
    with engine.connect() as guard, guard.begin():
        guard.exec_driver_sql("BEGIN IMMEDIATE")
        _, pages, copied = connection.exec_driver_sql(_COPY).one()
    # Both are -1 if an older version copies the log at the same time.
    return max(pages, 0), max(copied, 0)


_COPY = "PRAGMA wal_checkpoint(PASSIVE)"
"""Waits for no lock: pages that a reader needs stay in the log until the next copy."""


def never_copy_after_commits(connection: sqlite3.Connection) -> None:
    """Let SQLite not copy the log after commits of this connection."""
    connection.execute("PRAGMA wal_autocheckpoint=0")
