"""Store and read web messages. Callers can read only stored and published messages."""

import math
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import NotFound
from domain.idempotency_keys import IdempotencyKey
from domain.web_messages import (
    UNSETTLED_STATES,
    Attachment,
    ExternalReference,
    MessageState,
    OepInstance,
    UnsettledMessage,
    WebMessage,
)
from persistence import audit
from persistence.database import Database
from persistence.idempotency_keys import free_keys
from persistence.prepared import PreparedStatement
from persistence.publication_decisions import DeletedMessage, trace_published
from persistence.publications import OPEN_E
from persistence.tables import IS_UNSETTLED
from persistence.tables import web_message_attachments as attachments_table
from persistence.tables import web_messages as messages_table
from persistence.web_message_inserts import (
    LARGE_BYTES,
    PIECE_BYTES,
    NewMessage,
    insert_message,
    insert_references_and_events,
    with_references_and_event,
)
from persistence.work import (
    Cost,
    batched_read,
    batched_transaction,
    batched_write,
    read_with_cost,
    short_read,
    short_write,
)

MAX_COUNTED = 1000
"""Maximum number of messages in doubt that are counted."""


@dataclass(frozen=True, slots=True)
class _PublishedMessage:
    """A stored message with the id that Open-E assigned, and the time when it became readable."""

    message: WebMessage
    open_e_message_id: int
    created: datetime


@dataclass(frozen=True, slots=True)
class _Deletion:
    """A message to delete, and the entry for the audit, whose chain and detail are added."""

    message_id: str
    entry: AuditEntry | None


async def store(
    database: Database,
    message: WebMessage,
    key: IdempotencyKey | None = None,
    request_id: str | None = None,
    *,
    created: datetime | None = None,
) -> bool:
    """Store a message without a case, to be read from now on. Return False, and store nothing, if `key` is used.

    `created` is required unless the message has it.
    """
    new = NewMessage(message, MessageState.STORED, None, created or message.created, key, request_id)
    return await insert_message(database, new)


async def begin_sending(
    database: Database,
    message: WebMessage,
    sent: datetime,
    key: IdempotencyKey | None = None,
    request_id: str | None = None,
) -> bool:
    """Store a message before it is sent to Open-E. Until the outcome is stored, only operators see it.

    Return False, and store nothing, if `key` is used: the message must not be sent.
    """
    return await insert_message(database, NewMessage(message, MessageState.SENDING, sent, None, key, request_id))


async def mark_published(database: Database, message: WebMessage, open_e_message_id: int, created: datetime) -> None:
    """Make a message readable that Open-E has published. Idempotent, like the next two functions."""
    await database.write(_mark_published, _PublishedMessage(message, open_e_message_id, created))


async def mark_unknown(database: Database, message_id: str, sent: datetime | None = None) -> None:
    """Mark a message whose publication may or may not have succeeded.

    With `sent`, only the outcome of the call of that time is recorded, not if the message was sent again.
    """
    await database.write(_mark_unknown, message_id, sent)


async def drop_refused(database: Database, message_id: str, sent: datetime | None = None) -> None:
    """Delete a message that Open-E has certainly not published, and free its idempotency key.

    `sent` is as in `mark_unknown`.
    """
    await database.write(_drop_refused, message_id, sent)


async def get(database: Database, message_id: str) -> WebMessage:
    """Return a message. Its attachments have no data. Raises `NotFound`."""
    message = await database.read(_find, message_id)
    if message is None:
        raise NotFound(f"WebMessage with id '{message_id}' not found")
    return message


async def find_unsettled(database: Database, message_id: str) -> WebMessage | None:
    """Return a message without a known outcome, for operators. Its attachments have no data."""
    rows = await database.read(_fetch_all, _SELECT_UNSETTLED, {"message_id": message_id})
    return to_message(list(rows[0].values())) if rows else None


