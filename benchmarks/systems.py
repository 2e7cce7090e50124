"""Systems, message types and sets of subscriptions for benchmarks that call the database directly."""

from datetime import UTC, datetime

import sqlalchemy as sa

from domain.audit import CATALOGUE, AuditEntry
from domain.callers import build_certificate_caller
from domain.subscriptions import Entry
from persistence import audit
from persistence.database import Database
from persistence.tables import allowed_subscriptions, certificates, message_types, systems
from persistence.work import short_write

SYSTEM_IDS = ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440001")
FINGERPRINT = "ab" * 32
CALLER = build_certificate_caller(FINGERPRINT)
ORG_TYPE = 7
ENTITY_TYPES = range(100, 150)
START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)


async def prepare(
    database: Database, fingerprint: str = FINGERPRINT, base_url: str = "https://receiver.example"
) -> None:
    """Fill an empty catalogue: one certificate has access to all systems, one orgType may subscribe to all types."""
    await database.write(short_write(_prepare), fingerprint, base_url)
    await audit.record(database, AuditEntry(CATALOGUE, "call", START, "apply", "-", "changed", "benchmark"))


def _prepare(connection: sa.Connection, fingerprint: str, base_url: str) -> None:
    system = {"base_url": base_url, "webhook_secrets": [], "allow_private_addresses": base_url.startswith("http:")}
    connection.execute(systems.insert(), [{"id": id_, "name": id_, **system} for id_ in SYSTEM_IDS])
    connection.execute(certificates.insert(), [{"fingerprint": fingerprint, "system_id": id_} for id_ in SYSTEM_IDS])
    connection.execute(message_types.insert(), [{"entity_type": number, "name": "A type"} for number in ENTITY_TYPES])
    pairs = [{"org_type": ORG_TYPE, "entity_type": number} for number in ENTITY_TYPES]
    connection.execute(allowed_subscriptions.insert(), pairs)


def build_entries(count: int, path: str = "/webhook", first_code: int = 0) -> list[Entry]:
    """Return `count` entries of a request, each with its own orgCode."""
    types = len(ENTITY_TYPES)
    return [
        Entry(index, ORG_TYPE, first_code + index, ENTITY_TYPES[index % types], path, START, END)
        for index in range(count)
    ]
