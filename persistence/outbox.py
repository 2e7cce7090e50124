"""The outbox: store events and their deliveries to all matching subscriptions, in the transaction that accepts them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.errors import BudkavleError, Conflict, UnknownType
from domain.events import Event, build_order_key, write_content
from domain.subscriptions import COPENHAGEN
from persistence.database import Database, to_json
from persistence.prepared import PreparedStatement
from persistence.tables import UtcDateTime
from persistence.work import batched_write, bulk_write, short_read

WIDE = 20
"""On SQLite, an event with more subscribers is written outside the event loop."""

NO_LIMIT = 2**31 - 1
"""More subscriptions than an event can have."""


@dataclass(frozen=True, slots=True)
class Publication:
    """An event with its publisher and request."""

    event: Event
    publisher: str
    request_id: str
    trace_parent: str | None = None


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The result of a publication: the number of subscriptions, and whether the event was new."""

    event_id: str
    subscriptions: int
    is_new: bool


async def publish(database: Database, publication: Publication) -> PublishResult:
    """Accept an event, and create a delivery for each subscription that matches and is valid at its creation time.

    Idempotent: publishing the same event again changes nothing. Raises `Conflict` for a different event with the same
    id, and `UnknownType` for a message type that does not exist or has ended.
    """
    result = await database.write(_accept_all, publication)
    # Each delivery takes about 20 µs, during which the event loop would serve no other caller.
    return await database.write(_accept_wide, publication) if result is None else result


async def is_known_type(database: Database, entity_type: int, now: datetime) -> bool:
    """Return whether the message type exists and has not ended."""
    today = now.astimezone(COPENHAGEN).date()
    return await database.read(_is_known_type, {"entity_type": entity_type, "today": today})


def accept_on_sqlite(
    connection: sa.Connection, publications: Sequence[Publication], *, most: int = NO_LIMIT
) -> list[PublishResult | BudkavleError | None]:
    """Run `publish` for all items within the transaction of the caller, on SQLite.

    The result of an event with more than `most` subscriptions is None, and nothing is written for it.
    """
    results: list[PublishResult | BudkavleError | None] = []
    fanned_out = []
    for publication in publications:
        parameters = _build_parameters(publication)
        accepted = _ACCEPT.execute(connection, **parameters, most=most)
        if accepted:
            [(subscriptions,)] = accepted
            results.append(PublishResult(publication.event.id, subscriptions, is_new=True))
            if subscriptions:
                fanned_out.append(parameters)
            continue
        known = _KNOWN.execute(connection, id=publication.event.id)
        is_wide = not known and most < NO_LIMIT and bool(_IS_TYPE.execute(connection, **parameters))
        results.append(None if is_wide else _resolve_repetition(parameters, known))
    if fanned_out:
        _FAN_OUT.execute_many(connection, fanned_out)
    return results


@bulk_write
def _accept_wide(connection: sa.Connection, publication: Publication) -> PublishResult:
    [result] = accept_on_sqlite(connection, [publication])
    if isinstance(result, BudkavleError):
        raise result
    assert result is not None  # noqa: S101  # There is no limit.
    return result


@batched_write
def _accept_all(
    connection: sa.Connection, items: Sequence[Publication]
) -> Sequence[PublishResult | BudkavleError | None]:
    """Run `publish` for all items. On SQLite, the result of an event with many subscriptions is None."""
    if connection.dialect.name == "postgresql":
        return _accept_on_postgresql(connection, items)
    return accept_on_sqlite(connection, items, most=WIDE)


def _accept_on_postgresql(
    connection: sa.Connection, items: Sequence[Publication]
) -> list[PublishResult | BudkavleError]:
    """Run `publish` for all items in one statement. Of several items with the same id only one can be new."""
    parameters = [_build_parameters(publication) for publication in items]
    rows = [
        {**row, "place": place, "created": row["created"].isoformat(), "today": row["today"].isoformat()}
        for place, row in enumerate(parameters)
    ]
    accepted = {place: subscriptions for place, subscriptions in _ACCEPT_ALL.execute(connection, rows=to_json(rows))}  # noqa: C416  # mypy accepts no dict() of rows.
    repeated = [row["id"] for place, row in enumerate(parameters) if place not in accepted]
    found = _KNOWN_OF.execute(connection, ids=repeated) if repeated else []
    known = {id_: (content, subscriptions) for id_, content, subscriptions in found}
    return [
        PublishResult(row["id"], accepted[place], is_new=True)
        if place in accepted
        else _resolve_repetition(row, [known[row["id"]]] if row["id"] in known else [])
        for place, row in enumerate(parameters)
    ]


def _resolve_repetition(
    parameters: Mapping[str, Any], known: Sequence[Sequence[Any]]
) -> PublishResult | UnknownType | Conflict:
    """Return the result of an event that was not accepted, given content and result of the one with the same id."""
    if not known:
        return UnknownType()
    content, subscriptions = known[0]
    if content != parameters["content"]:
        return Conflict("An event with this id has been published already, with other content")
    return PublishResult(parameters["id"], subscriptions, is_new=False)


@short_read
def _is_known_type(connection: sa.Connection, parameters: Mapping[str, Any]) -> bool:
    return bool(_IS_TYPE.execute(connection, **parameters))