def find_attachment(message: WebMessage, attachment_id: str) -> Attachment:
    """Return an attachment of a message. Raises `NotFound`."""
    for attachment in message.attachments:
        if attachment.id == attachment_id:
            return attachment
    raise NotFound(f"Attachment with id '{attachment_id}' not found in WebMessage with id '{message.id}'")


async def read_attachment(database: Database, attachment: Attachment) -> AsyncIterator[bytes]:
    """Yield the content of an attachment in pieces of `PIECE_BYTES`. No connection is held between two pieces.

    Raises `NotFound` if the message was deleted in the meantime.
    """
    for piece in range(math.ceil(attachment.size / PIECE_BYTES)):
        data = await database.read(_read_piece, attachment, piece)
        if data is None:
            raise NotFound(f"Attachment with id '{attachment.id}' not found")
        yield data


async def delete(database: Database, message_id: str, entry: AuditEntry | None = None) -> None:
    """Delete a readable message and append an entry about it to the audit. Raises `NotFound`."""
    if not await database.write(_delete, _Deletion(message_id, entry)):
        raise NotFound(f"WebMessage with id '{message_id}' not found")


async def list_unsettled(
    database: Database, states: tuple[MessageState, ...], limit: int, sent_before: datetime | None = None
) -> list[UnsettledMessage]:
    """Return messages in these states, oldest first, optionally only those sent before `sent_before`."""
    table = messages_table
    select = sa.select(table.c.id, table.c.state, table.c.oep_instance, table.c.flow_instance_id, table.c.sent).where(
        table.c.state.in_([str(state) for state in states])
    )
    if sent_before is not None:
        select = select.where(table.c.sent < sent_before)
    found = await database.read(_fetch_all, select.order_by(table.c.sent, table.c.id).limit(limit), {})
    return [
        UnsettledMessage(
            id=row["id"],
            state=MessageState(row["state"]),
            oep_instance=OepInstance(row["oep_instance"]),
            flow_instance_id=row["flow_instance_id"],
            sent=row["sent"],
        )
        for row in found
    ]


async def count_in_doubt(database: Database, sent_before: datetime) -> dict[MessageState, int]:
    """Return the number of unknown messages, and of those still `sending` that were sent before `sent_before`.

    It reads at most `MAX_COUNTED` rows of the small index of unsettled messages.
    """
    found = await database.read(_fetch_all, _COUNT_IN_DOUBT, {"before": sent_before})
    return dict.fromkeys(UNSETTLED_STATES, 0) | {MessageState(row["state"]): row["number"] for row in found}


COLUMNS = (
    messages_table.c.id,
    messages_table.c.party_id,
    messages_table.c.message,
    messages_table.c.external_references,
    messages_table.c.sender_user_id,
    messages_table.c.oep_instance,
    messages_table.c.attachments,
    messages_table.c.created,
    messages_table.c.municipality_id,
    messages_table.c.oep_instance_as_sent,
    messages_table.c.own_open_e,
    messages_table.c.is_from_owner,
)


_MARK = (
    messages_table.update()
    .where(messages_table.c.id == sa.bindparam("message_id"), messages_table.c.state == str(MessageState.SENDING))
    .values(
        state=str(MessageState.PUBLISHED),
        created=sa.bindparam("created"),
        open_e_message_id=sa.bindparam("open_e_message_id"),
    )
)
_MARK_PUBLISHED = PreparedStatement(_MARK.returning(messages_table.c.id))
_MARK_PUBLISHED_ALL = PreparedStatement(with_references_and_event(_MARK))


