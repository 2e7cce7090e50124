"""Wait in a test for a condition that has no event."""

import asyncio
import threading
import time
from collections.abc import Callable

LIMIT_SECONDS = 60
INTERVAL_SECONDS = 0.02
"""Seconds between two looks at another process, which needs the processor meanwhile."""


def block_until(condition: Callable[[], object]) -> None:
    """Return when the condition is true. Fail after `LIMIT_SECONDS`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not reached within {LIMIT_SECONDS} s"
        threading.Event().wait(INTERVAL_SECONDS)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition is true. Fail after `LIMIT_SECONDS`."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110  # There is no event.
            await asyncio.sleep(0.001)
