"""The outbox: store events and their deliveries to all matching subscriptions, in the transaction that accepts them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.errors import Conflict, UnknownType
from domain.events import Event, order_key, write_content
from domain.subscriptions import COPENHAGEN
from persistence.database import Database
from persistence.tables import UtcDateTime
from persistence.work import bulk_write, short_read, short_write

WIDE = 20
"""An event with more subscribers is written outside the event loop if the database works inline."""


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
    if database.is_inline and await database.read(_is_wide, publication):
        # One delivery takes about 90 µs, during which the event loop would serve no other caller.
        return await database.write(_accept_for_many, publication)
    return await database.write(_accept, publication)


async def knows_type(database: Database, entity_type: int, now: datetime) -> bool:
    """Return whether the message type exists and has not ended."""
    today = now.astimezone(COPENHAGEN).date()
    return await database.read(_knows_type, {"entity_type": entity_type, "today": today})


def accept(connection: sa.Connection, publication: Publication) -> PublishResult:
    """Run `publish` within the transaction of the caller."""
    parameters = _parameters(publication)
    row = connection.execute(_ACCEPT[connection.dialect.name], parameters).first()
    if row is not None:
        if connection.dialect.name == "sqlite":
            connection.execute(_FAN_OUT, parameters)
        return PublishResult(publication.event.id, row.subscriptions, is_new=True)
    existing = connection.execute(_KNOWN, {"id": publication.event.id}).first()
    if existing is None:
        raise UnknownType
    if existing.content != parameters["content"]:
        raise Conflict("An event with this id has been published already, with other content")
    return PublishResult(publication.event.id, existing.subscriptions, is_new=False)


_accept = short_write(accept)
_accept_for_many = bulk_write(accept)


@short_read
def _is_wide(connection: sa.Connection, publication: Publication) -> bool:
    return len(connection.execute(_SOME_MATCHES, _parameters(publication)).all()) > WIDE


@short_read
def _knows_type(connection: sa.Connection, parameters: Mapping[str, Any]) -> bool:
    return connection.execute(_IS_TYPE, parameters).first() is not None


def _parameters(publication: Publication) -> dict[str, Any]:
    event = publication.event
    return {
        "id": event.id,
        "created": event.created,
        "today": event.created.astimezone(COPENHAGEN).date(),
        "entity_type": event.entity_type,
        "org_type": event.org_type,
        "org_code": event.org_code,
        "key": order_key(event),
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
}


def _statement(text: str) -> sa.TextClause:
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
_INSERT_EVENT = f"""
insert into events (id, created, entity_type, content, subscriptions, publisher, request_id, trace_parent)
select :id, :created, :entity_type, :content, {{count}}, :publisher, :request_id, :trace_parent
where exists ({_IS_TYPE_TEXT})
on conflict (id) do nothing
"""

NEW_ID_ON_SQLITE = (
    "lower(hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(2)), 2)"
    " || hex(randomblob(6)))"
)
"""SQL: a random UUID in the format in which SQLAlchemy stores UUIDs."""

_ACCEPT = {
    # There is only one writer at a time, so the following fan-out has exactly the counted subscriptions.
    "sqlite": _statement(
        _INSERT_EVENT.format(count=f"(select count(*) from subscriptions s where {_MATCHES})")
        + "returning subscriptions"
    ),
    # Lock the subscriptions, so that a sync that deletes one runs either before or after this transaction. After a
    # deletion there is no delivery to insert and no foreign key to violate. All transactions lock subscriptions in the
    # order of their ids, which prevents deadlocks.
    "postgresql": _statement(f"""
        with matching as (
            select s.id, s.system_id from subscriptions s where {_MATCHES} order by s.id for key share
        ), accepted as (
            {_INSERT_EVENT.format(count="(select count(*) from matching)")} returning id, subscriptions
        ), fanned_out as (
            {INSERT_DELIVERIES.format(new_id="gen_random_uuid()", event_id="accepted.id", of=":")}
            from accepted cross join matching s
        )
        select subscriptions from accepted
    """),
}
_FAN_OUT = _statement(
    INSERT_DELIVERIES.format(new_id=NEW_ID_ON_SQLITE, event_id=":id", of=":") + f"from subscriptions s where {_MATCHES}"
)
_SOME_MATCHES = _statement(f"select 1 from subscriptions s where {_MATCHES} limit {WIDE + 1}")
_IS_TYPE = _statement(_IS_TYPE_TEXT)
_KNOWN = _statement("select content, subscriptions from events where id = :id")
