"""Events for operators: store them in the transaction that causes them, claim them, and record the outcome of a call.

There are at most two pending events of a type and system or subscription: one that later ones join (`is_gathering`),
and one that has been attempted. Nothing that delivers waits for more than a commit of such an event.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.deliveries import DeliveryState
from domain.operator_webhook import MAX_PARKED, OperatorEvent, OperatorEventType
from domain.subscriptions import Identity
from persistence.database import Database
from persistence.tables import deliveries, failing_systems, systems
from persistence.tables import operator_events as table
from persistence.work import large_read, short_read, short_write

GATHERING = timedelta(seconds=10)
"""Time between the first parked delivery of a system and the call, so that one call is for many."""

PARKED_EVERY = timedelta(minutes=15)
"""Minimum time between two calls about parked deliveries of a system."""

GIVEN_UP_AFTER = timedelta(hours=24)
"""Age at which a pending event is dropped."""

NewId = Callable[[], str]


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """An event that this process must send. `attempts` is the number of calls, including the next one."""

    event: OperatorEvent
    system_name: str | None
    attempts: int


async def claim(database: Database, now: datetime, until: datetime, limit: int) -> list[ClaimedEvent]:
    """Claim at most `limit` due events until a time, oldest first. Others may claim them again after that time."""
    if not await database.read(_has_due, now):
        return []
    return await database.write(_claim, now, until, limit)


async def mark_sent(database: Database, event_id: str, now: datetime) -> None:
    """Record that an event has arrived."""
    await database.write(_mark_sent, event_id, now)


async def postpone(database: Database, event_id: str, due: datetime) -> None:
    """Send an event again at that time."""
    await database.write(_postpone, event_id, due)


async def prune(database: Database, now: datetime) -> int:
    """Delete old events. Return the number of those that never arrived."""
    return await database.write(_prune, now)


async def count_parked(database: Database, system_id: str) -> int:
    """Return the number of parked deliveries of a system, at most `MAX_PARKED`."""
    return await database.read(_count_parked, system_id)


def store(connection: sa.Connection, events: Sequence[OperatorEvent]) -> None:
    """Store events at the end of a transaction. An event that is still gathering has the latest values.

    This is the last statement of a transaction, so that one that waits for the same row waits for its commit alone.
    """
    rows = [_build_row(event, event.created) for event in sorted(events, key=lambda each: each.system_id)]
    insert = _insert(connection)
    latest = {name: insert.excluded[name] for name in ("created", "since", "until")}
    statement = insert.on_conflict_do_update(index_elements=_KEY, index_where=_IS_GATHERING, set_=latest)
    for row in rows:
        connection.execute(statement, row)


def store_parked(connection: sa.Connection, system_ids: set[str], now: datetime, new_id: NewId) -> None:
    """Store an event for each system with parked deliveries, unless one is gathering. See `store` for the order."""
    events = [OperatorEvent(new_id(), OperatorEventType.PARKED, system_id, now) for system_id in sorted(system_ids)]
    statement = _insert(connection).on_conflict_do_nothing(index_elements=_KEY, index_where=_IS_GATHERING)
    for event in events:
        connection.execute(statement, _build_row(event, now + GATHERING))


_KEY = ["type", "system_id", "subscription"]
_IS_GATHERING = sa.text("is_gathering")
_pending = table.alias("pending")
_now = sa.bindparam("now", type_=table.c.due.type)
# Another event of the same kind is being sent, or has just been sent.
_MUST_WAIT = sa.exists(
    sa.select(sa.literal(1)).where(
        _pending.c.type == table.c.type,
        _pending.c.system_id == table.c.system_id,
        _pending.c.subscription == table.c.subscription,
        ~_pending.c.is_gathering,
        _pending.c.sent.is_(None)
        | (
            (_pending.c.type == str(OperatorEventType.PARKED))
            & (_pending.c.sent > sa.bindparam("recent", type_=table.c.due.type))
        ),
    )
)
_SOME_DUE = sa.select(sa.literal(1)).select_from(table).where(table.c.due <= _now).limit(1)
_DUE = (
    sa.select(table.c.id)
    .where(table.c.due <= _now, ~table.c.is_gathering | ~_MUST_WAIT)
    .order_by(table.c.created, table.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer()))
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    table.update()
    .where(table.c.id.in_(_DUE))
    .values(due=sa.bindparam("claimed_until"), attempts=table.c.attempts + 1, is_gathering=False)
    .returning(
        table, sa.select(systems.c.name).where(systems.c.id == table.c.system_id).scalar_subquery().label("name")
    )
)


@short_read
def _has_due(connection: sa.Connection, now: datetime) -> bool:
    return connection.execute(_SOME_DUE, {"now": now}).first() is not None


@short_write
def _claim(connection: sa.Connection, now: datetime, until: datetime, limit: int) -> list[ClaimedEvent]:
    parameters = {"now": now, "recent": now - PARKED_EVERY, "most": limit, "claimed_until": until}
    rows = connection.execute(_CLAIM, parameters).all()
    return [
        ClaimedEvent(_to_event(row), row.name, row.attempts)
        for row in sorted(rows, key=lambda row: (row.created, row.id))
    ]


@short_write
def _mark_sent(connection: sa.Connection, event_id: str, now: datetime) -> None:
    connection.execute(table.update().where(table.c.id == event_id).values(sent=now, due=None))


@short_write
def _postpone(connection: sa.Connection, event_id: str, due: datetime) -> None:
    connection.execute(table.update().where(table.c.id == event_id, table.c.sent.is_(None)).values(due=due))


@short_write
def _prune(connection: sa.Connection, now: datetime) -> int:
    connection.execute(table.delete().where(table.c.sent < now - PARKED_EVERY))
    is_known = sa.exists(sa.select(sa.literal(1)).where(systems.c.id == failing_systems.c.system_id))
    connection.execute(failing_systems.delete().where(~is_known))
    return connection.execute(
        table.delete().where(table.c.sent.is_(None), table.c.created < now - GIVEN_UP_AFTER)
    ).rowcount


@large_read
def _count_parked(connection: sa.Connection, system_id: str) -> int:
    parked = (
        sa.select(sa.literal(1))
        .where(deliveries.c.system_id == system_id, deliveries.c.state == str(DeliveryState.PARKED))
        .limit(MAX_PARKED)
        .subquery()
    )
    return connection.execute(sa.select(sa.func.count()).select_from(parked)).scalar_one()


def _insert(connection: sa.Connection) -> Any:
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def _build_row(event: OperatorEvent, due: datetime) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": str(event.type),
        "system_id": event.system_id,
        "subscription": "" if event.identity is None else "/".join(map(str, event.identity)),
        "created": event.created,
        "since": event.since,
        "until": event.until,
        "is_gathering": True,
        "due": due,
        "attempts": 0,
        "sent": None,
    }


def _to_event(row: Any) -> OperatorEvent:
    identity = Identity(*map(int, row.subscription.split("/"))) if row.subscription else None
    return OperatorEvent(
        row.id, OperatorEventType(row.type), row.system_id, row.created, identity, row.since, row.until
    )
