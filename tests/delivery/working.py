"""Run a worker on a database, with systems whose receivers are real."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from delivery.calls import ReceiverClient
from delivery.worker import Limits, Worker
from persistence import tables
from persistence.database import Database
from persistence.work import short_write
from tests.factories import NOW
from tests.open_e.peers import Peer
from tests.persistence.catalogues import SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import list_rows

SECOND = timedelta(seconds=1)
LIMITS = Limits(concurrency=50, receiver_concurrency=20)
PERSON: dict[str, Any] = {"identification_type": 1, "identification": "9999999901"}
StartPeer = Callable[[Any], Peer]


async def subscribe(database: Database, *bases: str) -> None:
    """Store systems with these base URLs, each with one subscription."""
    await prepare(database)

    @short_write
    def place(connection: sa.Connection) -> None:
        for system_id, base in zip(SYSTEM_IDS, bases, strict=False):
            change = tables.systems.update().where(tables.systems.c.id == system_id)
            connection.execute(change.values(base_url=base, allow_private_addresses=True))

    await database.write(place)
    for system_id, _ in zip(SYSTEM_IDS, bases, strict=False):
        await sync(database, [build_entry()], system_id)


@asynccontextmanager
async def running_worker(
    database: Database,
    holder: str = "worker",
    now: datetime = NOW,
    limits: Limits = LIMITS,
    new_event_id: Callable[[], str] | None = None,
    **options: Any,
) -> AsyncIterator[Worker]:
    calls = ReceiverClient(**options)
    worker = Worker(
        database, calls, limits, holder=holder, now=lambda: now, new_event_id=new_event_id, chance=lambda: 0.5
    )
    try:
        yield worker
    finally:
        await calls.close()


async def deliver_due(database: Database, now: datetime = NOW) -> int:
    """Deliver everything that is due at that time, and return the number of attempts."""
    async with running_worker(database, now=now) as worker:
        attempts = 0
        while started := await worker.run_once(now):
            attempts += started
            await worker.finish()
        return attempts


async def read_deliveries(database: Database) -> list[Any]:
    return await list_rows(database, tables.deliveries)
