"""Find what the service stores about a person, for an export, and erase it in bounded steps (decision 0036).

A step is a transaction, which also appends its entry to the audit, and each can be repeated. Events are erased before
their messages, since only the ids of the messages relate events to a person.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import RETENTION, AuditEntry
from domain.web_messages import MessageState
from persistence import audit
from persistence.database import Database
from persistence.deliveries import drop_stored
from persistence.idempotency_keys import forget_contents
from persistence.message_reads import destroy_stored_key
from persistence.publication_decisions import replace_by_trace
from persistence.queue.housekeeping import FIRST_EVENT, EventPosition
from persistence.tables import deliveries, events
from persistence.tables import web_messages as messages_table
from persistence.web_messages import delete_readable
from persistence.work import bulk_write, large_queue_write, large_read, long_write, short_write

PAGE = 500
"""Messages, or events, that one step reads."""

EVENTS_AT_ONCE = 100
"""Maximum events that one transaction erases."""


@dataclass(frozen=True, slots=True)
class PersonMessage:
    """A message to a person, in any state. `bytes` is the size of its files."""

    id: str
    state: MessageState
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PersonDelivery:
    """An undelivered delivery of an event about a person or a message to it. `content` is the JSON of the event."""

    id: str
    event_id: str
    system_id: str
    state: str
    created: datetime
    attempts: int
    content: str


@dataclass(frozen=True, slots=True)
class ErasedEvents:
    """Numbers of erased events and deliveries."""

    events: int
    deliveries: int


async def list_messages(database: Database, party_id: str) -> list[PersonMessage]:
    """Return the messages to a person in any state, by id, without their contents."""
    found: list[PersonMessage] = []
    while page := await database.read(_list_messages, party_id, found[-1].id if found else None):
        found += page
    return found


async def find_events(database: Database, identifiers: Collection[str]) -> list[str]:
    """Return the ids of stored events about one of these messages or persons, oldest first.

    Reads all events once, in pages: events have no index by what they are about, which each publication would pay for.
    """
    wanted, found = frozenset(identifiers), []
    position: EventPosition | None = FIRST_EVENT
    while position is not None:
        ids, position = await database.read(_find_events, wanted, position)
        found += ids
    return found


async def find_remaining_events(database: Database, event_ids: Sequence[str]) -> list[str]:
    """Return the ids of those events that are stored."""
    found: list[str] = []
    for start in range(0, len(event_ids), PAGE):
        found += await database.read(_find_remaining_events, event_ids[start : start + PAGE])
    return found


async def list_deliveries(database: Database, event_ids: Sequence[str]) -> list[PersonDelivery]:
    """Return the undelivered deliveries of events, oldest first for each `PAGE` of them."""
    found: list[PersonDelivery] = []
    for start in range(0, len(event_ids), PAGE):
        found += await database.read(_list_deliveries, event_ids[start : start + PAGE])
    return found


async def erase_events(database: Database, event_ids: Sequence[str], entry: AuditEntry) -> ErasedEvents:
    """Drop the deliveries of at most `EVENTS_AT_ONCE` events, and delete these events. Return the numbers.

    An event remains if another transaction has locked one of its deliveries. `entry` is appended to the audit with the
    numbers as its detail.
    """
    return await database.write(_erase_events, event_ids, entry)


async def erase_messages(database: Database, message_ids: Sequence[str], entry: AuditEntry) -> int:
    """Delete those of the messages that callers can read. Return their number, which is the detail of `entry`.

    Hashes of their contents are removed from their idempotency keys.
    """
    return await database.write(_erase_messages, message_ids, entry)


async def erase_in_doubt(database: Database, message_id: str, before: datetime, entry: AuditEntry) -> bool:
    """Replace a message in doubt by hashes of its content, until its outcome is known. Return whether it was in doubt.

    `before` is the time before which the call of a message that is still `sending` was sent.
    """
    return await database.write(_erase_in_doubt, message_id, before, entry)


async def record(database: Database, entry: AuditEntry) -> None:
    """Append an entry about a person, without its id."""
    await database.write(_record, entry)


async def forget_reads(database: Database, party_id: str, entry: AuditEntry) -> None:
    """Destroy the key of the recorded reads of a person, and append an entry."""
    await database.write(_forget_reads, party_id, entry)


_m = messages_table.c
_LIST = (
    sa.select(_m.id, _m.state, _m.attachments)
    .where(_m.party_id == sa.bindparam("party_id", type_=_m.party_id.type))
    .order_by(_m.id)
    .limit(PAGE)
)
_LIST_AFTER = _LIST.where(_m.id > sa.bindparam("after", type_=_m.id.type))
_EXTERNAL, _IDENTIFICATION = '"eksternIdentifier":"', '"identifikation":"'
_UUID_LENGTH = 36
_EVENT_IDS: sa.BindParameter[Any] = sa.bindparam("event_ids", expanding=True)


def _build_find_events(find: Any) -> sa.Select[Any]:
    """Return the query of a page of events, with `find(text, part)`, which returns the position of a part from 1.

    Functions for JSON would fail on PostgreSQL for texts with U+0000. Quotes within values are escaped.
    """
    after_created, after_id = (sa.bindparam(f"after_{name}", type_=events.c[name].type) for name in ("created", "id"))
    named = (
        sa.case(
            (
                find(events.c.content, name) > 0,
                sa.func.lower(sa.func.substr(events.c.content, find(events.c.content, name) + len(name), _UUID_LENGTH)),
            )
        )
        for name in (_EXTERNAL, _IDENTIFICATION)
    )
    return (
        sa.select(events.c.id, events.c.created, *named)
        .where(
            events.c.created >= after_created,
            sa.tuple_(events.c.created, events.c.id) > sa.tuple_(after_created, after_id),
        )
        .order_by(events.c.created, events.c.id)
        .limit(PAGE)
    )


_FIND_EVENTS = {"sqlite": _build_find_events(sa.func.instr), "postgresql": _build_find_events(sa.func.strpos)}
_LIST_DELIVERIES = (
    sa.select(
        deliveries.c.id,
        deliveries.c.event_id,
        deliveries.c.system_id,
        deliveries.c.state,
        deliveries.c.created,
        deliveries.c.attempts,
        events.c.content,
    )
    .join(events, events.c.id == deliveries.c.event_id)
    .where(deliveries.c.event_id.in_(_EVENT_IDS))
    .order_by(deliveries.c.number)
)
_REMAINING = sa.select(events.c.id).where(events.c.id.in_(_EVENT_IDS))
_DELIVERY_IDS = sa.select(deliveries.c.id).where(deliveries.c.event_id.in_(_EVENT_IDS))
_ERASE_EVENTS = events.delete().where(
    events.c.id.in_(_EVENT_IDS), ~sa.exists(sa.select(1).where(deliveries.c.event_id == events.c.id))
)


@large_read
def _list_messages(connection: sa.Connection, party_id: str, after: str | None) -> list[PersonMessage]:
    parameters = {"party_id": party_id} if after is None else {"party_id": party_id, "after": after}
    rows = connection.execute(_LIST if after is None else _LIST_AFTER, parameters)
    return [
        PersonMessage(
            row.id,
            MessageState(row.state),
            len(row.attachments),
            sum(size for _, _, _, size, _ in row.attachments),
        )
        for row in rows
    ]


@large_read
def _find_events(
    connection: sa.Connection, wanted: frozenset[str], after: EventPosition
) -> tuple[list[str], EventPosition | None]:
    parameters = {"after_created": after.created, "after_id": after.id}
    rows = connection.execute(_FIND_EVENTS[connection.dialect.name], parameters).all()
    found = [id_ for id_, _, *named in rows if not wanted.isdisjoint(named)]
    return found, EventPosition(rows[-1].created, rows[-1].id) if rows else None


@large_read
def _find_remaining_events(connection: sa.Connection, event_ids: Sequence[str]) -> list[str]:
    return list(connection.execute(_REMAINING, {"event_ids": list(event_ids)}).scalars())


@large_read
def _list_deliveries(connection: sa.Connection, event_ids: Sequence[str]) -> list[PersonDelivery]:
    rows = connection.execute(_LIST_DELIVERIES, {"event_ids": list(event_ids)}).mappings()
    return [PersonDelivery(**row) for row in rows]


@large_queue_write
def _erase_events(connection: sa.Connection, event_ids: Sequence[str], entry: AuditEntry) -> ErasedEvents:
    parameters = {"event_ids": list(event_ids)}
    dropped = drop_stored(connection, connection.execute(_DELIVERY_IDS, parameters).scalars().all(), entry.time)
    erased = ErasedEvents(connection.execute(_ERASE_EVENTS, parameters).rowcount, len(dropped))
    if erased.events or erased.deliveries:
        _record(connection, replace(entry, detail={"events": erased.events, "deliveries": erased.deliveries}))
    return erased


@bulk_write
def _erase_messages(connection: sa.Connection, message_ids: Sequence[str], entry: AuditEntry) -> int:
    number = len(delete_readable(connection, message_ids))
    forget_contents(connection, message_ids)
    if number:
        _record(connection, replace(entry, detail={"messages": number}))
    return number


@long_write
def _erase_in_doubt(connection: sa.Connection, message_id: str, before: datetime, entry: AuditEntry) -> bool:
    if replace_by_trace(connection, message_id, before) is None:
        return False
    forget_contents(connection, [message_id])
    _record(connection, replace(entry, detail={"inDoubt": 1}))
    return True


@short_write
def _forget_reads(connection: sa.Connection, party_id: str, entry: AuditEntry) -> None:
    destroy_stored_key(connection, party_id, entry.time)
    _record(connection, entry)


@short_write
def _record(connection: sa.Connection, entry: AuditEntry) -> None:
    audit.append(connection, RETENTION, audit.lock_chain(connection, RETENTION), [entry])
