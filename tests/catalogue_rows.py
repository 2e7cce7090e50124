"""Insert and delete rows of the operator's catalogue, and read the audit."""

from datetime import date, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from domain.audit import CATALOGUE, AuditEntry
from persistence import audit, tables
from persistence.database import Database
from persistence.work import short_write
from tests.databases import run_with_database
from tests.factories import NOW

ORG_TYPE = 1
"""An orgType that may subscribe to ALLOWED, OTHER and ENDED."""
ALLOWED = 202
OTHER = 203
ENDED = 204
"""A message type that has ended."""
NOT_ALLOWED = 205
"""A message type that no orgType may subscribe to."""
UNKNOWN = 987


def execute(url: str, *statements: Any) -> None:
    """Execute statements in one transaction."""
    run_with_database(url, lambda database: _execute(database, *statements))


async def _execute(database: Database, *statements: Any) -> None:
    def run(connection: sa.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    await database.write(short_write(run))


def put_message_types(url: str, *pairs: tuple[int, int]) -> None:
    """Store the message types of tests; with pairs of orgType and entityType, allow those and ENDED instead."""
    types = [(ALLOWED, None), (OTHER, None), (ENDED, date(2020, 12, 31)), (NOT_ALLOWED, None)]
    allowed = pairs or tuple((ORG_TYPE, entity_type) for entity_type in (ALLOWED, OTHER, ENDED))
    if pairs:
        types = [(entity_type, None) for entity_type in sorted({entity_type for _, entity_type in pairs})]
        types.append((ENDED, date(2020, 12, 31)))
        allowed = (*pairs, (ORG_TYPE, ENDED))
    execute(
        url,
        tables.message_types.insert().values(
            [
                {"entity_type": entity_type, "name": f"Type {entity_type}", "start_date": None, "end_date": end}
                for entity_type, end in types
            ]
        ),
        tables.allowed_subscriptions.insert().values(
            [{"org_type": org_type, "entity_type": entity_type} for org_type, entity_type in allowed]
        ),
    )


def put_system(url: str, system_id: str, *fingerprints: str) -> None:
    """Store a system that these certificates may access."""
    system = tables.systems.insert().values(
        id=system_id,
        name="A system of the tests",
        base_url="https://system.test/star",
        webhook_secrets=[],
        allow_private_addresses=False,
    )

    async def put(database: Database) -> None:
        await _execute(database, system, *(_insert_certificate(fingerprint, system_id) for fingerprint in fingerprints))
        # Write the audit entry that `budkavle apply` would write: a system without one makes the audit invalid.
        await audit.record(database, _apply_entry())

    run_with_database(url, put)


def put_parked_message(url: str, system_id: str, identity: tuple[int, ...], delivery_id: str) -> None:
    """Store a subscription of a system with a parked delivery."""
    org_type, org_code, entity_type = identity
    event_id = str(uuid4())

    def run(connection: sa.Connection) -> None:
        values = {"org_type": org_type, "org_code": org_code, "entity_type": entity_type, "webhook_url": "/webhook"}
        subscription = tables.subscriptions.insert().values(system_id=system_id, start_time=NOW, **values)
        (subscription_id,) = connection.execute(subscription).inserted_primary_key
        event = {"id": event_id, "created": NOW, "entity_type": entity_type, "content": "{}", "subscriptions": 1}
        connection.execute(tables.events.insert().values(publisher="tests", request_id="tests", **event))
        connection.execute(
            tables.deliveries.insert().values(
                id=delivery_id,
                event_id=event_id,
                subscription_id=subscription_id,
                system_id=system_id,
                state="parked",
                created=NOW,
                attempts=1,
            )
        )

    run_with_database(url, lambda database: database.write(short_write(run)))


def put_receipt(url: str, system_id: str, identity: tuple[int, ...], delivery_id: str, time: datetime) -> None:
    """Store the receipt of a message that a system accepted at a time."""
    org_type, org_code, entity_type = identity
    values = {
        "id": delivery_id,
        "event_id": str(uuid4()),
        "system_id": system_id,
        "org_type": org_type,
        "org_code": org_code,
        "entity_type": entity_type,
        "webhook_url": "/webhook",
        "accepted": NOW,
        "first_attempt": time,
        "last_attempt": time,
        "attempts": 1,
        "status": 200,
        "milliseconds": 20,
        "hash": "0f" * 32,
    }
    execute(url, tables.receipts.insert().values(values))


def remove_certificate(url: str, fingerprint: str) -> None:
    """Delete a certificate from the catalogue."""
    execute(url, tables.certificates.delete().where(tables.certificates.c.fingerprint == fingerprint))


def read_audit(url: str, request_id: str) -> list[Any]:
    """Return the audit entries of one request, oldest first."""
    pages = run_with_database(url, lambda database: audit.list_page(database, after=0, limit=100_000))
    return [item.entry for _, item in pages if item.entry.request_id == request_id]


def _apply_entry() -> AuditEntry:
    return AuditEntry(
        chain=CATALOGUE,
        kind="call",
        time=NOW,
        operation="apply",
        caller="-",
        outcome="changed",
        request_id="tests",
        detail={},
    )


def _insert_certificate(fingerprint: str, system_id: str) -> Any:
    return tables.certificates.insert().values(fingerprint=fingerprint, system_id=system_id)
