"""Messages as JSON: their times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from handlers.message_json import write_time

ZONE = timezone(timedelta(hours=-5, minutes=-30))


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2026, 11, 30, 21, 5, 6, 789012, UTC), "2026-11-30T21:05:06.789+00:00"),
        (datetime(2026, 11, 30, 21, 5, 6, 1, UTC), "2026-11-30T21:05:06.000+00:00"),
        (datetime(2026, 11, 30, 21, 5, 6, 0, UTC), "2026-11-30T21:05:06.000+00:00"),
        (datetime(1, 1, 1, 0, 0, 0, 999999, ZONE), "0001-01-01T00:00:00.999-05:30"),
        (datetime(1, 1, 1, 0, 0, 0, 0, ZONE), "0001-01-01T00:00:00.000-05:30"),
    ],
)
def test_write_time_truncates_to_milliseconds(time: datetime, text: str) -> None:
    assert write_time(time) == text == time.isoformat(timespec="milliseconds")
