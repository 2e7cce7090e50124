"""Lists of the messages that callers can read, in pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.web_messages import ExternalReference, WebMessage
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import web_message_references as references_table
from persistence.tables import web_messages as messages_table
from persistence.web_messages import COLUMNS, to_message
from persistence.work import short_read

PAGE_BYTES = 512 * 1024
"""Bytes of texts after which a page of a list ends, because reading and encoding them delays other callers."""

FEW = 25
"""On PostgreSQL, pages of at most this number of messages are not shortened."""


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a list: after the message with this creation time and id."""

    created: datetime
    id: str


async def list_by_party(
    database: Database, party_id: str, limit: int, after: Position | None, municipality_id: str | None = None
) -> list[WebMessage]:
    """Return at most `limit` messages to a party, oldest first, optionally only those of a municipality.

    Their attachments have no data. A page ends early once its texts exceed `PAGE_BYTES` (see `is_last_page`), but has
    at least one message if there is one. A page of at most `FEW` messages may be larger.
    """
    return await _read_page(database, _BY_PARTY, {"party_id": party_id}, limit, after, municipality_id)


async def list_by_reference(
    database: Database,
    reference: ExternalReference,
    limit: int,
    after: Position | None,
    municipality_id: str | None = None,
) -> list[WebMessage]:
    """Return at most `limit` messages with a reference, with the order and limits of `list_by_party`."""
    parameters = {"key": reference.key, "value": reference.value}
    return await _read_page(database, _BY_REFERENCE, parameters, limit, after, municipality_id)


def is_last_page(page: Sequence[WebMessage], limit: int) -> bool:
    """Return whether a page that was requested with `limit` is the last one."""
    return len(page) < limit and sum(map(_compute_max_bytes, page)) < PAGE_BYTES


class _List(NamedTuple):
    """The queries of a list: of all messages, and of those of one municipality."""

    all: "_Pages"
    of_municipality: "_Pages"


class _Pages(NamedTuple):
    """The queries of the first page of a list, and of a page after a position, by dialect."""

    first: Mapping[str, PreparedStatement]
    next: Mapping[str, PreparedStatement]


async def _read_page(
    database: Database,
    list_: _List,
    parameters: Mapping[str, Any],
    limit: int,
    after: Position | None,
    municipality_id: str | None,
) -> list[WebMessage]:
    values = {**parameters, "limit": limit}
    pages = list_.all
    if municipality_id is not None:
        pages = list_.of_municipality
        values["municipality_id"] = municipality_id
    if after is None:
        return await database.read(_list, pages.first, values)
    return await database.read(_list, pages.next, values | {"created": after.created, "id": after.id})


_AFTER_CREATED = sa.bindparam("created", type_=messages_table.c.created.type)
_AFTER_ID = sa.bindparam("id", type_=sa.Uuid(False))
_AFTER = sa.tuple_(_AFTER_CREATED, _AFTER_ID)
# SQLite compares times as texts. Those of imported rows may have more or fewer digits than the parameter, so prefer the
# stored text.
_AFTER_MESSAGE = messages_table.alias("after_message")
_AFTER_TEXT = sa.tuple_(
    sa.func.coalesce(
        sa.select(_AFTER_MESSAGE.c.created).where(_AFTER_MESSAGE.c.id == _AFTER_ID).scalar_subquery(), _AFTER_CREATED
    ),
    _AFTER_ID,
)


def _prepare_by_dialect(select: sa.Select[Any], position: sa.Tuple | None = None) -> dict[str, PreparedStatement]:
    """Return the queries of a page, with `position` only of rows after the parameters `created` and `id`.

    PostgreSQL sends all rows at once, so its query limits the bytes itself.
    """
    found = (select if position is None else select.where(position > _AFTER)).subquery()
    bytes_ = sa.func.octet_length(found.c.message) + sa.func.pg_column_size(found.c.external_references)
    before = sa.func.sum(bytes_).over(order_by=(found.c.created, found.c.id), rows=(None, -1)).label("before")
    summed = sa.select(found, before).subquery()
    bounded = sa.select(*(summed.c[column.name] for column in COLUMNS)).where(
        sa.func.coalesce(summed.c.before, 0) < PAGE_BYTES
    )
    return {
        "sqlite": PreparedStatement(select if position is None else select.where(position > _AFTER_TEXT)),
        "postgresql": PreparedStatement(bounded.order_by(summed.c.created, summed.c.id)),
    }


def _prepare(select: sa.Select[Any], *order: sa.ColumnElement[Any]) -> _List:
    select = select.order_by(*order).limit(sa.bindparam("limit"))
    of_municipality = select.where(messages_table.c.municipality_id == sa.bindparam("municipality_id"))
    all_, of_one = (
        _Pages(_prepare_by_dialect(each), _prepare_by_dialect(each, sa.tuple_(*order)))
        for each in (select, of_municipality)
    )
    return _List(all_, of_one)


_BY_PARTY = _prepare(
    sa.select(*COLUMNS).where(
        messages_table.c.party_id == sa.bindparam("party_id"), messages_table.c.created.is_not(None)
    ),
    messages_table.c.created,
    messages_table.c.id,
)
_BY_REFERENCE = _prepare(
    sa.select(*COLUMNS)
    .join(references_table, references_table.c.message_id == messages_table.c.id)
    .where(references_table.c.key == sa.bindparam("key"), references_table.c.value == sa.bindparam("value")),
    references_table.c.created,
    references_table.c.message_id,
)


@short_read
def _list(
    connection: sa.Connection, statements: Mapping[str, PreparedStatement], parameters: dict[str, Any]
) -> list[WebMessage]:
    dialect = connection.dialect.name
    if dialect == "postgresql" and parameters["limit"] <= FEW:
        # The query with a limit costs as much as several messages.
        return [to_message(row) for row in statements["sqlite"].execute(connection, **parameters)]
    page: list[WebMessage] = []
    size = 0
    for row in statements[dialect].iterate(connection, **parameters):
        message = to_message(row)
        page.append(message)
        size += _compute_max_bytes(message)
        if size >= PAGE_BYTES:
            break
    return page


def _compute_max_bytes(message: WebMessage) -> int:
    """Return an upper bound of the bytes of a message's texts in the database."""
    references = sum(len(each.key) + len(each.value) for each in message.external_references)
    return 4 * len(message.message) + 6 * references + 8 * len(message.external_references)
