"""Pauses of deliveries: order, end and list them. The queue applies them (`persistence/queue/due_deliveries.py`)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import AuditEntry
from domain.delivery_pauses import DeliveryPause
from domain.errors import NotFound
from domain.operator_webhook import OperatorEvent, OperatorEventType
from domain.subscriptions import Identity
from persistence import audit, operator_events
from persistence.database import Database
from persistence.operator_events import NewId
from persistence.tables import delivery_pauses as table
from persistence.tables import subscriptions, systems
from persistence.work import short_read, short_write

PAUSE, RESUME = "deliveries pause", "deliveries resume"
"""The operations of the commands in the audit."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of an operator: the system, its subscription or None, the operator, and the data for the audit.

    `event_id` is the id of the event for operators.
    """

    system_id: str
    identity: Identity | None
    operator: str
    now: datetime
    request_id: str
    event_id: str


async def pause(database: Database, command: Command, until: datetime | None) -> DeliveryPause:
    """Pause deliveries, or change the end of a pause, and audit it in the chain of the system.

    Raises `NotFound` for an unknown system or subscription.
    """
    async with database.locks.hold(command.system_id):
        return await database.write(_pause, command, until)


async def resume(database: Database, command: Command) -> list[DeliveryPause]:
    """End a pause and audit it in the chain of the system. Return the other pauses of the system that are in force.

    Raises `NotFound` if there is no such pause.
    """
    async with database.locks.hold(command.system_id):
        return await database.write(_resume, command)


async def list_pauses(database: Database, now: datetime, system_id: str | None = None) -> list[DeliveryPause]:
    """Return the pauses that are in force, by system and subscription."""
    return await database.read(list_in_force, now, system_id)


async def remove_ended(database: Database, now: datetime, new_id: NewId | None = None) -> list[DeliveryPause]:
    """Delete the pauses that have ended by themselves, and return them. Of several workers one gets each pause.

    With `new_id`, store an event for operators for each.
    """
    if not await database.read(_have_ended, now):
        return []
    return await database.write(_remove_ended, now, new_id)


def is_in_force(pauses: sa.FromClause, now: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a row of the table is a pause that has not ended."""
    return sa.or_(pauses.c.until.is_(None), pauses.c.until > now)


_ORDER = (table.c.system_id, table.c.org_type, table.c.org_code, table.c.entity_type)


@short_write
def _pause(connection: sa.Connection, command: Command, until: datetime | None) -> DeliveryPause:
    head = audit.lock_chain(connection, command.system_id)
    _check_exists(connection, command)
    # The lock of the chain serialises the commands about a system.
    [*earlier] = connection.execute(table.delete().where(_is_of(command)).returning(table))
    in_force = [row.since for row in earlier if row.until is None or row.until > command.now]
    ordered = DeliveryPause(command.system_id, command.identity, min([command.now, *in_force]), until, command.operator)
    org_type, org_code, entity_type = command.identity or (None, None, None)
    connection.execute(
        table.insert(),
        {
            "system_id": ordered.system_id,
            "org_type": org_type,
            "org_code": org_code,
            "entity_type": entity_type,
            "since": ordered.since,
            "until": until,
            "operator": command.operator,
        },
    )
    detail = {"until": None if until is None else until.isoformat(timespec="milliseconds")}
    audit.append(connection, command.system_id, head, [_build_entry(command, PAUSE, detail)])
    event = _build_event(OperatorEventType.PAUSED, ordered, command.now, command.event_id)
    operator_events.store(connection, [event])
    return ordered


@short_write
def _resume(connection: sa.Connection, command: Command) -> list[DeliveryPause]:
    head = audit.lock_chain(connection, command.system_id)
    delete = table.delete().where(_is_of(command), is_in_force(table, command.now))
    ended = [_to_pause(row) for row in connection.execute(delete.returning(table))]
    if not ended:
        # Roll back: a chain without entries would be invalid.
        others = ", ".join(map(_describe, list_in_force(connection, command.now, command.system_id)))
        raise NotFound(f"{_describe(command)} is not paused" + (f"; paused: {others}" if others else ""))
    audit.append(connection, command.system_id, head, [_build_entry(command, RESUME, {})])
    event = _build_event(OperatorEventType.RESUMED, ended[0], command.now, command.event_id)
    operator_events.store(connection, [event])
    return list_in_force(connection, command.now, command.system_id)


@short_read
def list_in_force(connection: sa.Connection, now: datetime, system_id: str | None) -> list[DeliveryPause]:
    """Do the work of `list_pauses`."""
    select = table.select().where(is_in_force(table, now)).order_by(*_ORDER)
    if system_id is not None:
        select = select.where(table.c.system_id == system_id)
    return [_to_pause(row) for row in connection.execute(select)]


@short_read
def _have_ended(connection: sa.Connection, now: datetime) -> bool:
    return connection.execute(sa.select(table.c.number).where(table.c.until <= now).limit(1)).first() is not None


@short_write
def _remove_ended(connection: sa.Connection, now: datetime, new_id: NewId | None) -> list[DeliveryPause]:
    ended = [_to_pause(row) for row in connection.execute(table.delete().where(table.c.until <= now).returning(table))]
    if new_id is not None:
        events = [_build_event(OperatorEventType.RESUMED, pause, pause.until or now, new_id()) for pause in ended]
        operator_events.store(connection, events)
    return ended


def _check_exists(connection: sa.Connection, command: Command) -> None:
    select = sa.select(sa.literal(1)).where(systems.c.id == command.system_id)
    if command.identity is not None:
        org_type, org_code, entity_type = command.identity
        select = sa.select(sa.literal(1)).where(
            subscriptions.c.system_id == command.system_id,
            subscriptions.c.org_type == org_type,
            subscriptions.c.org_code == org_code,
            subscriptions.c.entity_type == entity_type,
        )
    if connection.execute(select).first() is None:
        raise NotFound(f"there is no {_describe(command)}")


def _is_of(command: Command) -> sa.ColumnElement[bool]:
    """Return the condition that a row is the pause that a command is about."""
    if command.identity is None:
        return (table.c.system_id == command.system_id) & table.c.org_type.is_(None)
    org_type, org_code, entity_type = command.identity
    return sa.and_(
        table.c.system_id == command.system_id,
        table.c.org_type == org_type,
        table.c.org_code == org_code,
        table.c.entity_type == entity_type,
    )


def _describe(subject: Command | DeliveryPause) -> str:
    if subject.identity is None:
        return f"system {subject.system_id}"
    return f"subscription {'/'.join(map(str, subject.identity))} of system {subject.system_id}"


def _build_entry(command: Command, operation: str, detail: dict[str, Any]) -> AuditEntry:
    identity = None if command.identity is None else list(command.identity)
    return AuditEntry(
        chain=command.system_id,
        kind="call",
        time=command.now,
        operation=operation,
        caller=command.operator,
        outcome="changed",
        request_id=command.request_id,
        detail={"subscription": identity, **detail},
    )


def _build_event(type_: OperatorEventType, pause: DeliveryPause, created: datetime, event_id: str) -> OperatorEvent:
    until = pause.until if type_ is OperatorEventType.PAUSED else None
    return OperatorEvent(event_id, type_, pause.system_id, created, pause.identity, pause.since, until)


def _to_pause(row: Any) -> DeliveryPause:
    identity = None if row.org_type is None else Identity(row.org_type, row.org_code, row.entity_type)
    return DeliveryPause(row.system_id, identity, row.since, row.until, row.operator)
