"""Limit the bytes of large bodies in one process, from their first byte to the response.

Each large body stays in memory until its message is stored, with about its original size. Without a limit, a few
callers with files of 100 MB would exhaust the memory of the process.
"""

import asyncio
import ctypes
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from domain.errors import Overloaded

STEP_BYTES = 8 * 1024 * 1024
"""Bytes that a body of unknown length reserves at a time."""

TRIM_BYTES = 8 * 1024 * 1024
"""If the reserved bytes reached this size, memory is returned to the operating system after the last large body."""


class BodyBudget:
    """Reserves bytes in order of arrival, and rejects a body that waits for too long."""

    def __init__(self, total_bytes: int, wait_seconds: float, trim: Callable[[], None] | None = None) -> None:
        self._total = self._free = total_bytes
        self._wait_seconds = wait_seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._trim = trim or trim_memory
        self._peak = 0

    @property
    def reserved(self) -> int:
        """The bytes of bodies that are being processed."""
        return self._total - self._free

    async def reserve(self, size: int) -> None:
        """Reserve bytes. Raises `Overloaded` if they do not become free in time, or exceed the total."""
        if not self._waiting and size <= self._free:
            self._grant(size)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, granted)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await granted
        except BaseException as exc:
            if granted.done() and not granted.cancelled():
                self.release(size)
            else:
                self._waiting.remove(entry)
                self._grant_next()
            if isinstance(exc, TimeoutError):
                raise Overloaded from exc
            raise

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        self._free += size
        self._grant_next()
        if self._free == self._total and self._peak >= TRIM_BYTES:
            self._peak = 0
            asyncio.get_running_loop().run_in_executor(None, self._trim)

    def _grant(self, size: int) -> None:
        self._free -= size
        self._peak = max(self._peak, self.reserved)

    def _grant_next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, granted = self._waiting.popleft()
            self._grant(size)
            granted.set_result(None)


class Reservation:
    """The bytes reserved by one request, released at the end of `with`."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._size:
            self._budget.release(self._size)

    async def cover(self, size: int) -> None:
        """Increase the reservation to at least this size. Raises `Overloaded`."""
        if size > self._size:
            await self._budget.reserve(size - self._size)
            self._size = size


def trim_memory() -> None:
    """Return free memory to the operating system if the C library can: glibc keeps memory that threads freed."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
