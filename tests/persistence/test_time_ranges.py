"""Queries that are limited to a range of times."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from domain.time_ranges import TimeRange
from persistence.time_ranges import limit_to
from tests.factories import NOW

HOUR = timedelta(hours=1)
TIMES = [NOW, NOW + HOUR, NOW + 2 * HOUR]


def find_numbers(times: TimeRange) -> list[int]:
    """Return the places in `TIMES` of those in a range, by a column of texts."""
    rows = sa.Table("rows", sa.MetaData(), sa.Column("number", sa.Integer), sa.Column("time", sa.Text))
    select = limit_to(sa.select(rows.c.number), rows.c.time, times, datetime.isoformat)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        rows.create(connection)
        values = [{"number": number, "time": moment.isoformat()} for number, moment in enumerate(TIMES)]
        connection.execute(rows.insert(), values)
        return sorted(connection.scalars(select))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (TimeRange(), [0, 1, 2]),
        (TimeRange(since=NOW + HOUR), [1, 2]),
        (TimeRange(until=NOW + HOUR), [0]),
        (TimeRange(NOW + HOUR, NOW + 2 * HOUR), [1]),
        (TimeRange(NOW + HOUR, NOW + HOUR), []),
    ],
)
def test_limit_to_includes_the_beginning_and_not_the_end(times: TimeRange, expected: list[int]) -> None:
    assert find_numbers(times) == expected
