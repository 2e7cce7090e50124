"""Wait in a test for a condition that has no event."""

import asyncio
from collections.abc import Callable

LIMIT_SECONDS = 60


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition is true. Fail after `LIMIT_SECONDS`."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110  # There is no event.
            await asyncio.sleep(0.001)
