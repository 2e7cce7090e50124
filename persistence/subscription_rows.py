"""Read and change the rows of a system's subscriptions as one set.

Each statement takes one JSON document, regardless of the number of rows, because databases limit the number of bound
parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from domain.subscriptions import Identity, MessageType, Offer, Subscription
from persistence.database import to_json
from persistence.tables import allowed_subscriptions, message_types
from persistence.tables import subscriptions as table

PART = 500
"""Rows that are fetched or encoded as JSON together."""


@dataclass(frozen=True, slots=True)
class CurrentSet:
    """The current set of a system, and the ids of its rows."""

    subscriptions: Mapping[Identity, Subscription]
    ids: Mapping[Identity, int]


def read(connection: sa.Connection, system_id: str) -> CurrentSet:
    """Return the current set of a system by identity."""
    subscriptions, ids = {}, {}
    # Fetch in parts: short-lived rows should not occupy the garbage collector.
    for part in connection.execute(_SELECT, {"system_id": system_id}).partitions(PART):
        for id_, org_type, org_code, entity_type, webhook_url, start, end in part:
            identity = Identity(org_type, org_code, entity_type)
            subscriptions[identity] = Subscription(identity, webhook_url, _parse_time(start), end and _parse_time(end))
            ids[identity] = id_
    return CurrentSet(subscriptions, ids)


def to_array(subscription: Subscription) -> list[Any]:
    """Return a subscription as a JSON array: identity, path, start and end (in UTC)."""
    end = subscription.end
    return [
        *subscription.identity,
        subscription.webhook_url,
        _format_time(subscription.start),
        None if end is None else _format_time(end),
    ]


def read_offer(connection: sa.Connection, entity_types: Iterable[int]) -> Offer:
    """Return the operator's configuration of these message types."""
    types, allowed = {}, set()
    for row in connection.execute(_OFFER[connection.dialect.name], {"rows": to_json(list(entity_types))}):
        types[row.entity_type] = MessageType(row.entity_type, row.name, row.start_date, row.end_date)
        allowed.add((row.org_type, row.entity_type))
    return Offer(types, allowed)


def count_messages(connection: sa.Connection, subscription_ids: Sequence[int]) -> int:
    """Return the number of undelivered messages of these subscriptions."""
    return int(_execute(connection, _COUNT_MESSAGES, subscription_ids).scalar_one())


def delete(connection: sa.Connection, subscription_ids: Sequence[int]) -> int:
    """Delete subscriptions with their undelivered messages. Return the number of these messages.

    Claims of workers do not block the deletion: a claim is a column of the row and is deleted with it.
    """
    # No message can be queued for a locked subscription, so the count is complete. All transactions lock subscriptions
    # in the order of their ids, which prevents deadlocks.
    _execute(connection, _LOCK, subscription_ids)
    dropped = _execute(connection, _DELETE_MESSAGES, subscription_ids).rowcount
    _execute(connection, _DELETE, subscription_ids)
    return dropped


def update(connection: sa.Connection, subscriptions: Iterable[list[Any]], ids: Iterable[int]) -> None:
    """Update the subscriptions with these ids (as arrays of `to_array`) in place, so that they keep their queues."""
    _execute(connection, _UPDATE, [[*row, id_] for row, id_ in zip(subscriptions, ids, strict=True)])


def insert(connection: sa.Connection, system_id: str, subscriptions: Sequence[list[Any]]) -> None:
    """Insert subscriptions, given as arrays of `to_array`."""
    _execute(connection, _INSERT, subscriptions, system_id=system_id)


_SELECT = sa.select(
    table.c.id,
    table.c.org_type,
    table.c.org_code,
    table.c.entity_type,
    table.c.webhook_url,
    # Read the driver's values: conversion by the column type would double the time of the query.
    sa.type_coerce(table.c.start_time, sa.types.NullType()),
    sa.type_coerce(table.c.end_time, sa.types.NullType()),
).where(table.c.system_id == sa.bindparam("system_id"))

_COUNT_MESSAGES = "select count(*) from deliveries where subscription_id in (select {id} from {rows})"
_LOCK = "select id from subscriptions where id in (select {id} from {rows}) order by id {for_update}"
_DELETE_MESSAGES = "delete from deliveries where subscription_id in (select {id} from {rows})"
_DELETE = "delete from subscriptions where id in (select {id} from {rows})"
_UPDATE = """
update subscriptions
set webhook_url = d.webhook_url, start_time = d.start_time, end_time = d.end_time
from (
    select value->>3 as webhook_url, {start} as start_time, {end} as end_time, cast(value->>6 as bigint) as id
    from {rows}
) as d
where subscriptions.id = d.id
"""
_INSERT = """
insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time, end_time)
select :system_id, cast(value->>0 as integer), cast(value->>1 as integer), cast(value->>2 as integer),
       value->>3, {start}, {end}
from {rows}
"""

_FRAGMENTS = {
    "sqlite": {
        "rows": "json_each(:rows)",
        "id": "value",
        "for_update": "",
        # SQLAlchemy's format on SQLite: without an offset.
        "start": "substr(value->>4, 1, 26)",
        "end": "substr(value->>5, 1, 26)",
    },
    "postgresql": {
        "rows": "jsonb_array_elements(cast(:rows as jsonb)) as r(value)",
        "id": "cast(value as bigint)",
        "start": "cast(value->>4 as timestamptz)",
        "end": "cast(value->>5 as timestamptz)",
        "for_update": "for update",
    },
}
"""The fragments that differ between the databases."""


def _offer_statement(dialect: str) -> sa.Select[Any]:
    fragments = _FRAGMENTS[dialect]
    given: sa.Select[Any] = sa.select(sa.literal_column(fragments["id"])).select_from(sa.text(fragments["rows"]))
    return (
        sa.select(message_types, allowed_subscriptions.c.org_type)
        .outerjoin(allowed_subscriptions, allowed_subscriptions.c.entity_type == message_types.c.entity_type)
        .where(message_types.c.entity_type.in_(given))
    )


_OFFER = {dialect: _offer_statement(dialect) for dialect in _FRAGMENTS}


def _execute(connection: sa.Connection, text: str, rows: Sequence[Any], **others: Any) -> sa.CursorResult[Any]:
    statement = sa.text(text.format(**_FRAGMENTS[connection.dialect.name]))
    if others:
        statement = statement.bindparams(sa.bindparam("system_id", type_=table.c.system_id.type))
    return connection.execute(statement, {"rows": _to_json(rows), **others})


def _to_json(rows: Sequence[Any]) -> str:
    # Encode in parts: the JSON encoder holds the GIL while it runs.
    parts = (to_json(rows[start : start + PART])[1:-1] for start in range(0, len(rows), PART))
    return f"[{','.join(parts)}]"


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "microseconds")


def _parse_time(stored: datetime | str) -> datetime:
    """Return the moment in a column, which is text without an offset on SQLite."""
    return datetime.fromisoformat(stored + "+00:00") if isinstance(stored, str) else stored
