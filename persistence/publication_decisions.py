"""Decisions of callers and operators about messages in doubt, and traces of deleted messages (decision 0026).

A trace keeps what a deleted message must still block: the id that it has in Open-E, so that no other message gets it,
or hashes of a message in doubt, until it is known whether Open-E has it.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import Conflict
from domain.publications import Case, fingerprint_sent
from domain.web_messages import FLOW_INSTANCE_ID, MessageState
from persistence import audit
from persistence.database import Database
from persistence.idempotency_keys import free_keys
from persistence.publications import (
    ANY_TIME,
    DELETE_UNSETTLED,
    IS_IN_DOUBT,
    OPEN_E,
    Row,
    claim_at_once,
    describe,
    list_file_sizes,
    make_readable,
)
from persistence.tables import IS_UNSETTLED
from persistence.tables import publication_traces as traces_table
from persistence.tables import settlements as settlements_table
from persistence.tables import web_message_references as references_table
from persistence.tables import web_messages as messages_table
from persistence.work import long_write, short_write

TRACE_AGE = timedelta(days=7)
"""Age of settled traces that are removed."""

CLAIM_AGE = timedelta(hours=1)
"""Time after its end at which an unused claim is removed."""


async def delete_in_doubt(database: Database, message_id: str, before: datetime, entry: AuditEntry) -> bool:
    """Delete a message in doubt, except for a trace without content. Return whether there was one.

    `before` is the time before which the call of a message that is still `sending` was sent.
    """
    return await database.write(_delete_in_doubt, message_id, before, entry)


async def mark_found(
    database: Database,
    message_id: str,
    open_e_message_id: int | None,
    created: datetime,
    before: datetime,
    entry: AuditEntry,
) -> bool:
    """Make a message in doubt readable, because an operator found it on its case. Return whether it was in doubt.

    `before` is as in `delete_in_doubt`. Raises `Conflict` if another message of the case has Open-E's id, or, without
    an id, if an equal message is in doubt: it would count as this one's copy.
    """
    return await database.write(_mark_found_by_operator, message_id, open_e_message_id, created, before, entry)


async def mark_published_late(database: Database, message_id: str, open_e_message_id: int, created: datetime) -> bool:
    """Make a message readable that Open-E has published, long after its call. Return whether it is readable.

    If its id was given to an equal message in the meantime, it is in doubt instead of that one. Idempotent.
    """
    return await database.write(_mark_published_late, message_id, open_e_message_id, created)


async def mark_not_published(database: Database, message_id: str, before: datetime, entry: AuditEntry) -> bool:
    """Delete a message in doubt that is certainly not on its case, and free its key. Return whether it was in doubt.

    `before` is as in `delete_in_doubt`.
    """
    return await database.write(_mark_not_published, message_id, before, entry)


async def remove_old(database: Database, now: datetime) -> None:
    """Remove settled traces after `TRACE_AGE`, unless their case has messages in doubt, and claims that ended."""
    await database.write(_remove_old, now)


class DeletedMessage(NamedTuple):
    """The columns of a deleted message that its trace and the audit keep. `oep_instance` is the name of its Open-E."""

    id: str
    oep_instance: str
    flow_instance_id: int | None
    sent: datetime | None
    open_e_message_id: int | None


def trace_published(connection: sa.Connection, row: DeletedMessage) -> None:
    """Keep the id of a published message that is deleted, so that no other message gets it."""
    if row.open_e_message_id is not None:
        values: dict[str, Any] = {"message_id": row.id, "oep_instance": row.oep_instance}
        values |= {"flow_instance_id": row.flow_instance_id, "sent": row.sent}
        values |= {"open_e_message_id": row.open_e_message_id, "fingerprint": None}
        connection.execute(traces_table.insert(), values)


_m, _t, _s = messages_table.c, traces_table.c, settlements_table.c
_IS_THIS = _m.id == sa.bindparam("message_id")
_IS_UNSETTLED = sa.text(IS_UNSETTLED)
_IN_DOUBT_BY_ID = (
    sa.select(
        _m.id,
        OPEN_E,
        _m.flow_instance_id,
        _m.sent,
        _m.message,
        _m.sender_user_id,
        _m.is_from_owner,
        _m.attachments,
    )
    .where(_IS_THIS, _IS_UNSETTLED, IS_IN_DOUBT)
    .with_for_update()
)
_CASE_IN_DOUBT = sa.select(_m.id, OPEN_E, _m.flow_instance_id, _m.sent, _m.external_references).where(
    _IS_THIS, _IS_UNSETTLED, IS_IN_DOUBT
)
_this = messages_table.alias("this")
_EQUAL_IN_DOUBT = sa.select(_m.id).where(
    _IS_UNSETTLED,
    OPEN_E.element == sa.bindparam("instance"),
    _m.flow_instance_id == sa.bindparam("number"),
    _m.id != sa.bindparam("message_id"),
    _m.message == sa.select(_this.c.message).where(_this.c.id == sa.bindparam("message_id")).scalar_subquery(),
)
_OWNER = sa.union_all(
    sa.select(_m.id)
    .join(references_table, references_table.c.message_id == _m.id)
    .where(
        references_table.c.key == FLOW_INSTANCE_ID,
        references_table.c.value == sa.bindparam("value"),
        OPEN_E.element == sa.bindparam("instance"),
        _m.open_e_message_id == sa.bindparam("open_e_message_id"),
    ),
    sa.select(_t.message_id).where(
        _t.oep_instance == sa.bindparam("instance"),
        _t.flow_instance_id == sa.bindparam("number"),
        _t.open_e_message_id == sa.bindparam("open_e_message_id"),
    ),
)
_IS_READABLE = sa.select(_m.id).where(_IS_THIS, _m.created.is_not(None))
_MARK_UNKNOWN = messages_table.update().where(_IS_THIS, _IS_UNSETTLED).values(state=str(MessageState.UNKNOWN))
_OF_TRACE = (_s.oep_instance == _t.oep_instance, _s.flow_instance_id == _t.flow_instance_id)
_REMOVE_TRACES = traces_table.delete().where(
    _t.open_e_message_id.is_not(None),
    _t.sent < sa.bindparam("before"),
    ~sa.exists().where(*_OF_TRACE).correlate(traces_table),
)
_REMOVE_CLAIMS = settlements_table.delete().where(_s.due < sa.bindparam("before"))


@long_write
def _delete_in_doubt(connection: sa.Connection, message_id: str, before: datetime, entry: AuditEntry) -> bool:
    row = replace_by_trace(connection, message_id, before)
    if row is None:
        return False
    _append(connection, entry, row)
    return True


def replace_by_trace(connection: sa.Connection, message_id: str, before: datetime) -> Row | None:
    """Replace a message in doubt by hashes of its content. Return its row, or None if it is not in doubt."""
    row = connection.execute(_IN_DOUBT_BY_ID, {"message_id": message_id, "before": before}).first()
    if row is None:
        return None
    fingerprint = fingerprint_sent(
        row.message, list_file_sizes(row), row.sender_user_id, is_from_owner=bool(row.is_from_owner)
    )
    connection.execute(DELETE_UNSETTLED, {"message_id": message_id})
    values = {"message_id": message_id, "oep_instance": row.oep_instance, "flow_instance_id": row.flow_instance_id}
    values |= {
        "sent": row.sent,
        "open_e_message_id": None,
        "fingerprint": [fingerprint.exact, fingerprint.reduced, fingerprint.sender],
    }
    connection.execute(traces_table.insert(), values)
    return row


@short_write
def _mark_found_by_operator(
    connection: sa.Connection,
    message_id: str,
    open_e_message_id: int | None,
    created: datetime,
    before: datetime,
    entry: AuditEntry,
) -> bool:
    row = _lock_in_doubt(connection, message_id, before, created)
    if row is None:
        return False
    if open_e_message_id is None:
        other = connection.scalar(_EQUAL_IN_DOUBT, _parameters(row))
        if other is not None:
            raise Conflict(
                f"Message '{other}', which is also in doubt, has the same text: name the messageID of Open-E"
            )
    else:
        other = connection.scalar(_OWNER, _parameters(row) | {"open_e_message_id": open_e_message_id})
        if other is not None:
            raise Conflict(f"Message '{other}' has the messageID {open_e_message_id} of Open-E")
    make_readable(connection, row, open_e_message_id, created)
    _append(connection, entry, row)
    return True


@short_write
def _mark_published_late(connection: sa.Connection, message_id: str, open_e_message_id: int, created: datetime) -> bool:
    row = _lock_in_doubt(connection, message_id, ANY_TIME, created)
    if row is None:
        return connection.scalar(_IS_READABLE, {"message_id": message_id}) is not None
    if connection.scalar(_OWNER, _parameters(row) | {"open_e_message_id": open_e_message_id}) is not None:
        connection.execute(_MARK_UNKNOWN, {"message_id": message_id})
        return False
    make_readable(connection, row, open_e_message_id, created)
    return True


@short_write
def _mark_not_published(connection: sa.Connection, message_id: str, before: datetime, entry: AuditEntry) -> bool:
    row = _lock_in_doubt(connection, message_id, before, entry.time)
    if row is None:
        return False
    connection.execute(DELETE_UNSETTLED, {"message_id": message_id})
    free_keys(connection, [message_id])
    _append(connection, entry, row)
    return True


def _lock_in_doubt(connection: sa.Connection, message_id: str, before: datetime, now: datetime) -> Row | None:
    """Return a message in doubt, after locking its case as a settlement does, so that no copy gets two messages."""
    parameters = {"message_id": message_id, "before": before}
    row = connection.execute(_CASE_IN_DOUBT, parameters).first()
    if row is None:
        return None
    claim_at_once(connection, Case(row.oep_instance, row.flow_instance_id), now)
    return connection.execute(_CASE_IN_DOUBT.with_for_update(), parameters).first()


def _parameters(row: Row) -> dict[str, Any]:
    return {
        "message_id": row.id,
        "instance": row.oep_instance,
        "number": row.flow_instance_id,
        "value": str(row.flow_instance_id),
    }


def _append(connection: sa.Connection, entry: AuditEntry, row: Row) -> None:
    """Append an entry about a message to the audit log."""
    case = Case(row.oep_instance, row.flow_instance_id)
    entry = replace(entry, chain=WEB_MESSAGES, detail=describe(row.id, case, row.sent) | entry.detail)
    audit.append(connection, WEB_MESSAGES, audit.lock_chain(connection, WEB_MESSAGES), [entry])


@short_write
def _remove_old(connection: sa.Connection, now: datetime) -> None:
    connection.execute(_REMOVE_TRACES, {"before": now - TRACE_AGE})
    connection.execute(_REMOVE_CLAIMS, {"before": now - CLAIM_AGE})
