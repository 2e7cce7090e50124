"""Find receipts of deliveries. `persistence/queue/receipts.py` stores and deletes them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.receipts import FailedAttempt, Receipt
from persistence.database import Database
from persistence.tables import receipts
from persistence.work import large_read, short_read


class ReceiptPosition(NamedTuple):
    """A position in a list of receipts, which are ordered by their last attempt and id."""

    last_attempt: datetime
    id: str


@dataclass(frozen=True, slots=True)
class ReceiptFilter:
    """The common properties of the receipts of a list; None matches all. `until` is exclusive."""

    system_id: str | None = None
    event_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_page(
    database: Database, filter_: ReceiptFilter, after: ReceiptPosition | None, limit: int
) -> list[Receipt]:
    """Return at most `limit` receipts after a position, by their last attempt and id."""
    return await database.read(_list_page, filter_, after, limit)


async def find(database: Database, delivery_id: str) -> Receipt | None:
    """Return the receipt of a delivery, or None."""
    return await database.read(_find, delivery_id)


@large_read
def _list_page(
    connection: sa.Connection, filter_: ReceiptFilter, after: ReceiptPosition | None, limit: int
) -> list[Receipt]:
    select = receipts.select().order_by(receipts.c.last_attempt, receipts.c.id).limit(limit)
    if filter_.system_id is not None:
        select = select.where(receipts.c.system_id == filter_.system_id)
    if filter_.event_id is not None:
        select = select.where(receipts.c.event_id == filter_.event_id)
    if filter_.since is not None:
        select = select.where(receipts.c.last_attempt >= filter_.since)
    if filter_.until is not None:
        select = select.where(receipts.c.last_attempt < filter_.until)
    if after is not None:
        # The first condition is for the index: SQLite compares no pairs with it.
        position = sa.tuple_(
            sa.literal(after.last_attempt, receipts.c.last_attempt.type), sa.literal(after.id, receipts.c.id.type)
        )
        select = select.where(
            receipts.c.last_attempt >= after.last_attempt,
            sa.tuple_(receipts.c.last_attempt, receipts.c.id) > position,
        )
    return [_to_receipt(row) for row in connection.execute(select).mappings()]


@short_read
def _find(connection: sa.Connection, delivery_id: str) -> Receipt | None:
    row = connection.execute(receipts.select().where(receipts.c.id == delivery_id)).mappings().first()
    return None if row is None else _to_receipt(row)


def _to_receipt(row: sa.RowMapping) -> Receipt:
    failures = tuple(_to_failed_attempt(values) for values in row["failures"] or ())
    return Receipt(**{**row, "failures": failures})


def _to_failed_attempt(values: list[Any]) -> FailedAttempt:
    number, time, milliseconds, status, reason = values
    return FailedAttempt(number, datetime.fromisoformat(time).replace(tzinfo=UTC), milliseconds, status, reason)
