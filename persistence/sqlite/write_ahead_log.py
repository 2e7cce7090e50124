"""Copy the log of a SQLite file to the file next to writes, not after a commit in the event loop (decision 0004)."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence.sqlite.file import SqliteFile

T = TypeVar("T")

LOG_PAGES = 4000
"""Pages in the log (16 MiB) after which it is copied to the file."""

MAX_LOG_PAGES = 2 * LOG_PAGES
"""Pages in the log after which each commit in the event loop copies it: a limit if the thread is late or fails."""

FEWEST_COMMITS, MOST_COMMITS = 4, 1000
"""Commits between two copies, whatever the previous ones have written."""

FIRST_COMMITS = 100
"""Commits before the first copy, which reveals how many pages a commit writes."""


class Checkpoints:
    """Copies the log in a thread, and begins new generations of the file there, both while there are writes.

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
        self._due_commits = FIRST_COMMITS
        self._pages = 0

    def count_commit(self) -> None:
        """Record a commit of the event loop, and begin a copy if it is due."""
        self._commits += 1
        if self._running is not None or self._is_closed:
            return
        if self._commits >= self._due_commits or self._file.is_advance_due():
            self._running = asyncio.create_task(self._run())

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

    async def _run(self) -> None:
        # The next write meets the same error and reports it to its caller.
        try:
            with contextlib.suppress(StorageFailed, sa.exc.SQLAlchemyError):
                # Writes do not wait meanwhile, but they extend the log, which begins anew only when all is copied.
                if not await self.run(self._advance if self._file.is_advance_due() else self._copy_log):
                    async with self._write_lock:
                        await self.run(self._copy_log)
        finally:
            self._running = None

    def _advance(self, connection: sa.Connection) -> bool:
        self._file.advance(connection)
        return False

    def _copy_log(self, connection: sa.Connection) -> bool:
        """Copy what no reader uses. Return whether it was all, so that the next commit is at the start of the log."""
        commits, self._commits = self._commits, 0
        # PASSIVE waits for no lock. The number of pages is -1 while another process copies the log.
        _, pages, copied = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        written = pages - self._pages if pages > self._pages else pages
        if commits >= FEWEST_COMMITS and written > 0:
            self._due_commits = min(max(LOG_PAGES * commits // written, FEWEST_COMMITS), MOST_COMMITS)
        is_complete = 0 <= pages == copied
        self._pages = 0 if is_complete else max(pages, 0)
        return bool(is_complete)


def limit_log(connection: sqlite3.Connection) -> None:
    """Let commits of this connection copy the log only if it is longer than `MAX_LOG_PAGES`."""
    connection.execute(f"PRAGMA wal_autocheckpoint={MAX_LOG_PAGES}")
