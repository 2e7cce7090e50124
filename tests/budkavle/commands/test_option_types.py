"""Times as options take them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from budkavle.clock import now
from budkavle.commands.option_types import Expiry, Moment, past_option


@click.command()
@past_option("--since", "From this time on.")
def count_back(since: datetime | None) -> None:
    click.echo("" if since is None else since.isoformat())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("1h", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("1826d", timedelta(days=1826)),
        ("2026-03-01T12:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 13:00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-07-01", datetime(2026, 6, 30, 22, tzinfo=UTC)),
    ],
)
def test_moment_reads_durations_and_times(text: str, expected: Any) -> None:
    assert Moment().convert(text, None, None) == expected
    assert Expiry().convert(text, None, None) == expected


@pytest.mark.parametrize(
    "text", ["0s", "1827d", "262w", "999999999w", "-1h", "1 h", "1H", "h", "1h30m", "٣h", "yesterday", "2026-02-30", ""]
)
def test_moment_refuses_others(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)


def test_past_option_counts_back_from_now() -> None:
    before = now()
    result = CliRunner().invoke(count_back, ["--since", "1h"])
    assert before <= datetime.fromisoformat(result.stdout.strip()) + timedelta(hours=1) <= now()
    assert CliRunner().invoke(count_back, []).stdout == "\n"
    assert CliRunner().invoke(count_back, ["--since", "2026-03-01T12:00Z"]).stdout == "2026-03-01T12:00:00+00:00\n"
    assert CliRunner().invoke(count_back, ["--since", "soon"]).exit_code == 2
