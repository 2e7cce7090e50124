"""Build events and claim deliveries for tests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from domain.audit import AuditEntry
from domain.deliveries import (
    Attempt,
    AttemptOutcome,
    ClaimedDelivery,
    DeliveredRequest,
    Reason,
    ReceiverResponse,
    decide_outcome,
)
from domain.events import Event
from persistence import outbox
from persistence.database import Database
from persistence.outbox import Publication, PublishResult
from persistence.queue import claims, due_deliveries
from persistence.queue.claims import Lease, SettledAttempt
from persistence.queue.due_deliveries import Capacity, LookMemory
from persistence.work import short_read
from tests.factories import NOW

LEASE = timedelta(seconds=30)
MOST_LOOKS = 50
SECOND = timedelta(seconds=1)
BODY_HASH = "0f" * 32


def build_event(**changes: Any) -> Event:
    values = {"id": str(uuid4()), "entity_type": 202, "org_type": 1, "org_code": 101, "change": 1, "created": NOW}
    return Event(**(values | changes))


def build_publication(published: Event) -> Publication:
    return Publication(published, "publisher", "request")


async def publish(database: Database, **changes: Any) -> PublishResult:
    return await outbox.publish(database, build_publication(build_event(**changes)))


def build_action(system_id: str, operation: str = "deliveries drop", time: datetime = NOW) -> AuditEntry:
    """Return the audit entry of an operation on deliveries of a system."""
    return AuditEntry(system_id, "call", time, operation, "anna", "changed", "r1", {})


def build_lease(holder: str = "worker", now: datetime = NOW) -> Lease:
    return Lease(holder, now, now + LEASE)


async def claim(
    database: Database, holder: str = "worker", now: datetime = NOW, **limits: Any
) -> Sequence[ClaimedDelivery]:
    return await claim_due(database, build_lease(holder, now), **limits)


async def claim_due(
    database: Database, lease: Lease, most: int = 100, of: Mapping[str, int] | None = None
) -> Sequence[ClaimedDelivery]:
    """Claim deliveries as a worker does; `of` limits the number per system, 0 for systems that it omits."""
    for _ in range(MOST_LOOKS):
        room = Capacity(most, most, frozenset(), frozenset())
        seen = await due_deliveries.look(database, lease.now, room, LookMemory())
        chosen, per_system = [], Counter[str]()
        for each in sorted(seen, key=lambda each: (each.due, each.number)):
            limit = most if of is None else of.get(each.target.system_id, 0)
            if not each.is_behind and per_system[each.target.system_id] < limit and len(chosen) < most:
                per_system[each.target.system_id] += 1
                chosen.append(each.number)
        behind = [each.number for each in seen if each.is_behind]
        claimed, set_aside = await claims.claim(database, lease, chosen, behind)
        if claimed or not set_aside:
            break
    return claimed


def build_settled(
    claimed: ClaimedDelivery, outcome: AttemptOutcome = AttemptOutcome.DONE, due: datetime | None = None
) -> SettledAttempt:
    responses = (ReceiverResponse(status, Reason.HTTP) for status in (503, 404, *range(200, 600)))
    status = next(response.status for response in responses if decide_outcome(response) is outcome)
    attempt = Attempt(claimed.attempts + 1, NOW, 20, status, Reason.HTTP, "answer")
    delivered = DeliveredRequest(claimed.webhook_url, BODY_HASH) if outcome is AttemptOutcome.DONE else None
    return SettledAttempt(claimed.number, outcome, attempt, due, delivered)


async def list_rows(database: Database, table: sa.Table) -> list[Mapping[str, Any]]:
    """Return all rows of a table, sorted by its first column."""

    @short_read
    def select(connection: sa.Connection) -> list[Mapping[str, Any]]:
        return [dict(row) for row in connection.execute(table.select().order_by(*table.primary_key)).mappings()]

    return await database.read(select)
