"""The rows of a system's subscriptions: read as one set, changed as one set.

However many rows a statement is about, it takes one JSON document: databases limit how many values can be bound.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from domain.subscriptions import Catalogue, Identity, MessageType, Subscription, SyncPlan
from persistence.database import to_json
from persistence.tables import allowed_subscriptions, message_types
from persistence.tables import subscriptions as table


@dataclass(frozen=True, slots=True)
class Current:
    """The set of a system, and the ids of its rows."""

    subscriptions: Mapping[Identity, Subscription]
    ids: Mapping[Identity, int]

    def ids_of(self, subscriptions: Iterable[Subscription]) -> list[int]:
        """The ids of the rows of some of them, ascending."""
        return sorted(self.ids[subscription.identity] for subscription in subscriptions)


def read(connection: sa.Connection, system_id: str) -> Current:
    """The set of a system, by identity."""
    subscriptions, ids = {}, {}
    for id_, org_type, org_code, entity_type, webhook_url, start, end in connection.execute(
        _SELECT, {"system_id": system_id}
    ):
        identity = Identity(org_type, org_code, entity_type)
        subscriptions[identity] = Subscription(identity, webhook_url, start, end)
        ids[identity] = id_
    return Current(subscriptions, ids)


def read_catalogue(connection: sa.Connection, entity_types: Iterable[int]) -> Catalogue:
    """What the operator says of these types."""
    types, allowed = {}, set()
    for row in connection.execute(_CATALOGUE[connection.dialect.name], {"rows": to_json(list(entity_types))}):
        types[row.entity_type] = MessageType(row.entity_type, row.name, row.start_date, row.end_date)
        allowed.add((row.org_type, row.entity_type))
    return Catalogue(types, allowed)


def count_messages(connection: sa.Connection, subscription_ids: Sequence[int]) -> int:
    """How many undelivered messages these subscriptions have."""
    return int(_execute(connection, _COUNT_MESSAGES, subscription_ids).scalar_one())


def delete(connection: sa.Connection, subscription_ids: Sequence[int]) -> int:
    """Removes subscriptions with their undelivered messages, of which it returns the number.

    A claim of a worker is no obstacle: it is a mark in the row, and goes with it.
    """
    # Nobody puts a message on a queue whose subscription is locked, so that all are counted. In the order of the ids,
    # as whoever locks several must, so that no two wait for each other.
    _execute(connection, _LOCK, subscription_ids)
    dropped = _execute(connection, _DELETE_MESSAGES, subscription_ids).rowcount
    _execute(connection, _DELETE, subscription_ids)
    return dropped


def update(connection: sa.Connection, current: Current, plan: SyncPlan) -> None:
    """Changes subscriptions in place: their ids and their queues stay."""
    rows = [[current.ids[after.identity], *_values(connection, after)] for _, after in plan.updated]
    _execute(connection, _UPDATE, rows)


def insert(connection: sa.Connection, system_id: str, plan: SyncPlan) -> None:
    """Adds subscriptions."""
    rows = [[*after.identity, *_values(connection, after)] for after in plan.created]
    _execute(connection, _INSERT, rows, system_id=system_id)


_SELECT = sa.select(
    table.c.id,
    table.c.org_type,
    table.c.org_code,
    table.c.entity_type,
    table.c.webhook_url,
    table.c.start_time,
    table.c.end_time,
).where(table.c.system_id == sa.bindparam("system_id"))

_COUNT_MESSAGES = "select count(*) from deliveries where subscription_id in (select {id} from {rows})"
_LOCK = "select id from subscriptions where id in (select {id} from {rows}) order by id {for_update}"
_DELETE_MESSAGES = "delete from deliveries where subscription_id in (select {id} from {rows})"
_DELETE = "delete from subscriptions where id in (select {id} from {rows})"
_UPDATE = """
update subscriptions
set webhook_url = d.webhook_url, start_time = d.start_time, end_time = d.end_time
from (
    select cast(value->>0 as bigint) as id, value->>1 as webhook_url,
           {time_2} as start_time, {time_3} as end_time
    from {rows}
) as d
where subscriptions.id = d.id
"""
_INSERT = """
insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time, end_time)
select :system_id, cast(value->>0 as integer), cast(value->>1 as integer), cast(value->>2 as integer),
       value->>3, {time_4}, {time_5}
from {rows}
"""

_DIALECTS = {
    "sqlite": {"rows": "json_each(:rows)", "id": "value", "time": "value->>{}", "for_update": ""},
    "postgresql": {
        "rows": "jsonb_array_elements(cast(:rows as jsonb)) as r(value)",
        "id": "cast(value as bigint)",
        "time": "cast(value->>{} as timestamptz)",
        "for_update": "for update",
    },
}
"""How each database says it."""


def _catalogue_statement(dialect: str) -> sa.Select[Any]:
    says = _DIALECTS[dialect]
    given: sa.Select[Any] = sa.select(sa.literal_column(says["id"])).select_from(sa.text(says["rows"]))
    return (
        sa.select(message_types, allowed_subscriptions.c.org_type)
        .outerjoin(allowed_subscriptions, allowed_subscriptions.c.entity_type == message_types.c.entity_type)
        .where(message_types.c.entity_type.in_(given))
    )


_CATALOGUE = {dialect: _catalogue_statement(dialect) for dialect in _DIALECTS}


def _execute(connection: sa.Connection, text: str, rows: Sequence[Any], **others: Any) -> sa.CursorResult[Any]:
    says = _DIALECTS[connection.dialect.name]
    times = {f"time_{place}": says["time"].format(place) for place in range(2, 6)}
    statement = sa.text(text.format(**says, **times))
    if others:
        statement = statement.bindparams(sa.bindparam("system_id", type_=table.c.system_id.type))
    return connection.execute(statement, {"rows": to_json(rows), **others})


def _values(connection: sa.Connection, subscription: Subscription) -> list[str | None]:
    start, end = subscription.start, subscription.end
    if connection.dialect.name == "sqlite":
        return [subscription.webhook_url, _sqlite_time(start), None if end is None else _sqlite_time(end)]
    return [subscription.webhook_url, start.isoformat(), None if end is None else end.isoformat()]


def _sqlite_time(moment: datetime) -> str:
    """What SQLAlchemy writes itself: text without an offset."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
