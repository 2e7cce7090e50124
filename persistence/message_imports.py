"""Store messages that are imported from another service, each once (decision 0043).

The id of an imported message is kept when the message is deleted, so that a later run does not import it again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.message_imports import ImportedMessage
from domain.web_messages import MessageState
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import imported_messages as imported_table
from persistence.tables import web_messages as messages_table
from persistence.web_message_inserts import NewMessage, insert_pieces, insert_references, to_parameters
from persistence.work import large_read, large_write

FIRST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class KnownIds:
    """Those of some ids that were imported, also if the message was deleted here, and those of other messages."""

    imported: frozenset[str]
    others: frozenset[str]


async def find_known(database: Database, message_ids: Collection[str]) -> KnownIds:
    """Return which of the ids are known."""
    return await database.read(_find_known, list(message_ids))


async def store(database: Database, source: str, messages: Sequence[ImportedMessage]) -> set[str]:
    """Store the messages in one transaction, without events, except those that were imported meanwhile.

    Return the ids of those that were stored. `source` is the operator's name of the other service.
    """
    return await database.write(_store, source, messages)


async def list_present(database: Database, source: str, after: str, limit: int) -> list[str]:
    """Return the ids after `after` of at most `limit` messages of a source that are still here, in order."""
    return await database.read(_list_present, source, after, limit)


_IDS: sa.BindParameter[str] = sa.bindparam("message_ids", expanding=True)
_FIND_IMPORTED = sa.select(imported_table.c.message_id).where(imported_table.c.message_id.in_(_IDS))
_FIND_MESSAGES = sa.select(messages_table.c.id).where(messages_table.c.id.in_(_IDS))
_INSERT_MESSAGE = PreparedStatement(
    messages_table.insert().values({column: sa.bindparam(f"new_{column.name}") for column in messages_table.c})
)
_NO_VALUES = {f"new_{column.name}": None for column in messages_table.c}
_LIST_PRESENT = (
    sa.select(imported_table.c.message_id)
    .join(messages_table, messages_table.c.id == imported_table.c.message_id)
    .where(
        imported_table.c.source == sa.bindparam("source"),
        imported_table.c.message_id > sa.bindparam("after", type_=imported_table.c.message_id.type),
    )
    .order_by(imported_table.c.message_id)
    .limit(sa.bindparam("limit"))
)


@large_read
def _find_known(connection: sa.Connection, message_ids: list[str]) -> KnownIds:
    parameters = {"message_ids": message_ids}
    # In this order: another import may store some of them meanwhile.
    present = frozenset(connection.execute(_FIND_MESSAGES, parameters).scalars())
    imported = frozenset(connection.execute(_FIND_IMPORTED, parameters).scalars())
    return KnownIds(imported, present - imported)


@large_write
def _store(connection: sa.Connection, source: str, messages: Sequence[ImportedMessage]) -> set[str]:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [{"message_id": each.message.id, "source": source} for each in messages]
    statement = insert(imported_table).values(rows).on_conflict_do_nothing().returning(imported_table.c.message_id)
    stored = set(connection.execute(statement).scalars())
    new = [each for each in messages if each.message.id in stored]
    if new:
        _INSERT_MESSAGE.execute_many(connection, map(_to_row, new))
        insert_references(connection, [(each.message, each.message.created) for each in new])
    for each in new:
        for attachment in each.message.attachments:
            insert_pieces(connection, each.message, attachment)
    return stored


@large_read
def _list_present(connection: sa.Connection, source: str, after: str, limit: int) -> list[str]:
    return list(connection.execute(_LIST_PRESENT, {"source": source, "after": after, "limit": limit}).scalars())


def _to_row(imported: ImportedMessage) -> dict[str, Any]:
    message = imported.message
    # A message with a case was published when it was created.
    has_case = message.flow_instance_id is not None
    state, sent = (MessageState.PUBLISHED, message.created) if has_case else (MessageState.STORED, None)
    return (
        _NO_VALUES
        | to_parameters(NewMessage(message, state, sent, message.created))
        | {"new_open_e_message_id": imported.open_e_message_id}
    )
