"""Run one function as each kind of work."""

from collections.abc import Callable
from typing import Any

from persistence import work
from persistence.database import Database

READS = (work.short_read, work.large_read, work.long_read, work.queue_read)
WRITES = (
    work.short_write,
    work.bulk_write,
    work.large_write,
    work.long_write,
    work.queue_write,
    work.large_queue_write,
)


async def run_as(declare: Callable[..., Any], database: Database, function: Callable[..., Any], *args: Any) -> Any:
    """Declare a function by one of the functions of `persistence.work`, and run it."""
    run = database.read if declare in READS else database.write if declare in WRITES else database.mark
    return await run(declare(function), *args)
