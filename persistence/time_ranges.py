"""Limit a query to a range of times."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.time_ranges import TimeRange


def limit_to(
    select: sa.Select[Any],
    column: sa.ColumnElement[Any],
    times: TimeRange,
    convert: Callable[[datetime], object] = lambda moment: moment,
) -> sa.Select[Any]:
    """Return a query for the rows whose column is in a range. `convert` returns the value of the column for a time."""
    if times.since is not None:
        select = select.where(column >= convert(times.since))
    if times.until is not None:
        select = select.where(column < convert(times.until))
    return select
