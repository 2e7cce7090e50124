"""Run database work in tests that are not coroutines."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits


def run_with_database(url: str, work: Callable[[Database], Awaitable[Any]], waits: Waits | None = None) -> Any:
    """Open a database, run `work` on it, and return the result."""

    async def run() -> Any:
        database = open_database(url, waits)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
