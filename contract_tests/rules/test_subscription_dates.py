"""startDato and slutDato are moments, returned in Copenhagen's time. Both ends are inclusive."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from contract_tests.api import Api
from contract_tests.rules.subscription_sets import DURATION, END, NOT_VALID, counts, entries, expect_refused

pytestmark = pytest.mark.needs("certificate", "system", "allowed")

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
NO_TIMES = [
    *("", "2023-01-01", "2023-01-01T00:00", "2023-01-01 00:00:00", "2023-01-01t00:00:00", "2023-01-01T00:00:00z"),
    *("20230101T000000", "2023-1-1T00:00:00", "2023-01-01T24:00:00", "2023-01-01T23:59:60", "2023-01-01T00:00:00+1:00"),
    *("2023-01-01T00:00:00.", "2023-01-01T00:00:00,5", "2023-01-01T00:00:00.1234567890", "2023-01-01T00:00:00+0100"),
    *("1899-12-31T23:59:59", "3000-01-01T00:00:00", "2023-00-01T00:00:00", "2023-13-01T00:00:00", "x", "\uff12023"),
    *(" 2023-01-01T00:00:00", "2023-01-01T00:00:00\n", "2023-01-01T00:00:00+24:00", "1672531200"),
    *("2023-02-29T00:00:00", "2023-04-31T00:00:00", "2024-03-31T02:00:00", "2024-03-31T02:59:59.999"),
    *("1900-01-01T00:00:00+02:00", "2999-12-31T23:30:00Z"),
]


@pytest.mark.parametrize("name", ["startDato", "slutDato"])
def test_invalid_times_are_refused(name: str, own_set: Api) -> None:
    """The text has another form, lies before 1900 or after 2999 in Copenhagen, or is a nonexistent date or hour."""
    request = [entry | {name: text} for entry, text in zip(entries(own_set, len(NO_TIMES)), NO_TIMES, strict=True)]
    expect_refused(own_set, request, *((index, name, NOT_VALID) for index in range(len(NO_TIMES))))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2023-01-01T00:00:00", "2023-01-01T00:00:00+01:00"),
        ("2023-07-01T00:00:00", "2023-07-01T00:00:00+02:00"),
        ("2023-01-01T00:00:00Z", "2023-01-01T01:00:00+01:00"),
        ("2023-07-01T00:00:00-05:30", "2023-07-01T07:30:00+02:00"),
        ("2024-10-27T02:30:00", "2024-10-27T02:30:00+02:00"),
        ("2024-10-27T02:30:00+01:00", "2024-10-27T02:30:00+01:00"),
        ("2024-03-31T03:00:00", "2024-03-31T03:00:00+02:00"),
        ("2024-02-29T23:59:59.5", "2024-02-29T23:59:59.5+01:00"),
        ("2023-01-01T00:00:00.000001", "2023-01-01T00:00:00.000001+01:00"),
        ("1900-01-01T00:00:00", "1900-01-01T00:00:00+01:00"),
    ],
)
def test_time_without_an_offset_is_interpreted_in_copenhagen(given: str, expected: str, own_set: Api) -> None:
    """GET returns local time with an offset. An ambiguous hour is interpreted as the first of the two."""
    entry = own_set.entry(startDato=given)
    own_set.subscribe(entry)
    (found,) = own_set.subscriptions()
    moment, wanted = datetime.fromisoformat(found["startDato"]), datetime.fromisoformat(expected)
    assert (moment, moment.utcoffset()) == (wanted, wanted.utcoffset()), f"expected {expected}, but got {found}"
    done = own_set.subscribe(entry | {"startDato": expected})
    assert done == counts(uaendret=1), (
        f"{given} and {expected} are the same time, so the sync must change nothing, but returned {done}"
    )


def test_same_time_with_another_offset_is_no_change(own_set: Api) -> None:
    entry = own_set.entry(startDato="2023-01-01T00:00:00", slutDato="2100-07-01T12:00:00.500")
    own_set.subscribe(entry)
    for start, end in (
        ("2022-12-31T23:00:00Z", "2100-07-01T10:00:00.5Z"),
        ("2023-01-01T05:30:00+06:30", "2100-07-01T05:00:00.500000000-05:00"),
    ):
        done = own_set.subscribe(entry | {"startDato": start, "slutDato": end})
        assert done == counts(uaendret=1), (
            f"{start} and {end} are the same times, so the sync must change nothing, but returned {done}"
        )


def test_open_end_is_null_or_absent(own_set: Api) -> None:
    entry = own_set.entry(slutDato=None)
    own_set.subscribe(entry)
    assert own_set.subscriptions()[0]["slutDato"] is None
    without = {name: value for name, value in entry.items() if name != "slutDato"}
    assert own_set.subscribe(without) == counts(uaendret=1)
    assert own_set.subscribe(entry | {"slutDato": "2999-12-31T23:59:59"}) == counts(opdateret=1)
    assert own_set.subscribe(without) == counts(opdateret=1)
    assert own_set.subscriptions()[0]["slutDato"] is None


def test_end_must_not_precede_start(own_set: Api) -> None:
    same = {"startDato": "2100-01-01T12:00:00", "slutDato": "2100-01-01T11:00:00Z"}
    assert own_set.subscribe(own_set.entry(**same)) == counts(oprettet=1)
    later = own_set.entry(startDato="2100-01-01T12:00:00.000001", slutDato="2100-01-01T12:00:00")
    expect_refused(own_set, [later], (0, "slutDato", DURATION))
    across = own_set.entry(startDato="2100-01-01T12:00:00Z", slutDato="2100-01-01T12:30:00+01:00")
    expect_refused(own_set, [across], (0, "slutDato", DURATION))


def test_start_and_end_are_compared_as_instants(own_set: Api) -> None:
    """In the ambiguous hour, the order of local times differs from the order of moments."""
    early, late = "2100-10-31T02:50:00+02:00", "2100-10-31T02:10:00+01:00"
    assert own_set.subscribe(own_set.entry(startDato=early, slutDato=late)) == counts(oprettet=1)
    expect_refused(own_set, [own_set.entry(startDato=late, slutDato=early)], (0, "slutDato", DURATION))


def test_end_must_not_be_before_today(own_set: Api) -> None:
    """Today is the date in Copenhagen and includes its first moment."""
    today = datetime.now(COPENHAGEN).date()
    begun = datetime.combine(today, time(), COPENHAGEN)
    before = begun.astimezone(UTC) - timedelta(microseconds=1)
    refused = own_set.entry(slutDato=before.isoformat())
    expect_refused(own_set, [refused], (0, "slutDato", END))
    assert own_set.subscribe(own_set.entry(slutDato=begun.isoformat())) == counts(oprettet=1)


def test_negative_duration_and_past_end_are_both_reported(own_set: Api) -> None:
    request = [own_set.entry(slutDato="2022-01-01T00:00:00"), own_set.entry(slutDato="2023-02-01T00:00:00")]
    expect_refused(own_set, request, (0, "slutDato", DURATION), (0, "slutDato", END), (1, "slutDato", END))
