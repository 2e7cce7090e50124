"""The lock by which `restore` notices that programs use a SQLite file.

Each program holds it shared from its first connection until it closes the database, `restore` holds it exclusively. The
operating system releases it when a process ends in any way. A lock of `flock` belongs to an open file, so several
databases in one process, and processes that were forked earlier, hold it independently.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import StorageFailed
from persistence.database import DatabaseUnusable
from persistence.sqlite.file_lock import create_private

WAIT_SECONDS = 20.0
"""Maximum seconds that a program waits while the file is restored."""

LOOK_SECONDS = 0.05
"""Seconds between two attempts."""


class UseLock:
    """The lock of the database file at `path`, in a file next to it."""

    def __init__(self, path: Path) -> None:
        # Programs may reach the same file through links.
        database = path.resolve()
        self._database = database
        self._path = database.with_name(f"{database.name}.use.lock")
        self._descriptor: int | None = None
        self._opening = threading.Lock()

    def share(self) -> None:
        """Acquire the lock, shared with other programs, unless this object has it.

        Raises `StorageFailed` if a restore takes longer than `WAIT_SECONDS`, and `OSError` if this user cannot open the
        file of the lock.
        """
        with self._opening:
            if self._descriptor is None:
                self._descriptor = self._open()
                if self._descriptor is not None:
                    self._wait(self._descriptor)

    def release(self) -> None:
        """Release the lock, if this object has it."""
        with self._opening:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    @contextmanager
    def exclude(self) -> Iterator[None]:
        """Hold the lock exclusively. Raises `DatabaseUnusable` if a program uses the database, and `OSError`."""
        create_private(self._path)
        give_to_owner(self._path, self._database)
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatabaseUnusable(
                    f"a program has {self._database} open: stop all programs that use it, then repeat this command"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int | None:
        """Return a descriptor of the lock's file, or None if it cannot be created: then SQLite cannot write either."""
        try:
            create_private(self._path)
            give_to_owner(self._path, self._database)
        except OSError:
            if not os.path.lexists(self._path):
                return None
        return os.open(self._path, os.O_RDONLY)

    def _wait(self, descriptor: int) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(LOOK_SECONDS)
                    continue
                os.close(descriptor)
                self._descriptor = None
                raise StorageFailed("restore", f"{self._database} is being restored: try again later") from None
            return


def give_to_owner(path: Path, database: Path) -> None:
    """Give a file to the owner of the database, or of its folder, if root has created it. SQLite does the same.

    Otherwise a service that runs as another user could not use the file.
    """
    if os.geteuid() == 0:
        owner = (database if database.exists() else database.parent).stat()
        os.chown(path, owner.st_uid, owner.st_gid)
