"""A turn that one process has at a time, held by a lock on a file: it ends with the process, however that ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import fasteners

from persistence.database import storage_errors

LOOK_SECONDS = 0.25
"""How often who waits looks whether the turn is free: files tell nobody."""


def create_private(path: Path) -> None:
    """Create a file that only its owner can read and write; leave one that exists as it is."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@asynccontextmanager
async def file_turn(path: str, waits: Callable[[], None]) -> AsyncIterator[None]:
    """Waits until no other process has this turn; calls `waits` once if it must.

    Raises `StorageFailed` if there can be no such file.
    """
    lock = fasteners.InterProcessLock(path)
    try:
        with storage_errors():
            create_private(Path(path))
            if not lock.acquire(blocking=False):
                waits()
                while not lock.acquire(blocking=False):  # noqa: ASYNC110  # There is no event for the end of a process.
                    await asyncio.sleep(LOOK_SECONDS)
        yield
    finally:
        if lock.acquired:
            lock.release()
        elif lock.lockfile is not None:
            lock.lockfile.close()
