"""Read the states of messages, for operators: of those in doubt, of one by its id, and of those of a request."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.idempotency_keys import build_first_id
from domain.publications import PublicationStatus
from domain.time_ranges import TimeRange
from domain.web_messages import MessageState, OepInstance, OpenEName
from persistence.database import Database
from persistence.publications import IS_IN_DOUBT, OPEN_E
from persistence.tables import IS_UNSETTLED, IS_UNSETTLED_TRACE
from persistence.tables import idempotency_keys as keys_table
from persistence.tables import publication_traces as traces_table
from persistence.tables import settlements as settlements_table
from persistence.tables import web_messages as messages_table
from persistence.time_ranges import limit_to
from persistence.work import long_read, short_read


async def list_in_doubt(
    database: Database, before: datetime, states: Sequence[MessageState], limit: int
) -> list[PublicationStatus]:
    """Return messages in doubt in these states, oldest first. A message still `sending` was sent before `before`."""
    return await database.read(_list_in_doubt, before, [str(state) for state in states], limit)


async def find(database: Database, message_id: str, before: datetime) -> PublicationStatus | None:
    """Return the status of a message, None if there is none. `before` is as in `list_in_doubt`."""
    return await database.read(_find, message_id, before)


async def list_of_request(
    database: Database, request_id: str, times: TimeRange, before: datetime, limit: int
) -> list[PublicationStatus]:
    """Return at most `limit` messages that a request created in a range of times. `before` is as in `list_in_doubt`.

    This reads all messages of the range: their ids begin with the time.
    """
    return await database.read(_list_of_request, request_id, times, before, limit)


async def count_failing_cases(database: Database) -> dict[OpenEName, int]:
    """Return the number of cases with messages in doubt whose last read failed, by Open-E."""
    return await database.read(_count_failing_cases)


async def find_open_e_id(database: Database, message_id: str) -> int | None:
    """Return the id that Open-E gave a message, also if it was deleted since, or None."""
    return await database.read(_find_open_e_id, message_id)


async def has_trace(database: Database, message_id: str) -> bool:
    """Return whether a message was deleted before or after it was settled, and has left a trace."""
    return await database.read(_has_trace, message_id)


_m, _t, _s = messages_table.c, traces_table.c, settlements_table.c
_SELECT = (
    sa.select(
        _m.id,
        _m.state,
        _m.oep_instance,
        OPEN_E.element.label("open_e"),
        _m.flow_instance_id,
        _m.sent,
        _m.created,
        _m.open_e_message_id,
        sa.case((sa.text(IS_UNSETTLED) & IS_IN_DOUBT, 1), else_=0).label("is_in_doubt"),
        keys_table.c.caller,
        _s.failures,
        _s.due,
    )
    .outerjoin(keys_table, keys_table.c.message_id == _m.id)
    .outerjoin(
        settlements_table,
        (_s.oep_instance == OPEN_E.element) & (_s.flow_instance_id == _m.flow_instance_id) & sa.text(IS_UNSETTLED),
    )
)
_LIST = (
    _SELECT.where(sa.text(IS_UNSETTLED), IS_IN_DOUBT, _m.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(_m.sent, _m.id)
    .limit(sa.bindparam("limit"))
)
_FIND = _SELECT.where(_m.id == sa.bindparam("message_id"))
_IS_UNSETTLED_CASE = (
    sa.exists()
    .where(sa.text(IS_UNSETTLED), OPEN_E.element == _s.oep_instance, _m.flow_instance_id == _s.flow_instance_id)
    .correlate(settlements_table)
) | (
    sa.exists()
    .where(sa.text(IS_UNSETTLED_TRACE), _t.oep_instance == _s.oep_instance, _t.flow_instance_id == _s.flow_instance_id)
    .correlate(settlements_table)
)
_TRACE = sa.select(_t.message_id).where(_t.message_id == sa.bindparam("message_id"))
_OPEN_E_ID = sa.union_all(
    *(
        sa.select(table.c.open_e_message_id).where(id_ == sa.bindparam("message_id"))
        for table, id_ in ((messages_table, _m.id), (traces_table, _t.message_id))
    )
)


@short_read
def _list_in_doubt(
    connection: sa.Connection, before: datetime, states: list[str], limit: int
) -> list[PublicationStatus]:
    rows = connection.execute(_LIST, {"before": before, "states": states, "limit": limit})
    return [_to_status(row) for row in rows.all()]


@short_read
def _find(connection: sa.Connection, message_id: str, before: datetime) -> PublicationStatus | None:
    row = connection.execute(_FIND, {"message_id": message_id, "before": before}).first()
    return None if row is None else _to_status(row)


@long_read
def _list_of_request(
    connection: sa.Connection, request_id: str, times: TimeRange, before: datetime, limit: int
) -> list[PublicationStatus]:
    select = limit_to(_SELECT.where(_m.request_id == request_id), _m.id, times, build_first_id)
    rows = connection.execute(select.order_by(_m.id).limit(limit), {"before": before})
    return [_to_status(row) for row in rows.all()]


@short_read
def _count_failing_cases(connection: sa.Connection) -> dict[OpenEName, int]:
    # A case of which an operator settled the last message keeps its claim for a while.
    cases = sa.func.count().label("cases")
    select = sa.select(_s.oep_instance, cases).where(_s.failures > 0, _IS_UNSETTLED_CASE).group_by(_s.oep_instance)
    return {row.oep_instance: row.cases for row in connection.execute(select.order_by(_s.oep_instance))}


@short_read
def _find_open_e_id(connection: sa.Connection, message_id: str) -> int | None:
    open_e_id: int | None = connection.scalar(_OPEN_E_ID, {"message_id": message_id})
    return open_e_id


@short_read
def _has_trace(connection: sa.Connection, message_id: str) -> bool:
    return connection.execute(_TRACE, {"message_id": message_id}).first() is not None


def _to_status(row: sa.Row[*tuple[Any, ...]]) -> PublicationStatus:
    return PublicationStatus(
        id=row.id,
        state=MessageState(row.state),
        oep_instance=OepInstance(row.oep_instance),
        open_e=row.open_e,
        flow_instance_id=row.flow_instance_id,
        sent=row.sent,
        created=row.created,
        open_e_message_id=row.open_e_message_id,
        is_in_doubt=bool(row.is_in_doubt),
        caller=row.caller,
        failures=row.failures or 0,
        next_read=row.due,
    )
