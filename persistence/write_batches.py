"""Batch concurrent writes, so that the database executes one statement for all of them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from domain.errors import StorageFailed, StorageRejected

MAX_BATCH = 16
"""Maximum items per batch. Larger batches would block the event loop noticeably."""

WorkTogether = Callable[[sa.Connection, list[Any]], None]
_Waiting = tuple[Any, asyncio.Future[None]]


class WriteBatcher:
    """Collect items for the same work while the previous batch is being written. Nothing is delayed to fill a batch."""

    def __init__(self, write: Callable[[WorkTogether, list[Any]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: dict[WorkTogether, deque[_Waiting]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, work: WorkTogether, item: Any) -> None:
        """Return once the item is durable. An error that `work` raises for the item reaches only this caller."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(work)
        if waiting is None:
            waiting = self._waiting[work] = deque()
            task = asyncio.create_task(self._run(work, waiting))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        waiting.append((item, future))
        await future

    async def _run(self, work: WorkTogether, waiting: deque[_Waiting]) -> None:
        while waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_BATCH))]
            # Skip items whose caller was cancelled.
            batch = [(item, future) for item, future in batch if not future.done()]
            outcome = await self._try(work, batch)
            is_of_all = isinstance(outcome, StorageFailed) and not isinstance(outcome, StorageRejected)
            if outcome is None or len(batch) == 1 or is_of_all:
                # Do not retry: a failed database may have written the batch, and items must not be written twice.
                outcomes = [outcome] * len(batch)
            else:
                # Retry each item alone, so that only the caller of the faulty item receives the error.
                outcomes = await asyncio.gather(*(self._try(work, [waiter]) for waiter in batch))
            for (_, future), error in zip(batch, outcomes, strict=True):
                _settle(future, error)
        del self._waiting[work]

    async def _try(self, work: WorkTogether, batch: list[_Waiting]) -> Exception | None:
        try:
            if batch:
                await self._write(work, [item for item, _ in batch])
        except Exception as exc:  # noqa: BLE001  # Of whatever kind: it is for who waits.
            return exc
        return None


def _settle(future: asyncio.Future[None], outcome: Exception | None) -> None:
    if future.done():
        return
    if outcome is None:
        future.set_result(None)
    else:
        future.set_exception(outcome)