def _build_parameters(publication: Publication) -> dict[str, Any]:
    event = publication.event
    return {
        "id": event.id,
        "created": event.created,
        "today": event.created.astimezone(COPENHAGEN).date(),
        "entity_type": event.entity_type,
        "org_type": event.org_type,
        "org_code": event.org_code,
        "key": build_order_key(event),
        "content": write_content(event),
        "publisher": publication.publisher,
        "request_id": publication.request_id,
        "trace_parent": publication.trace_parent,
    }


_TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "id": sa.Uuid(as_uuid=False),
    "created": UtcDateTime(),
    "today": sa.Date(),
    "entity_type": sa.Integer(),
    "org_type": sa.Integer(),
    "org_code": sa.Integer(),
    "key": sa.Text(),
    "content": sa.Text(),
    "publisher": sa.Text(),
    "request_id": sa.Text(),
    "trace_parent": sa.Text(),
    "most": sa.Integer(),
}


def _build_statement(text: str) -> sa.TextClause:
    return sa.text(text).bindparams(
        *(sa.bindparam(name, type_=type_) for name, type_ in _TYPES.items() if re.search(rf":{name}\b", text))
    )


MATCHES = """
s.entity_type = {of}entity_type and s.org_type = {of}org_type and s.org_code = {of}org_code
and s.start_time <= {of}created and (s.end_time is null or s.end_time >= {of}created)
"""
"""SQL condition: subscription `s` matches an event whose columns have the prefix `of`."""

INSERT_DELIVERIES = """
insert into deliveries (id, event_id, subscription_id, system_id, key, state, created, due, attempts)
select {new_id}, {event_id}, s.id, s.system_id, {of}key, 'waiting', {of}created, {of}created, 0
"""
"""SQL: insert a delivery of an event for each subscription `s`. The text that is appended selects the subscriptions."""

_MATCHES = MATCHES.format(of=":")
_IS_TYPE_TEXT = """
select 1 from message_types t where t.entity_type = :entity_type and (t.end_date is null or t.end_date >= :today)
"""
_NEW_ID_ON_SQLITE = (
    "lower(printf('%012x', cast((julianday('now') - 2440587.5) * 86400000 as integer))"
    " || '7' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(8)), 2))"
)
"""SQL: a UUID of version 7 in the format in which SQLAlchemy stores UUIDs.

It begins with the time, so the deliveries of a transaction are in one page of the index of ids. The pages that a commit
writes cost more than the statement.
"""

# There is only one writer at a time, so the following fan-out has exactly the counted subscriptions.
_ACCEPT = PreparedStatement(
    _build_statement(f"""
        insert into events (id, created, entity_type, content, subscriptions, publisher, request_id, trace_parent)
        select :id, :created, :entity_type, :content, matching.number, :publisher, :request_id, :trace_parent
        from (
            select count(*) as number from (select 1 from subscriptions s where {_MATCHES} limit :most + 1)
        ) matching
        where matching.number <= :most and exists ({_IS_TYPE_TEXT})
        on conflict (id) do nothing returning subscriptions
    """)
)
_FAN_OUT = PreparedStatement(
    _build_statement(
        INSERT_DELIVERIES.format(new_id=_NEW_ID_ON_SQLITE, event_id=":id", of=":")
        + f"from subscriptions s where {_MATCHES}"
    )
)
_KNOWN = PreparedStatement(_build_statement("select content, subscriptions from events where id = :id"))

# Lock the subscriptions, so that a sync that deletes one runs either before or after this transaction. After a
# deletion there is no delivery to insert and no foreign key to violate. All transactions lock subscriptions in the
# order of their ids, and insert events in that of theirs, which prevents deadlocks. Of several events with the same id,
# the first with a valid type is inserted.
_ACCEPT_ALL = PreparedStatement(
    sa.text(f"""
        with given as (
            select distinct on (g.id) g.* from json_to_recordset(cast(:rows as json)) as g(
                place integer, id uuid, created timestamptz, today date,
                entity_type integer, org_type integer, org_code integer,
                key text, content text, publisher text, request_id text, trace_parent text
            ) where exists (
                select 1 from message_types t
                where t.entity_type = g.entity_type and (t.end_date is null or t.end_date >= g.today)
            ) order by g.id, g.place
        ), matching as (
            select s.id, s.system_id, given.id as event_id from given join subscriptions s
            on {MATCHES.format(of="given.")} order by s.id for key share of s
        ), accepted as (
            insert into events (id, created, entity_type, content, subscriptions, publisher, request_id, trace_parent)
            select id, created, entity_type, content, (select count(*) from matching m where m.event_id = given.id),
                publisher, request_id, trace_parent
            from given order by id
            on conflict (id) do nothing returning id, subscriptions
        ), fanned_out as (
            {INSERT_DELIVERIES.format(new_id="gen_random_uuid()", event_id="given.id", of="given.")}
            from accepted join given on given.id = accepted.id join matching s on s.event_id = given.id
            order by given.place
        )
        select given.place, accepted.subscriptions from accepted join given on given.id = accepted.id
    """).bindparams(sa.bindparam("rows", type_=sa.Text()))
)
_KNOWN_OF = PreparedStatement(
    sa.text("select cast(id as text), content, subscriptions from events where id = any(:ids)").bindparams(
        sa.bindparam("ids", type_=sa.ARRAY(sa.Uuid(as_uuid=False)))
    )
)
_IS_TYPE = PreparedStatement(_build_statement(_IS_TYPE_TEXT))
