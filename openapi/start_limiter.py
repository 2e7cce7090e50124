"""Limit the requests that start in one iteration of the event loop, so that a burst does not delay other tasks."""

import asyncio
from collections import deque

STARTS_PER_ITERATION = 4
"""Each request occupies the event loop for half a millisecond or more before it first waits."""


class StartLimiter:
    """Starts at most `STARTS_PER_ITERATION` requests per iteration of the event loop, first come, first served."""

    def __init__(self) -> None:
        self._left = STARTS_PER_ITERATION
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    async def wait_for_start(self) -> None:
        """Return at once, or in the first iteration that has a start left."""
        # Looking up the loop is a system call in Python 3.11, so most requests do without it.
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_iteration)
        if self._left:
            self._left -= 1
            return
        start = asyncio.get_running_loop().create_future()
        self._waiting.append(start)
        await start

    def _begin_iteration(self) -> None:
        self._left = STARTS_PER_ITERATION
        while self._left and self._waiting:
            start = self._waiting.popleft()
            if not start.done():
                self._left -= 1
                start.set_result(None)
        self._is_scheduled = self._left < STARTS_PER_ITERATION
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._begin_iteration)
