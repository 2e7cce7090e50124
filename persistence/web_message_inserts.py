"""Insert web messages: readable ones with their references and events, and files in pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.idempotency_keys import IdempotencyKey
from domain.web_messages import Attachment, MessageState, WebMessage
from persistence.database import Database, to_json
from persistence.prepared import PreparedStatement
from persistence.tables import idempotency_keys as keys_table
from persistence.tables import web_message_attachments as attachments_table
from persistence.tables import web_message_references as references_table
from persistence.tables import web_messages as messages_table
from persistence.web_message_events import add_events, publish_events
from persistence.work import Cost, batched_write, write_with_cost

LARGE_BYTES = 256 * 1024
"""Larger messages and attachments are read and written as large work."""

PIECE_BYTES = 768 * 1024
"""Size of the pieces in which contents are stored: a multiple of 3, so that each piece is valid base64 by itself."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to store. `sent` is when its call to Open-E begins, None for a message without a case.

    `created` is when callers may read it, None for later. With a `key` it is stored only if the key is free.
    `request_id` is that of the request that creates it.
    """

    message: WebMessage
    state: MessageState
    sent: datetime | None
    created: datetime | None
    key: IdempotencyKey | None = None
    request_id: str | None = None

    @property
    def is_large(self) -> bool:
        """Whether the message is so large that other callers should not wait for it."""
        size = len(self.message.message)
        for attachment in self.message.attachments:
            size += attachment.size
        return size > LARGE_BYTES


async def insert_message(database: Database, new: NewMessage) -> bool:
    """Insert a message with its files and its key. Return False, and insert nothing, if the key is not free."""
    if new.is_large or new.message.attachments:
        return await database.write(_insert_with_files, new)
    if new.key is not None:
        return await database.write(_insert_with_key, new)
    await database.write(_insert, new)
    return True


def with_references_and_event(statement: sa.Insert | sa.Update) -> sa.Insert:
    """Return one statement for PostgreSQL that writes a message and, if it is readable, its references and event."""
    columns = (messages_table.c.id, messages_table.c.created, messages_table.c.external_references)
    written = statement.returning(*columns).cte("written")
    reference = sa.func.json_array_elements(written.c.external_references).table_valued("value", name="reference")
    key, value = (reference.c.value.op("->>")(sa.literal_column(place)) for place in "01")
    references = references_table.insert().from_select(
        ["key", "value", "created", "message_id"],
        sa.select(key, value, written.c.created, written.c.id)
        .select_from(written.join(reference, sa.true()))
        .where(written.c.created.is_not(None)),
    )
    return add_events(references, written)


_NEW_COLUMNS = {f"new_{column.name}": column for column in messages_table.c if column.name != "open_e_message_id"}
"""The columns of a new message, by the names of their parameters."""

_INSERT = messages_table.insert().values({column: sa.bindparam(name) for name, column in _NEW_COLUMNS.items()})
_INSERT_ROW = PreparedStatement(_INSERT)
_INSERT_REFERENCES = PreparedStatement(
    references_table.insert().values({column: sa.bindparam(column.name) for column in references_table.c})
)
_INSERT_PIECE = attachments_table.insert()
_INSERT_KEY = PreparedStatement(
    sqlite.insert(keys_table)
    .values({column: sa.bindparam(column.name) for column in keys_table.c})
    .on_conflict_do_nothing()
)
_SELECT_KEYS = sa.select(keys_table.c.message_id).where(
    keys_table.c.message_id.in_(sa.bindparam("message_ids", expanding=True))
)


def _select_given(columns: Mapping[str, sa.Column[Any]]) -> sa.Select[Any]:
    """Return the rows of the parameter `rows` for PostgreSQL: JSON, which is cheaper to send than values one by one."""
    typed = [sa.column(name, column.type) for name, column in columns.items()]
    rows = sa.func.json_to_recordset(sa.cast(sa.bindparam("rows", type_=sa.Text()), sa.JSON))
    return sa.select(rows.table_valued(*typed, name="g").render_derived(with_types=True))


def _insert_selected(rows: sa.Select[Any]) -> sa.Insert:
    """Return one statement for PostgreSQL that inserts messages with their references and events."""
    columns = [column.name for column in _NEW_COLUMNS.values()]
    return with_references_and_event(messages_table.insert().from_select(columns, rows))


def _build_insert_with_keys() -> sa.Select[Any]:
    """Return one statement for PostgreSQL that inserts the keys of `rows` that are free, and their messages.

    It returns the ids of these messages. Of several rows with one key it inserts one. All transactions insert keys in
    their order, which prevents deadlocks.
    """
    key_columns = {column.name: column for column in keys_table.c}
    given = _select_given(key_columns | _NEW_COLUMNS).cte("given")
    new_keys = (
        postgresql.insert(keys_table)
        .from_select(list(key_columns), sa.select(*(given.c[name] for name in key_columns)).order_by(given.c.hash))
        .on_conflict_do_nothing()
        .returning(keys_table.c.message_id)
        .cte("new_keys")
    )
    rows = sa.select(*(given.c[name] for name in _NEW_COLUMNS))
    messages = _insert_selected(rows.join(new_keys, new_keys.c.message_id == given.c.message_id))
    return sa.select(new_keys.c.message_id).add_cte(messages.cte("referenced"))


_INSERT_ONE = PreparedStatement(with_references_and_event(_INSERT))
_INSERT_ALL = PreparedStatement(_insert_selected(_select_given(_NEW_COLUMNS)))
_INSERT_WITH_KEYS = PreparedStatement(_build_insert_with_keys())


def _cost_of_new(new: NewMessage) -> Cost:
    return Cost.LARGE if new.is_large else Cost.SHORT


@batched_write
def _insert(connection: sa.Connection, items: Sequence[NewMessage]) -> list[None]:
    """Insert messages. Readable ones get their references and events, on PostgreSQL in the same statement."""
    if connection.dialect.name != "postgresql":
        _insert_on_sqlite(connection, items)
    elif len(items) == 1:
        # A large message is alone, and its text would be copied several times as JSON.
        _INSERT_ONE.execute(connection, **to_parameters(items[0]))
    else:
        _INSERT_ALL.execute(connection, rows=to_json([to_parameters(new) for new in items]))
    return [None] * len(items)


def _insert_on_sqlite(connection: sa.Connection, items: Sequence[NewMessage]) -> None:
    _INSERT_ROW.execute_many(connection, [to_parameters(new) for new in items])
    insert_references_and_events(connection, [(new.message, new.created) for new in items])


@batched_write
def _insert_with_key(connection: sa.Connection, items: Sequence[NewMessage]) -> list[bool]:
    """Insert messages whose keys are free, as `_insert` does. Return which ones."""
    if connection.dialect.name == "postgresql":
        inserted = _insert_with_key_on_postgresql(connection, items)
        return [new.message.id in inserted for new in items]
    return _insert_with_key_on_sqlite(connection, items)


def _insert_with_key_on_postgresql(connection: sa.Connection, items: Sequence[NewMessage]) -> set[str]:
    rows = [_key_to_parameters(new) | to_parameters(new) for new in items]
    for row in rows:
        row |= {name: f"\\x{row[name].hex()}" for name in ("hash", "fingerprint")}
    return {message_id for (message_id,) in _INSERT_WITH_KEYS.execute(connection, rows=to_json(rows))}


def _insert_with_key_on_sqlite(connection: sa.Connection, items: Sequence[NewMessage]) -> list[bool]:
    if _INSERT_KEY.execute_many(connection, map(_key_to_parameters, items)) == len(items):
        _insert_on_sqlite(connection, items)
        return [True] * len(items)
    message_ids = [new.message.id for new in items]
    inserted = set(connection.execute(_SELECT_KEYS, {"message_ids": message_ids}).scalars())
    first = [new for new in items if new.message.id in inserted]
    if first:
        _insert_on_sqlite(connection, first)
    return [message_id in inserted for message_id in message_ids]


@write_with_cost(_cost_of_new)
def _insert_with_files(connection: sa.Connection, new: NewMessage) -> bool:
    """Insert a message and the contents of its attachments. Return False if its key is not free."""
    if new.key is None:
        _insert(connection, new)
    elif not _insert_with_key(connection, new):
        return False
    for attachment in new.message.attachments:
        insert_pieces(connection, new.message, attachment)
    return True


def _key_to_parameters(new: NewMessage) -> dict[str, Any]:
    key = new.key
    assert key is not None  # noqa: S101  # Only messages with a key are inserted with it.
    return {
        "hash": key.hash,
        "caller": key.caller,
        "fingerprint": key.fingerprint,
        "message_id": new.message.id,
    }


def to_parameters(new: NewMessage) -> dict[str, Any]:
    """Return the values of the row of a message, by column with the prefix `new_`."""
    message = new.message
    return {
        "new_id": message.id,
        "new_party_id": message.party_id,
        "new_message": message.message,
        "new_external_references": [[reference.key, reference.value] for reference in message.external_references],
        "new_sender_user_id": message.sender_user_id,
        "new_oep_instance": str(message.oep_instance),
        "new_attachments": [
            [attachment.id, attachment.file_name, attachment.mime_type, attachment.size, attachment.sha256]
            for attachment in message.attachments
        ],
        "new_flow_instance_id": message.flow_instance_id,
        "new_state": str(new.state),
        "new_sent": new.sent,
        "new_created": new.created,
        "new_municipality_id": message.municipality_id,
        "new_oep_instance_as_sent": message.oep_instance_as_sent,
        "new_own_open_e": message.own_open_e,
        "new_is_from_owner": message.is_from_owner or None,
        "new_request_id": new.request_id,
    }


def insert_references_and_events(
    connection: sa.Connection, readable: Sequence[tuple[WebMessage, datetime | None]]
) -> None:
    """Insert the references and publish the events of messages with the time when they became readable, on SQLite."""
    insert_references(connection, readable)
    publish_events(connection, ((message.id, created) for message, created in readable))


def insert_references(connection: sa.Connection, readable: Sequence[tuple[WebMessage, datetime | None]]) -> None:
    """Insert the references of messages with the time when they became readable."""
    parameters = [
        {"key": reference.key, "value": reference.value, "created": created, "message_id": message.id}
        for message, created in readable
        if created is not None
        for reference in message.external_references
    ]
    if parameters:
        _INSERT_REFERENCES.execute_many(connection, parameters)


def insert_pieces(connection: sa.Connection, message: WebMessage, attachment: Attachment) -> None:
    """Insert the content of an attachment in pieces of `PIECE_BYTES`."""
    # One statement per piece: a driver would hold the data of all rows of a statement in memory.
    data = memoryview(attachment.data or b"")
    for piece, start in enumerate(range(0, len(data), PIECE_BYTES)):
        row = {
            "id": attachment.id,
            "piece": piece,
            "message_id": message.id,
            "data": data[start : start + PIECE_BYTES],
        }
        connection.execute(_INSERT_PIECE, row)