_IS_READABLE = messages_table.c.created.is_not(None)
_IS_THIS = messages_table.c.id == sa.bindparam("message_id")
_IS_SENDING = messages_table.c.state == str(MessageState.SENDING)
_IS_SENT = messages_table.c.sent == sa.func.coalesce(
    sa.bindparam("sent_at", type_=messages_table.c.sent.type), messages_table.c.sent
)
_MARK_UNKNOWN = messages_table.update().where(_IS_THIS, _IS_SENDING, _IS_SENT).values(state=str(MessageState.UNKNOWN))
_DROP_REFUSED = messages_table.delete().where(_IS_THIS, _IS_SENDING, _IS_SENT)
_DELETED = (
    messages_table.c.id,
    OPEN_E,
    messages_table.c.flow_instance_id,
    messages_table.c.sent,
    messages_table.c.open_e_message_id,
)
_DELETE = messages_table.delete().where(_IS_THIS, _IS_READABLE).returning(*_DELETED)
_SELECT_BY_ID = PreparedStatement(sa.select(*COLUMNS).where(messages_table.c.id == sa.bindparam("id"), _IS_READABLE))
_SELECT_UNSETTLED = sa.select(*COLUMNS).where(_IS_THIS, sa.text(IS_UNSETTLED))
_IDS = sa.bindparam("ids", type_=sa.ARRAY(sa.Uuid(as_uuid=False)))
_SELECT_BY_IDS = PreparedStatement(sa.select(*COLUMNS).where(messages_table.c.id == sa.any_(_IDS), _IS_READABLE))
# Lock in the order of ids, so that batches of several processes cannot deadlock.
_LOCKED = (
    sa.select(messages_table.c.id)
    .where(messages_table.c.id == sa.any_(_IDS), _IS_READABLE)
    .order_by(messages_table.c.id)
    .with_for_update()
    .cte("locked")
)
_DELETE_ALL = PreparedStatement(
    messages_table.delete().where(messages_table.c.id.in_(sa.select(_LOCKED.c.id))).returning(*_DELETED)
)
_SELECT_PIECE = sa.select(attachments_table.c.data).where(
    attachments_table.c.id == sa.bindparam("id"), attachments_table.c.piece == sa.bindparam("piece")
)


_IN_DOUBT = (
    sa.select(messages_table.c.state)
    .where(
        sa.text(IS_UNSETTLED),
        (messages_table.c.state != str(MessageState.SENDING)) | (messages_table.c.sent < sa.bindparam("before")),
    )
    .limit(MAX_COUNTED)
    .subquery()
)
_COUNT_IN_DOUBT = sa.select(_IN_DOUBT.c.state, sa.func.count().label("number")).group_by(_IN_DOUBT.c.state)


@batched_write
def _mark_published(connection: sa.Connection, items: Sequence[_PublishedMessage]) -> list[None]:
    """Make messages readable that were being sent, with references and events, on PostgreSQL in one statement.

    Idempotent: messages in any other state are unchanged.
    """
    parameters = [
        {
            "message_id": published.message.id,
            "open_e_message_id": published.open_e_message_id,
            "created": published.created,
        }
        for published in items
    ]
    if connection.dialect.name == "postgresql":
        _MARK_PUBLISHED_ALL.execute_many(connection, parameters)
        return [None] * len(items)
    changed = [_MARK_PUBLISHED.execute(connection, **each) for each in parameters]
    made_readable = [item for item, rows in zip(items, changed, strict=True) if rows]
    insert_references_and_events(connection, [(published.message, published.created) for published in made_readable])
    return [None] * len(items)


@batched_read
def _find(connection: sa.Connection, message_ids: Sequence[str]) -> list[WebMessage | None]:
    if connection.dialect.name == "sqlite":
        found: list[WebMessage | None] = []
        for message_id in message_ids:
            message = _find_one(connection, message_id)
            found.append(message)
            if message is not None and len(message.message) > LARGE_BYTES:
                break
        return found
    messages = {row[0]: to_message(row) for row in _SELECT_BY_IDS.execute(connection, ids=message_ids)}
    return [messages.get(message_id) for message_id in message_ids]


def _find_one(connection: sa.Connection, message_id: str) -> WebMessage | None:
    rows = _SELECT_BY_ID.execute(connection, id=message_id)
    return to_message(rows[0]) if rows else None


