"""Dates in HTTP fields: the three forms of RFC 9110, section 5.6.7."""

import re
from datetime import UTC, datetime

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_SHORT_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = "(mon|tues|wednes|thurs|fri|satur|sun)day"

_FORMS = tuple(
    re.compile(form)
    for form in (
        # Sun, 06 Nov 1994 08:49:37 GMT
        rf"{_SHORT_DAY}, (?P<day>[0-9]{{1,2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} gmt",
        # Sunday, 06-Nov-94 08:49:37 GMT
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} gmt",
        # Sun Nov  6 08:49:37 1994
        rf"{_SHORT_DAY} {_MONTH} (?P<day>[0-9]{{1,2}}) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
_FUTURE_YEARS = 50
_SPACES = re.compile(r"[ \t]+")


def parse_http_date(text: str, now: datetime) -> datetime | None:
    """Return the moment of an HTTP date, or None if the text has none of the forms or is no valid date.

    Case and the number of spaces do not matter, and the weekday is not compared with the date. `now` determines the
    century of a year with two digits: a date more than 50 years in the future is interpreted as past.
    """
    text = _SPACES.sub(" ", text.strip(" \t")).lower()
    found = next((match for form in _FORMS if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) > 2:  # noqa: PLR2004  # The digits of a year in RFC 850.
        return _build_time(found, year)
    day = 28 if (now.month, now.day) == (2, 29) else now.day
    limit = now.replace(year=now.year + _FUTURE_YEARS, day=day)
    first = now.year // 100 * 100 + year
    candidates = (_build_time(found, each) for each in (first + 100, first, first - 100))
    return next((each for each in candidates if each is not None and each <= limit), None)


def _build_time(found: re.Match[str], year: int) -> datetime | None:
    # Python has no leap seconds.
    second = 59 if found["second"] == "60" else int(found["second"])
    month = _MONTHS.index(found["month"]) + 1
    try:
        return datetime(year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
