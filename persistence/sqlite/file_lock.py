"""An inter-process lock on a file. The operating system releases it when the process ends in any way."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import fasteners

from persistence.sqlite.errors import storage_errors

LOOK_SECONDS = 0.25
"""Seconds between attempts to acquire the lock: file locks send no notification."""


def create_private(path: Path) -> None:
    """Create a file that only its owner can read and write. Keep an existing file unchanged."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@asynccontextmanager
async def hold_file_lock(path: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Acquire the lock, waiting for other processes if necessary; in that case call `on_wait` once.

    Raises `StorageFailed` if the file cannot be created.
    """
    lock = fasteners.InterProcessLock(path)
    try:
        with storage_errors():
            create_private(Path(path))
            if not lock.acquire(blocking=False):
                on_wait()
                while not lock.acquire(blocking=False):  # noqa: ASYNC110  # There is no event for the end of a process.
                    await asyncio.sleep(LOOK_SECONDS)
        yield
    finally:
        if lock.acquired:
            lock.release()
        elif lock.lockfile is not None:
            lock.lockfile.close()
