"""Ranges of time that a search is limited to."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The times from `since` on, and before `until`. None is no limit."""

    since: datetime | None = None
    until: datetime | None = None
