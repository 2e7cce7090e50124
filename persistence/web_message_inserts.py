"""Insert web messages: readable ones with their references and events, and files in pieces."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.web_messages import Attachment, MessageState, WebMessage
from persistence.database import Database
from persistence.prepared import PreparedStatement
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
    """A message to store. `sent` is when its call to Open-E begins, None for a message without a case."""

    message: WebMessage
    state: MessageState
    sent: datetime | None

    @property
    def is_large(self) -> bool:
        """Whether the message is so large that other callers should not wait for it."""
        files = sum(attachment.size for attachment in self.message.attachments)
        return len(self.message.message) + files > LARGE_BYTES


async def insert_message(database: Database, new: NewMessage) -> None:
    """Insert a message with its files."""
    if new.is_large or new.message.attachments:
        await database.write(_insert_with_files, new)
    else:
        await database.write(_insert, new)


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


_INSERT = messages_table.insert().values(
    {column: sa.bindparam(f"new_{column.name}") for column in messages_table.c if column.name != "open_e_message_id"}
)
_INSERT_ROW = PreparedStatement(_INSERT)
_INSERT_REFERENCES = PreparedStatement(
    references_table.insert().values({column: sa.bindparam(column.name) for column in references_table.c})
)
_INSERT_ALL = PreparedStatement(with_references_and_event(_INSERT))
_INSERT_PIECE = attachments_table.insert()


def _cost_of_new(new: NewMessage) -> Cost:
    return Cost.LARGE if new.is_large else Cost.SHORT


@batched_write
def _insert(connection: sa.Connection, items: Sequence[NewMessage]) -> list[None]:
    """Insert messages. Readable ones get their references and events, on PostgreSQL in the same statement."""
    parameters = [_to_parameters(new) for new in items]
    if connection.dialect.name == "postgresql":
        _INSERT_ALL.execute_many(connection, parameters)
        return [None] * len(items)
    _INSERT_ROW.execute_many(connection, parameters)
    insert_references_and_events(connection, [(new.message, new.message.created) for new in items])
    return [None] * len(items)


@write_with_cost(_cost_of_new)
def _insert_with_files(connection: sa.Connection, new: NewMessage) -> None:
    """Insert a message and the contents of its attachments."""
    _insert(connection, new)
    for attachment in new.message.attachments:
        _insert_pieces(connection, new.message, attachment)


def _to_parameters(new: NewMessage) -> dict[str, Any]:
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
        "new_created": message.created,
    }


def insert_references_and_events(
    connection: sa.Connection, readable: Sequence[tuple[WebMessage, datetime | None]]
) -> None:
    """Insert the references and publish the events of messages with the time when they became readable, on SQLite."""
    parameters = [
        {"key": reference.key, "value": reference.value, "created": created, "message_id": message.id}
        for message, created in readable
        if created is not None
        for reference in message.external_references
    ]
    if parameters:
        _INSERT_REFERENCES.execute_many(connection, parameters)
    publish_events(connection, ((message.id, created) for message, created in readable))


def _insert_pieces(connection: sa.Connection, message: WebMessage, attachment: Attachment) -> None:
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
