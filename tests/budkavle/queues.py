"""Publish events to the queue of a database, for tests that are not coroutines."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from budkavle.clock import now
from budkavle.ids import create_id
from domain.callers import build_certificate_caller
from domain.deliveries import QueuedDelivery
from domain.events import Event
from domain.subscriptions import Entry
from persistence import catalogue, deliveries, outbox, subscriptions
from persistence.catalogue import Apply
from persistence.database import Database
from persistence.outbox import Publication
from persistence.subscriptions import SyncCall
from tests import catalogues
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.persistence.catalogues import START


def subscribe(url: str, base_url: str = "http://127.0.0.1:9", *system_ids: str, **changes: Any) -> None:
    """Store systems (one by default) with a receiver at that URL, subscribed to type 202 of organisation 1/101."""

    async def put(database: Database) -> None:
        ids = system_ids or (SYSTEM_ID,)
        systems = [
            catalogues.build_system(id_, base_url=base_url, allow_private_addresses=True, **changes) for id_ in ids
        ]
        await catalogue.apply(database, Apply(catalogues.build_catalogue(*systems), now(), create_id()))
        for id_ in ids:
            entry = Entry(0, 1, 101, 202, "/webhook", START)
            caller = build_certificate_caller(min(systems[0].certificates))
            await subscriptions.sync(database, SyncCall(id_, [entry], now(), caller, create_id()))

    run_with_database(url, put)


def publish(url: str, count: int = 1, created: datetime | None = None, **changes: Any) -> list[str]:
    """Publish that number of events and return their ids."""

    async def put(database: Database) -> list[str]:
        values = {"entity_type": 202, "org_type": 1, "org_code": 101, "change": 1, "created": created or now()}
        events = [Event(**({"id": str(uuid4())} | values | changes)) for _ in range(count)]
        for event in events:
            await outbox.publish(database, Publication(event, "tests", create_id()))
        return [event.id for event in events]

    ids: list[str] = run_with_database(url, put)
    return ids


def list_queue(url: str) -> list[QueuedDelivery]:
    """Return the queued deliveries, oldest first."""
    found: list[QueuedDelivery] = run_with_database(
        url, lambda database: deliveries.list_page(database, None, None, 0, 10_000)
    )
    return found
