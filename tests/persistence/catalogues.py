"""Build systems, message types and entries for tests of the sync."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from domain.audit import CATALOGUE, AuditEntry
from domain.callers import build_certificate_caller
from domain.subscriptions import Entry, Identity, Subscription
from persistence import audit, subscriptions
from persistence.database import Database
from persistence.subscriptions import SyncCall, SyncResult
from persistence.tables import allowed_subscriptions, certificates, deliveries, events, message_types, systems
from persistence.tables import subscriptions as subscriptions_table
from persistence.work import short_read, short_write
from tests.factories import NOW
from tests.persistence.rows import build_delivery_row, build_event_row

SYSTEM_IDS = [str(UUID(int=number)) for number in range(1, 11)]
SYSTEM = SYSTEM_IDS[0]
FINGERPRINT = "ab" * 32
CALLER = build_certificate_caller(FINGERPRINT)
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)
ENTITY_TYPES = (202, 203)


async def prepare(database: Database) -> None:
    """Store a catalogue with systems of one certificate; orgType 1 may subscribe to all types, orgType 2 to none."""

    @short_write
    def insert(connection: sa.Connection) -> None:
        system = {"base_url": "https://receiver.example", "webhook_secrets": [], "allow_private_addresses": False}
        connection.execute(systems.insert(), [{"id": id_, "name": id_, **system} for id_ in SYSTEM_IDS])
        rows = [{"fingerprint": FINGERPRINT, "system_id": id_} for id_ in SYSTEM_IDS]
        connection.execute(certificates.insert(), rows)
        connection.execute(message_types.insert(), [{"entity_type": number, "name": "A"} for number in ENTITY_TYPES])
        allowed = [{"org_type": 1, "entity_type": number} for number in ENTITY_TYPES]
        connection.execute(allowed_subscriptions.insert(), allowed)

    await database.write(insert)
    await audit.record(database, AuditEntry(CATALOGUE, "call", NOW, "apply", "-", "changed", "r-0"))


def build_entry(index: int = 0, **changes: Any) -> Entry:
    values = {"org_type": 1, "org_code": 101, "entity_type": 202, "webhook_url": "/a", "start": START, "end": END}
    return Entry(index, **(values | changes))


def build_entries(count: int, **changes: Any) -> list[Entry]:
    """Return that number of entries, each with its own orgCode."""
    return [build_entry(index, org_code=index, **changes) for index in range(count)]


async def sync(database: Database, wanted: Iterable[Entry], system_id: str = SYSTEM, **changes: Any) -> SyncResult:
    values = {"now": NOW, "caller": CALLER, "request_id": "r-1"}
    return await subscriptions.sync(database, SyncCall(system_id, list(wanted), **(values | changes)))


def set_of(wanted: Iterable[Entry]) -> list[Subscription]:
    """Return the set of a system after a sync of these entries."""
    return sorted(
        (Subscription(Identity(e.org_type, e.org_code, e.entity_type), e.webhook_url, e.start, e.end) for e in wanted),
        key=lambda subscription: subscription.identity,
    )


async def queue_deliveries(database: Database, system_id: str, count: int, **changes: Any) -> None:
    """Queue that number of undelivered deliveries for each subscription of a system."""

    @short_write
    def insert(connection: sa.Connection) -> None:
        event = build_event_row(NOW)
        connection.execute(events.insert(), [event])
        ids = connection.execute(
            sa.select(subscriptions_table.c.id).where(subscriptions_table.c.system_id == system_id)
        ).scalars()
        rows = [build_delivery_row(event, system_id, id_, **changes) for id_ in ids for _ in range(count)]
        connection.execute(deliveries.insert(), rows)

    await database.write(insert)


async def map_ids(database: Database) -> dict[Identity, int]:
    """Return the ids of all subscriptions."""

    @short_read
    def select(connection: sa.Connection) -> dict[Identity, int]:
        found = connection.execute(sa.text("select org_type, org_code, entity_type, id from subscriptions"))
        return {Identity(*row[:3]): row[3] for row in found}

    return await database.read(select)


async def list_all_entries(database: Database) -> list[AuditEntry]:
    return [item.entry for _, item in await audit.list_page(database, after=0, limit=10_000)]
