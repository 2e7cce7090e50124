"""The event that is published when a web message becomes readable, if the operator has mapped web messages to a type.

The event is written in the transaction that makes the message readable. On SQLite, the only writer first checks whether
a mapping exists. On PostgreSQL, the event is part of the one statement that stores the message, which repeats the rules
of `domain.events` in SQL.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import uuid4

import sqlalchemy as sa

from domain.events import Event
from persistence import outbox
from persistence.outbox import INSERT_DELIVERIES, MATCHES, Publication

PUBLISHER = "web messages"
NO_REQUEST = "-"
CREATED = 1
"""The kind of change of all these events."""


def publish_events(connection: sa.Connection, readable: Iterable[tuple[str, datetime | None]]) -> None:
    """Publish an event for each readable message, on SQLite. `readable` are ids with the time of readability."""
    # Use the driver directly: for this usually empty result, SQLAlchemy takes longer than the database.
    mapped = connection.connection.cursor()
    mapped.execute("select org_type, org_code, entity_type from web_message_events")
    found = mapped.fetchone()
    if found is None:
        return
    org_type, org_code, entity_type = found
    events = [
        Event(
            id=str(uuid4()),
            entity_type=entity_type,
            org_type=org_type,
            org_code=org_code,
            change=CREATED,
            created=created,
            external_id=message_id,
        )
        for message_id, created in readable
        if created is not None
    ]
    # The messages are stored even if the operator has ended the type.
    outbox.accept_on_sqlite(connection, [Publication(event, PUBLISHER, NO_REQUEST) for event in events])


def add_events(statement: sa.Insert, written: sa.CTE) -> sa.Insert:
    """Return a statement for PostgreSQL that also publishes an event for each row (id, `created`) of `written`."""
    texts = [sa.text(text).columns(sa.column("id")).cte(name) for name, text in _PUBLISH.items()]
    return statement.add_cte(written, *texts)


_CONTENT = '{"aendringstype"\\:1,"eksternIdentifier"\\:"%s","entityType"\\:%s,"orgCode"\\:%s,"orgType"\\:%s}'
"""The output format of `domain.events.write_content`. The backslash prevents a colon from starting a parameter."""

_KEY = "left(encode(sha256(convert_to('object\\:' || written.id, 'UTF8')), 'hex'), 32)"
"""The same hash as `domain.events.build_order_key`."""

_PUBLISH = {
    "mapped": f"""
        select gen_random_uuid() as id, written.id as message_id, written.created, {_KEY} as key,
            m.entity_type, m.org_type, m.org_code
        from written join web_message_events m on m.number = 1 join message_types t on t.entity_type = m.entity_type
        where written.created is not null
        and (t.end_date is null or t.end_date >= cast(written.created at time zone 'Europe/Copenhagen' as date))
    """,  # noqa: S608  # Made of the texts here alone.
    # Lock in the order of the ids, as `outbox.publish` does. The mapping is joined again, so that the planner expects
    # the subscriptions of one type. For those of many messages, it would read all subscriptions.
    "matching": f"""
        select s.id, s.system_id, mapped.id as event_id from web_message_events m
        join subscriptions s on s.entity_type = m.entity_type and s.org_type = m.org_type and s.org_code = m.org_code
        join mapped on {MATCHES.format(of="mapped.")}
        where m.number = 1
        order by s.id for key share of s
    """,  # noqa: S608  # Made of the texts here alone.
    "raised": f"""
        insert into events (id, created, entity_type, content, subscriptions, publisher, request_id)
        select id, created, entity_type, format('{_CONTENT}', message_id, entity_type, org_code, org_type),
            (select count(*) from matching where event_id = mapped.id), '{PUBLISHER}', '{NO_REQUEST}'
        from mapped
        returning id
    """,  # noqa: S608  # Made of the texts here alone.
    "fanned_out": f"""
        {INSERT_DELIVERIES.format(new_id="gen_random_uuid()", event_id="mapped.id", of="mapped.")}
        from mapped join matching s on s.event_id = mapped.id
        returning id
    """,
}