def _estimate_cost_of_piece(attachment: Attachment, _piece: int) -> Cost:
    return Cost.LARGE if attachment.size > LARGE_BYTES else Cost.SHORT


@read_with_cost(_estimate_cost_of_piece)
def _read_piece(connection: sa.Connection, attachment: Attachment, piece: int) -> bytes | None:
    data: bytes | None = connection.execute(_SELECT_PIECE, {"id": attachment.id, "piece": piece}).scalar()
    return data


@short_read
def _fetch_all(connection: sa.Connection, statement: sa.Select[Any], parameters: dict[str, Any]) -> list[sa.RowMapping]:
    return list(connection.execute(statement, parameters).mappings())


@short_write
def _mark_unknown(connection: sa.Connection, message_id: str, sent: datetime | None) -> None:
    connection.execute(_MARK_UNKNOWN, {"message_id": message_id, "sent_at": sent})


@short_write
def _drop_refused(connection: sa.Connection, message_id: str, sent: datetime | None) -> None:
    if connection.execute(_DROP_REFUSED, {"message_id": message_id, "sent_at": sent}).rowcount > 0:
        free_keys(connection, [message_id])


@batched_transaction
def _delete(connection: sa.Connection, items: Sequence[_Deletion]) -> list[bool]:
    """Delete messages, and append their entries while the chain is locked once."""
    deleted = {row.id: row for row in delete_readable(connection, {item.message_id for item in items})}
    entries, results = [], []
    for item in items:
        row = deleted.pop(item.message_id, None)
        results.append(row is not None)
        if row is not None and item.entry is not None:
            entries.append(replace(item.entry, detail=_describe_deleted(row) | item.entry.detail))
    if entries:
        audit.append(connection, WEB_MESSAGES, audit.lock_chain(connection, WEB_MESSAGES), entries)
    return results


def delete_readable(connection: sa.Connection, message_ids: Iterable[str]) -> list[DeletedMessage]:
    """Delete those messages that callers can read, on PostgreSQL in one statement, and return what is known of them."""
    ids = sorted(message_ids)
    if connection.dialect.name == "postgresql":
        rows = [DeletedMessage(str(row[0]), *row[1:]) for row in _DELETE_ALL.execute(connection, ids=ids)]
    else:
        rows = [DeletedMessage(*row) for id_ in ids for row in connection.execute(_DELETE, {"message_id": id_})]
    for row in rows:
        trace_published(connection, row)
    return rows


def _describe_deleted(row: DeletedMessage) -> dict[str, Any]:
    """Return the detail of the entry about a deleted message: neither its content nor its recipient."""
    case = {} if row.flow_instance_id is None else {"flowInstanceId": row.flow_instance_id}
    return {"messageId": row.id, "oepInstance": row.oep_instance} | case


def to_message(row: Sequence[Any]) -> WebMessage:
    """Return the message in a row of `COLUMNS`. Its attachments have no data."""
    (
        id_,
        party_id,
        message,
        references,
        sender_user_id,
        oep_instance,
        attachments,
        created,
        municipality_id,
        oep_instance_as_sent,
        own_open_e,
        is_from_owner,
    ) = row
    return WebMessage(
        id=id_,
        party_id=party_id,
        message=message,
        external_references=tuple([ExternalReference(key, value) for key, value in references]),
        sender_user_id=sender_user_id,
        oep_instance=OepInstance(oep_instance),
        attachments=tuple(
            [
                Attachment(id=id_, file_name=file_name, mime_type=mime_type, size=size, sha256=sha256)
                for id_, file_name, mime_type, size, sha256 in attachments
            ]
        ),
        created=created,
        municipality_id=municipality_id,
        oep_instance_as_sent=oep_instance_as_sent,
        own_open_e=own_open_e,
        is_from_owner=bool(is_from_owner),
    )
