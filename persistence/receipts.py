"""Find receipts of deliveries. `persistence/queue/receipts.py` stores and deletes them."""

import operator
from collections.abc import Callable, Sequence
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


async def list_latest(database: Database, system_id: str, limit: int) -> list[Receipt]:
    """Return the last receipts of a system, at most `limit`, the newest first."""
    return await database.read(_list_latest, system_id, limit)


async def find(database: Database, delivery_id: str) -> Receipt | None:
    """Return the receipt of a delivery, or None."""
    return await database.read(_find, delivery_id)


@large_read
def _list_page(
    connection: sa.Connection, filter_: ReceiptFilter, after: ReceiptPosition | None, limit: int
) -> list[Receipt]:
    return [_to_receipt(row) for row in connection.execute(_build_list(filter_, after, limit)).mappings()]


@large_read
def _list_latest(connection: sa.Connection, system_id: str, limit: int) -> list[Receipt]:
    order = (receipts.c.last_attempt.desc(), receipts.c.id.desc())
    select = receipts.select().where(receipts.c.system_id == system_id).order_by(*order).limit(limit)
    return [_to_receipt(row) for row in connection.execute(select).mappings()]


def _build_list(filter_: ReceiptFilter, after: ReceiptPosition | None, limit: int) -> sa.Select[Any]:
    """Select a page by conditions on a prefix of the columns of one index, which are also its order."""
    order: tuple[sa.Column[Any], ...] = (receipts.c.last_attempt, receipts.c.id)
    prefix: tuple[Any, ...] = ()
    select = receipts.select().limit(limit)
    if filter_.event_id is not None:
        select = select.where(receipts.c.event_id == filter_.event_id)
    if filter_.system_id is not None and filter_.event_id is not None:
        select = select.where(receipts.c.system_id == filter_.system_id)
    elif filter_.system_id is not None:
        # As a range: with an equation PostgreSQL may choose the index by time, and read the receipts of all systems.
        order, prefix = (receipts.c.system_id, *order), (filter_.system_id,)
    # One condition at each end: PostgreSQL would multiply the estimates of several, and expect too few rows.
    if after is not None and (filter_.since is None or after.last_attempt >= filter_.since):
        select = select.where(_compare(order, operator.gt, *prefix, *after))
    elif filter_.since is not None or prefix:
        since = () if filter_.since is None else (filter_.since,)
        select = select.where(_compare(order, operator.ge, *prefix, *since))
    if filter_.until is not None:
        select = select.where(_compare(order, operator.lt, *prefix, filter_.until))
    elif prefix:
        select = select.where(_compare(order, operator.le, *prefix))
    return select.order_by(*order)


def _compare(
    columns: Sequence[sa.Column[Any]], compare: Callable[[Any, Any], Any], *values: Any
) -> sa.ColumnElement[bool]:
    """Return the comparison of the first columns with these values, as a row."""
    bound = [sa.literal(value, column.type) for column, value in zip(columns, values, strict=False)]
    condition: sa.ColumnElement[bool] = compare(sa.tuple_(*columns[: len(bound)]), sa.tuple_(*bound))
    return condition


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
