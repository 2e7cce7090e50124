"""Systems that are failing: find them, and store an event for operators once per episode."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.deliveries import DeliveryState
from domain.operator_webhook import OperatorEvent, OperatorEventType
from persistence.database import Database
from persistence.delivery_pauses import is_in_force
from persistence.operator_events import NewId, store
from persistence.tables import attempts, deliveries, delivery_pauses, receipts, subscriptions
from persistence.tables import failing_systems as table
from persistence.work import short_read, short_write


async def find_failing(database: Database, failed: Mapping[str, int], now: datetime) -> dict[str, datetime]:
    """Return since when systems have been failing.

    `failed` maps systems to a delivery of each whose last attempt failed. The result has those whose delivery still
    waits and is not paused, with the time of its first attempt after the last delivery that the system accepted, if
    there is one.
    """
    return await database.read(_find_failing, failed, now) if failed else {}


async def report_failing(database: Database, since: Mapping[str, datetime], now: datetime, new_id: NewId) -> set[str]:
    """Store an event for each of these systems that is not reported as failing yet. Return these."""
    return await database.write(_report_failing, since, now, new_id) if since else set()


async def report_recovered(database: Database, now: datetime, new_id: NewId) -> set[str]:
    """Store an event for each reported system that has accepted a delivery since. Return these systems."""
    if not await database.read(_has_recovered):
        return set()
    return await database.write(_report_recovered, now, new_id)


@short_read
def _find_failing(connection: sa.Connection, failed: Mapping[str, int], now: datetime) -> dict[str, datetime]:
    last_success = (
        sa.select(sa.func.max(receipts.c.last_attempt))
        .where(receipts.c.system_id == deliveries.c.system_id)
        .correlate(deliveries)
        .scalar_subquery()
    )
    first = (
        sa.select(sa.func.min(attempts.c.time))
        .where(attempts.c.delivery == deliveries.c.number, last_success.is_(None) | (attempts.c.time > last_success))
        .scalar_subquery()
    )
    is_paused = sa.exists(
        sa.select(sa.literal(1)).where(
            delivery_pauses.c.system_id == deliveries.c.system_id,
            sa.or_(
                delivery_pauses.c.org_type.is_(None),
                sa.and_(
                    delivery_pauses.c.org_type == subscriptions.c.org_type,
                    delivery_pauses.c.org_code == subscriptions.c.org_code,
                    delivery_pauses.c.entity_type == subscriptions.c.entity_type,
                ),
            ),
            is_in_force(delivery_pauses, now),
        )
    )
    select = (
        sa.select(deliveries.c.system_id, first.label("first"))
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(
            deliveries.c.number.in_(failed.values()),
            deliveries.c.state == str(DeliveryState.WAITING),
            deliveries.c.attempts > 0,
            ~is_paused,
        )
    )
    return {row.system_id: row.first for row in connection.execute(select) if row.first is not None}


@short_write
def _report_failing(
    connection: sa.Connection, failing: Mapping[str, datetime], now: datetime, new_id: NewId
) -> set[str]:
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    statement = insert.on_conflict_do_nothing().returning(table.c.system_id)
    events = []
    for system_id, since in sorted(failing.items()):
        if connection.execute(statement, {"system_id": system_id, "since": since}).first() is not None:
            events.append(OperatorEvent(new_id(), OperatorEventType.FAILING, system_id, now, since=since))
    store(connection, events)
    return {event.system_id for event in events}


_ACCEPTED_SINCE = sa.exists(
    sa.select(sa.literal(1)).where(receipts.c.system_id == table.c.system_id, receipts.c.last_attempt > table.c.since)
)


@short_read
def _has_recovered(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(table).where(_ACCEPTED_SINCE)).first() is not None


@short_write
def _report_recovered(connection: sa.Connection, now: datetime, new_id: NewId) -> set[str]:
    ended = connection.execute(table.delete().where(_ACCEPTED_SINCE).returning(table)).all()
    events = [
        OperatorEvent(new_id(), OperatorEventType.RECOVERED, row.system_id, now, since=row.since) for row in ended
    ]
    store(connection, events)
    return {event.system_id for event in events}
