"""Detect that a SQLite file is no longer the database that was opened, because writes to it would be lost.

A file that was moved, deleted or emptied has another identity, or none. A file that was overwritten in place, for
example by `cp backup.db budkavle.db`, keeps its identity. Therefore the database also has a generation: a number in the
file header (`PRAGMA user_version`) that increases while the database is written to. A backup has an older generation.

This check does not see SQLite's log, so the log is written to the file after each new generation. A backup that is
younger than `ADVANCE_SECONDS` of writes is not detected.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
import structlog

from domain.errors import StorageFailed

log = structlog.get_logger("budkavle.database")

ADVANCE_SECONDS = 5.0
"""Seconds between two generations while there are writes."""

LOOK_SECONDS = 0.5
"""Seconds between two reads of the generation."""


class SqliteFile:
    """A database file in use. `clock` returns seconds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._identity: tuple[int, int] | None = None
        self._generation = 0
        self._looked = float("-inf")
        self._advanced = clock()
        self._is_replaced = False
        self._is_overwritten = False

    def open(self) -> None:
        """Record the identity of the file that was opened first."""
        if self._identity is None:
            self._identity = _read_identity(self._path)

    def check(self) -> None:
        """Raise `StorageFailed` while the path has another file, an empty file or none.

        After the file was overwritten, raise the error permanently: memory and log belong to the previous content.
        """
        if self._identity is None:
            return
        is_replaced = _read_identity(self._path) != self._identity
        if not is_replaced:
            self._is_overwritten = self._is_overwritten or self._has_older_generation()
            is_replaced = self._is_overwritten
        if is_replaced and not self._is_replaced:
            log.error("database_file_replaced", path=str(self._path))
        self._is_replaced = is_replaced
        if self._is_overwritten:
            raise StorageFailed(
                "file replaced",
                f"{self._path} was overwritten by an older copy: stop all programs that use it, restore the copy with "
                "'budkavle restore', start again",
            )
        if is_replaced:
            raise StorageFailed("file replaced", f"{self._path} was removed, replaced or emptied: restart the program")

    def is_advance_due(self) -> bool:
        """Return whether `advance` must follow the next write."""
        return self._clock() - self._advanced >= ADVANCE_SECONDS

    def advance(self, connection: sa.Connection, copy_log: Callable[[sa.Connection], None]) -> None:
        """Begin a new generation, on a connection that can wait for locks. Raises as `check`, and errors of SQLite.

        `copy_log` writes the log to the file. What readers use stays in the log until the next time.
        """
        self._advanced = self._clock()
        # Check first, because a new generation would hide that the file was overwritten.
        self._looked = float("-inf")
        self.check()
        with connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            generation = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version={generation + 1}")
        copy_log(connection)
        self._generation = max(self._generation, read_generation(self._path) or 0)

    def _has_older_generation(self) -> bool:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        # Another thread may begin a new generation after the file was read.
        known = self._generation
        generation = read_generation(self._path)
        if generation is None:
            return False
        is_older = generation < known
        self._generation = max(self._generation, generation)
        return is_older


def _read_identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # A file of ours is never empty, so this one was emptied.
    return (found.st_dev, found.st_ino) if found.st_size else None


def read_generation(path: Path) -> int | None:
    """Return the generation in the file itself, without its log, or None if it cannot be read now."""
    try:
        # Let SQLite open the file: closing it with Python would release the locks of this process. With `immutable`,
        # SQLite takes no locks and ignores the log.
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?immutable=1", uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None


def find_write_obstacle(path: Path) -> str | None:
    """Return the file or folder that this user cannot write, if there is one. SQLite creates files next to its own."""
    return next((str(each) for each in (path, path.resolve().parent) if not os.access(each, os.W_OK)), None)
