"""A turn that one process has at a time, held by a lock on a file: it ends with the process, however that ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import fasteners

from persistence.database import storage_errors

LOOK_SECONDS = 0.25
"""How often who waits looks whether the turn is free: files tell nobody."""


@asynccontextmanager
async def file_turn(path: str, waits: Callable[[], None]) -> AsyncIterator[None]:
    """Waits until no other process has this turn; calls `waits` once if it must.

    Raises `StorageFailed` if there can be no such file.
    """
    lock = fasteners.InterProcessLock(path)
    try:
        with storage_errors():
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
