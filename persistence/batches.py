"""Batch concurrent work of one kind, so that the database executes one statement for all of it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from domain.errors import StorageBlocked, StorageFailed, StorageRejected
from persistence.work import BatchFunction

MAX_BATCH = 16
"""Maximum items per batch. Larger batches would block the event loop noticeably."""

LARGE_SECONDS = 1.0
"""Time without batches of reads after one that met a large result."""

_Waiting = tuple[Any, asyncio.Future[Any]]


class Batcher:
    """Collect items for the same work while the previous batch runs.

    The next batch begins when the previous one has ended and an iteration of the event loop has added no further item:
    it never waits only to fill. It begins after at most `patience` seconds, so that a connection that hangs does not
    delay later items. With half of the items that are under way, and at least `enough`, it begins at once, so that the
    event loop works on further requests while the database works on this batch.

    Work may return results for the first items only, so that large results are not read all at once. The other items
    then run one by one, next to later batches.
    """

    def __init__(
        self,
        run: Callable[[BatchFunction, list[Any]], Awaitable[Sequence[Any]]],
        *,
        patience: float | None = None,
        enough: int = MAX_BATCH,
    ) -> None:
        self._run = run
        self._patience = patience
        self._enough = enough
        self._waiting: dict[BatchFunction, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, work: BatchFunction, item: Any) -> Any:
        """Return the result of an item, once a write is durable.

        An error that `work` raises for the item reaches only this caller.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(work)
        if waiting is None:
            waiting = self._waiting[work] = deque()
            self._start(work, waiting)
        waiting.append((item, future))
        return await future

    def _start(self, work: BatchFunction, waiting: deque[_Waiting]) -> None:
        self._spawn(self._run_all(work, waiting))

    def _spawn(self, running: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task."""
        # In a context of its own: a batch belongs to no caller, and must not keep the request of the first.
        task = asyncio.create_task(running, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_all(self, work: BatchFunction, waiting: deque[_Waiting]) -> None:
        """Run batches until no item waits, or until a batch exceeds the patience; then another task continues."""
        is_replaced = False

        def replace() -> None:
            nonlocal is_replaced
            is_replaced = True
            self._start(work, waiting)

        batch: list[_Waiting] = []
        try:
            while waiting:
                # The callers of the previous batch are about to send their next requests.
                half = (len(batch) + len(waiting)) // 2
                await _wait_while_growing(waiting, min(max(half, self._enough), MAX_BATCH))
                batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_BATCH))]
                if self._patience is None:
                    await self._run_batch(work, batch)
                    continue
                # A timer costs much less than a task for each batch and a wait for it.
                timer = asyncio.get_running_loop().call_later(self._patience, replace)
                try:
                    await self._run_batch(work, batch)
                finally:
                    timer.cancel()
                if is_replaced:
                    return
        finally:
            if not is_replaced:
                del self._waiting[work]
                batch += waiting
            _cancel(batch)

    async def _run_batch(self, work: BatchFunction, batch: list[_Waiting]) -> None:
        """Run a batch. Items that run later are removed from it, and those whose caller was cancelled."""
        batch[:] = [(item, future) for item, future in batch if not future.done()]
        outcomes = await self._try(work, batch)
        is_of_all = isinstance(outcomes, StorageFailed) and not isinstance(outcomes, StorageRejected | StorageBlocked)
        if isinstance(outcomes, Exception) and len(batch) > 1 and not is_of_all:
            # Retry each item alone, so that only the caller of the faulty item receives the error. Do not retry when
            # the database failed: it may have written the batch, and items must not be written twice.
            alone = await asyncio.gather(*(self._try(work, [waiter]) for waiter in batch))
            for waiter, outcome in zip(batch, alone, strict=True):
                _settle([waiter], outcome)
        else:
            _settle(batch, outcomes)
            if not isinstance(outcomes, Exception) and len(outcomes) < len(batch):
                self._spawn(self._run_each(work, batch[len(outcomes) :]))
                del batch[len(outcomes) :]

    async def _run_each(self, work: BatchFunction, rest: list[_Waiting]) -> None:
        """Run items one by one, and let other tasks run before each."""
        try:
            while rest:
                await asyncio.sleep(0)
                # Removed from the list, which would keep all results until the last one.
                batch = [rest.pop(0)]
                try:
                    await self._run_batch(work, batch)
                finally:
                    _cancel(batch)
        finally:
            _cancel(rest)

    async def _try(self, work: BatchFunction, batch: list[_Waiting]) -> Sequence[Any] | Exception:
        try:
            return await self._run(work, [item for item, _ in batch]) if batch else ()
        except Exception as exc:  # noqa: BLE001  # Any error is the outcome of the callers.
            return exc


class Arrivals:
    """Detects whether work arrives alone, or together with other work in one iteration of the event loop.

    For several items a batch takes less time than their work one by one. For one item it takes more.
    """

    def __init__(self) -> None:
        self._are_together = False
        self._are_large = False
        self._is_first = True

    def is_joined(self) -> bool:
        """Record an arrival, and return whether it should wait for a batch."""
        if self._are_large:
            return False
        if self._are_together:
            return True
        if self._is_first:
            self._is_first = False
            asyncio.get_running_loop().call_soon(self._end_iteration)
            return False
        self._are_together = True
        return True

    def record_batch(self, size: int) -> None:
        """Record the size of a batch: after an item that waited alone, the next one does not wait."""
        self._are_together = size > 1

    def record_large(self) -> None:
        """Record a large result: for `LARGE_SECONDS`, no item waits for a batch, which would hold several of them."""
        if not self._are_large:
            self._are_large = True
            asyncio.get_running_loop().call_later(LARGE_SECONDS, self._end_large, context=Context())

    def _end_large(self) -> None:
        self._are_large = False

    def _end_iteration(self) -> None:
        self._is_first = True


async def _wait_while_growing(waiting: deque[_Waiting], enough: int) -> None:
    """Return when an iteration of the event loop has added no item, or there are enough.

    The requests that the loop has already received cost less in this batch than in the next one.
    """
    size = 0
    while size < len(waiting) < enough:
        size = len(waiting)
        await asyncio.sleep(0)


def _cancel(left: list[_Waiting]) -> None:
    """Let no caller wait forever. Only an error in our code, or a cancellation, leaves one without a result."""
    for _, future in left:
        future.cancel()


def _settle(batch: list[_Waiting], outcomes: Sequence[Any] | Exception) -> None:
    """Set the result of each caller that has one, or the error for all of them."""
    results = [outcomes] * len(batch) if isinstance(outcomes, Exception) else outcomes
    # There may be fewer results than callers.
    for (_, future), outcome in zip(batch, results, strict=False):
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
