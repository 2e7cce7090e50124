"""The queue of each system over time, computed from receipts and from what has not arrived.

No samples are stored: a receipt has the times of acceptance and arrival, and deliveries that have not arrived are
rows of the queue. Deliveries that were dropped left no trace, so they are missing in the past too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from persistence.database import Database
from persistence.tables import UtcDateTime, receipts
from persistence.work import long_read

INTERVAL = timedelta(minutes=10)
"""The length of an interval. Intervals begin at full ten minutes, which SQLite finds by the text of a time."""


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """The numbers of one system by interval, oldest first: what arrived in it, and what had not arrived at its end."""

    system_id: str
    delivered: tuple[int, ...]
    undelivered: tuple[int, ...]


def find_start(now: datetime, intervals: int) -> datetime:
    """Return the beginning of the first of a number of intervals, of which the last contains `now`."""
    passed = timedelta(minutes=now.minute % (INTERVAL.seconds // 60), seconds=now.second, microseconds=now.microsecond)
    return now - passed - (intervals - 1) * INTERVAL


async def read_history(database: Database, start: datetime, intervals: int) -> dict[str, QueueHistory]:
    """Return the histories of the systems that had deliveries since `start`, by system.

    This reads all deliveries, and the receipts since `start`, in a thread: do not call it while a request waits.
    """
    return await database.read(_read_history, start, intervals)


_INTERVALS = {
    "sqlite": "substr({column}, 1, 15)",
    "postgresql": "date_bin(interval '10 minutes', {column}, timestamptz '2000-01-01 00:00Z')",
}


def _build(dialect: str, text: str) -> sa.TextualSelect:
    columns = {name: _INTERVALS[dialect].format(column=name) for name in ("accepted", "last_attempt", "created")}
    statement = sa.text(text.format(**columns)).bindparams(sa.bindparam("start", type_=UtcDateTime()))
    return statement.columns(receipts.c.system_id)


_ARRIVED = {
    dialect: _build(
        dialect,
        """
        select system_id, case when accepted >= :start then {accepted} end, {last_attempt}, count(*)
        from receipts where last_attempt >= :start group by 1, 2, 3
        """,
    )
    for dialect in _INTERVALS
}
_NOT_ARRIVED = {
    dialect: _build(
        dialect,
        "select system_id, case when created >= :start then {created} end, count(*) from deliveries group by 1, 2",
    )
    for dialect in _INTERVALS
}


@long_read
def _read_history(connection: sa.Connection, start: datetime, intervals: int) -> dict[str, QueueHistory]:
    counts: dict[str, _Counts] = {}

    def find_counts(system_id: str) -> _Counts:
        return counts.setdefault(system_id, _Counts([0] * intervals, [0] * intervals))

    dialect = connection.dialect.name
    for system_id, accepted, arrived, number in connection.execute(_ARRIVED[dialect], {"start": start}):
        of_system = find_counts(system_id)
        _add(of_system.delivered, _find_place(arrived, start), number)
        if accepted is not None:
            _add(of_system.accepted, _find_place(accepted, start), number)
    for system_id, accepted, number in connection.execute(_NOT_ARRIVED[dialect], {"start": start}):
        of_system = find_counts(system_id)
        of_system.now += number
        if accepted is not None:
            _add(of_system.accepted, _find_place(accepted, start), number)
    return {
        system_id: QueueHistory(system_id, tuple(each.delivered), tuple(each.count_undelivered()))
        for system_id, each in counts.items()
    }


@dataclass(slots=True)
class _Counts:
    """The deliveries of one system that were accepted and that arrived, by interval, and those not arrived now."""

    accepted: list[int]
    delivered: list[int]
    now: int = 0

    def count_undelivered(self) -> Iterable[int]:
        """Return the number of deliveries that had not arrived at the end of each interval, oldest first."""
        number, numbers = self.now, []
        for accepted, delivered in zip(reversed(self.accepted), reversed(self.delivered), strict=True):
            # Clocks of several machines may put an arrival before its acceptance.
            numbers.append(max(0, number))
            number += delivered - accepted
        return reversed(numbers)


def _find_place(moment: Any, start: datetime) -> int:
    """Return the place of an interval. SQLite has its beginning without the last digit, such as `2026-11-30 10:2`."""
    begin = datetime.fromisoformat(f"{moment}0").replace(tzinfo=UTC) if isinstance(moment, str) else moment
    return int((begin - start) // INTERVAL)


def _add(numbers: list[int], place: int, number: int) -> None:
    # A time of the future, by the clock of another machine, counts as now.
    numbers[min(place, len(numbers) - 1)] += number
