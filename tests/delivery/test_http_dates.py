"""The three forms of dates in HTTP."""

from datetime import UTC, datetime

import pytest

from delivery.http_dates import parse_http_date

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 29 Nov 2026 01:00:00 GMT",
        "Sunday, 29-Nov-26 01:00:00 GMT",
        "Sun Nov 29 01:00:00 2026",
        "sun, 29 nov 2026 01:00:00 gmt",
        "SUNDAY, 29-NOV-26 01:00:00 GMT",
        "  Sun,  29 Nov 2026\t01:00:00  GMT ",
        # A wrong weekday, as servers with a broken calendar send it.
        "Mon, 29 Nov 2026 01:00:00 GMT",
    ],
)
def test_parse_http_date_reads_each_form(text):
    assert parse_http_date(text, NOW) == datetime(2026, 11, 29, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["Sun Nov  6 08:49:37 1994", "Sun Nov 06 08:49:37 1994", "Sun, 6 Nov 1994 08:49:37 GMT"]
)
def test_parse_http_date_reads_a_single_digit_day(text):
    assert parse_http_date(text, NOW) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "text", "year"),
    [
        ("2026-03-01", "Sunday, 01-Mar-76 00:00:00 GMT", 2076),
        ("2026-03-01", "Sunday, 02-Mar-76 00:00:00 GMT", 1976),
        ("2026-03-01", "Sunday, 01-Mar-26 00:00:00 GMT", 2026),
        ("2026-03-01", "Sunday, 01-Mar-00 00:00:00 GMT", 2000),
        ("2099-12-31", "Friday, 01-Jan-00 00:00:00 GMT", 2100),
        ("2099-12-31", "Friday, 01-Jan-49 00:00:00 GMT", 2149),
        ("2099-12-31", "Friday, 01-Jan-50 00:00:00 GMT", 2050),
        # 2100 is not a leap year.
        ("2099-12-31", "Tuesday, 29-Feb-00 00:00:00 GMT", 2000),
        ("2028-02-29", "Tuesday, 29-Feb-28 00:00:00 GMT", 2028),
    ],
)
def test_parse_http_date_infers_the_century_of_two_digits(now, text, year):
    assert parse_http_date(text, datetime.fromisoformat(f"{now}T00:00:00Z")).year == year


def test_parse_http_date_reads_a_leap_second():
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "Sun, 29 Nov 2026 01:00:00",
        "Sun, 29 Nov 2026 01:00:00 CET",
        "Sun, 29 Nov 2026 25:00:00 GMT",
        "Sun, 31 Nov 2026 01:00:00 GMT",
        "Sun, 00 Nov 2026 01:00:00 GMT",
        "Sun, 29 Nov 0000 01:00:00 GMT",
        "Sun, 29-Nov-26 01:00:00 GMT",
        "Sunday, 29-Foo-26 01:00:00 GMT",
        "2026-11-29T01:00:00Z",
        "Sun, \u0662\u0669 Nov 2026 01:00:00 GMT",
    ],
)
def test_parse_http_date_refuses_other_forms(text):
    assert parse_http_date(text, NOW) is None
