"""Find and remove what is older than it is kept, in bounded steps (decision 0036).

Tables are read in pages by their primary keys: an index by age would slow down every insert, and age matters in days.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from domain.deliveries import DeliveryState
from domain.retention import MessageSelection, Removal
from domain.web_messages import READABLE_STATES, OepInstance
from persistence import removal_counts
from persistence.database import Database
from persistence.tables import attempts, deliveries, events, receipts
from persistence.tables import web_messages as messages_table
from persistence.web_messages import delete_readable
from persistence.work import bulk_write, large_queue_write, large_read, long_read

PAGE = 1000
"""Rows that one step considers."""

FIRST_ID = str(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Page:
    """What matches among the next `PAGE` rows, and the last of these rows, None if there was none.

    `items` has the id of each row, and the bytes of its files.
    """

    items: Sequence[tuple[Any, int]]
    last: Any


async def find_messages(database: Database, selection: MessageSelection, after: str = FIRST_ID) -> Page:
    """Return the selected messages among the next ones after an id, in the order of ids."""
    return await database.read(_find_messages, selection, after)


async def remove_messages(database: Database, message_ids: Sequence[str], counted: Removal | None = None) -> int:
    """Delete those of the messages that callers can read. Return their number, which is added to that of `counted`."""
    return await database.write(_remove_messages, message_ids, counted)


async def find_parked(database: Database, before: datetime, after: int = 0) -> Page:
    """Return parked deliveries whose last attempt was before a time, among the next deliveries after a number."""
    return await database.read(_find_parked, before, after)


async def remove_parked(
    database: Database, numbers: Iterable[int], before: datetime, counted: Removal | None = None
) -> int:
    """Delete those of the deliveries that `find_parked` still finds. Return their number, as `remove_messages` does.

    Other deliveries do not wait for parked ones. Deliveries that another transaction has locked are skipped.
    """
    return await database.write(_remove_parked, list(numbers), before, counted)


async def count_events(database: Database, before: datetime, parked_before: datetime | None) -> int:
    """Return the number of events from before a time that have no deliveries, or only those of `find_parked`.

    `parked_before` is the time for `find_parked`, None if parked deliveries are kept.
    """
    return await database.read(_count_events, before, parked_before)


async def count_receipts(database: Database, before: datetime) -> int:
    """Return the number of receipts whose last attempt was before a time."""
    return await database.read(_count_receipts, before)


_m, _d = messages_table.c, deliveries.c


def _select_last(key: sa.Column[Any]) -> sa.Select[Any]:
    """Return the query of the last of the next `PAGE` rows after the parameter `after`."""
    page = sa.select(key).where(key > sa.bindparam("after", type_=key.type)).order_by(key).limit(PAGE).subquery()
    return sa.select(page.c[key.name]).order_by(page.c[key.name].desc()).limit(1)


def _is_in_page(key: sa.Column[Any]) -> sa.ColumnElement[bool]:
    after, last = (sa.bindparam(name, type_=key.type) for name in ("after", "last"))
    return (key > after) & (key <= last)


_LAST_MESSAGE, _LAST_DELIVERY = _select_last(_m.id), _select_last(_d.number)
_FIND_MESSAGES = (
    sa.select(_m.id, _m.attachments)
    .where(
        _is_in_page(_m.id),
        _m.created < sa.bindparam("before"),
        _m.state.in_(sa.bindparam("states", expanding=True)),
        _m.oep_instance.in_(sa.bindparam("instances", expanding=True)),
    )
    .order_by(_m.id)
)
_PARKED_AT = sa.func.coalesce(
    sa.select(sa.func.max(attempts.c.time)).where(attempts.c.delivery == _d.number).scalar_subquery(), _d.created
)


def _is_parked_before(name: str) -> sa.ColumnElement[bool]:
    return (_d.state == str(DeliveryState.PARKED)) & (sa.bindparam(name, type_=_d.created.type) > _PARKED_AT)


_FIND_PARKED = sa.select(_d.number).where(_is_in_page(_d.number), _is_parked_before("before")).order_by(_d.number)
_REMOVE_PARKED = deliveries.delete().where(
    _d.number.in_(
        sa.select(_d.number)
        .where(_d.number.in_(sa.bindparam("numbers", expanding=True)), _is_parked_before("before"))
        .with_for_update(of=deliveries, skip_locked=True)
    )
)
_OF_EVENT = sa.select(1).where(_d.event_id == events.c.id)
_OLD_EVENTS = sa.select(sa.func.count()).select_from(events).where(events.c.created < sa.bindparam("before"))
_COUNT_RECEIPTS = (
    sa.select(sa.func.count()).select_from(receipts).where(receipts.c.last_attempt < sa.bindparam("before"))
)


@large_read
def _find_messages(connection: sa.Connection, selection: MessageSelection, after: str) -> Page:
    last = connection.execute(_LAST_MESSAGE, {"after": after}).scalar()
    if last is None:
        return Page((), None)
    states = READABLE_STATES if selection.state is None else (selection.state,)
    instances = tuple(OepInstance) if selection.oep_instance is None else (selection.oep_instance,)
    parameters = {"after": after, "last": last, "before": selection.before}
    parameters |= {"states": list(map(str, states)), "instances": list(map(str, instances))}
    rows = connection.execute(_FIND_MESSAGES, parameters)
    return Page([(row.id, sum(size for _, _, _, size, _ in row.attachments)) for row in rows], last)


@bulk_write
def _remove_messages(connection: sa.Connection, message_ids: Sequence[str], counted: Removal | None) -> int:
    return removal_counts.add(connection, counted, len(delete_readable(connection, message_ids)))


@large_read
def _find_parked(connection: sa.Connection, before: datetime, after: int) -> Page:
    last = connection.execute(_LAST_DELIVERY, {"after": after}).scalar()
    if last is None:
        return Page((), None)
    rows = connection.execute(_FIND_PARKED, {"after": after, "last": last, "before": before})
    return Page([(number, 0) for number in rows.scalars()], last)


@large_queue_write
def _remove_parked(connection: sa.Connection, numbers: list[int], before: datetime, counted: Removal | None) -> int:
    number = connection.execute(_REMOVE_PARKED, {"numbers": numbers, "before": before}).rowcount
    return removal_counts.add(connection, counted, number)


@long_read
def _count_events(connection: sa.Connection, before: datetime, parked_before: datetime | None) -> int:
    kept, parameters = _OF_EVENT, {"before": before}
    if parked_before is not None:
        kept, parameters = (
            _OF_EVENT.where(~_is_parked_before("parked_before")),
            parameters | {"parked_before": parked_before},
        )
    return connection.execute(_OLD_EVENTS.where(~sa.exists(kept)), parameters).scalar_one()


@long_read
def _count_receipts(connection: sa.Connection, before: datetime) -> int:
    return connection.execute(_COUNT_RECEIPTS, {"before": before}).scalar_one()
