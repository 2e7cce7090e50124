"""Work on a database from a test that is no coroutine."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits


def with_database(url: str, work: Callable[[Database], Awaitable[Any]], waits: Waits | None = None) -> Any:
    """What `work` returns, done on a database that is opened for it."""

    async def run() -> Any:
        database = open_database(url, waits)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
