"""Subscriptions: their times, and the plan of a sync."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.subscriptions import (
    Entry,
    ErrorCode,
    Identity,
    MessageType,
    Offer,
    Subscription,
    SyncPlan,
    plan_sync,
    read_time,
    write_time,
)

NOW = datetime(2026, 3, 1, 22, 59, tzinfo=UTC)
"""One minute before midnight in Copenhagen."""
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)
FIRST, LAST = datetime(1899, 12, 31, 23, tzinfo=UTC), datetime(2999, 12, 31, 22, 59, 59, tzinfo=UTC)
CATALOGUE = Offer(
    message_types={
        202: MessageType(202, "Open"),
        203: MessageType(203, "Ends today", end=date(2026, 3, 1)),
        204: MessageType(204, "Ended", end=date(2026, 2, 28)),
        205: MessageType(205, "Not yet", start=date(2030, 1, 1)),
    },
    allowed={(1, 202), (1, 203), (1, 204), (1, 205)},
)
EMPTY = Offer({}, set())


def build_entry(index: int = 0, **changes: Any) -> Entry:
    values = {"org_type": 1, "org_code": 101, "entity_type": 202, "webhook_url": "/a", "start": START, "end": END}
    return Entry(index, **(values | changes))


def build_subscription(**changes: Any) -> Subscription:
    given_entry = build_entry(**changes)
    assert given_entry.identity is not None
    assert given_entry.webhook_url is not None
    assert given_entry.start is not None
    return Subscription(given_entry.identity, given_entry.webhook_url, given_entry.start, given_entry.end)


def map_by_identity(*subscriptions: Subscription) -> dict[Identity, Subscription]:
    return {subscription.identity: subscription for subscription in subscriptions}


def list_error_places(plan: SyncPlan) -> list[tuple[int | None, str | None, int]]:
    return [(error.index, error.field, error.code) for error in plan.errors]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00", "2025-12-31T23:00:00+00:00"),
        ("2026-07-01T00:00:00", "2026-06-30T22:00:00+00:00"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
        ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"),
        ("2026-01-01T00:00:00-05:30", "2026-01-01T05:30:00+00:00"),
        ("2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00+00:00"),
        ("2026-01-01T00:00:00.5", "2025-12-31T23:00:00.500000+00:00"),
        ("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123456+00:00"),
        ("2024-02-29T12:00:00", "2024-02-29T11:00:00+00:00"),
        # The clock is set back at 3 o'clock: the first of the two hours applies.
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25T03:00:00", "2026-10-25T02:00:00+00:00"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00+00:00"),
        # The clock is set forward from 2 to 3 o'clock.
        ("2026-03-29T01:59:59", "2026-03-29T00:59:59+00:00"),
        ("2026-03-29T03:00:00", "2026-03-29T01:00:00+00:00"),
        ("1900-01-01T00:00:00", "1899-12-31T23:00:00+00:00"),
        ("2999-12-31T23:59:59.999999", "2999-12-31T22:59:59.999999+00:00"),
    ],
)
def test_read_time_returns_the_instant_in_utc(text: str, expected: str) -> None:
    moment = read_time(text)
    assert moment is not None
    assert moment.tzinfo is UTC
    assert moment.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-29T02:00:00",
        "2026-03-29T02:30:00",
        "2026-03-29T02:59:59.999",
        "2026-02-29T00:00:00",
        "2026-13-01T00:00:00",
        "2026-01-01T24:00:00",
        "2026-01-01T23:59:60",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+99:59",
        "2026-01-01T00:00:00+01:60",
        "2026-01-01T00:00",
        "2026-01-01 00:00:00",
        "2026-01-01T00:00:00z",
        "2026-01-01T00:00:00\n",
        "\u0662026-01-01T00:00:00",
        "",
        # Returned times must be valid in requests: these are in 1899 and in 3000 in Copenhagen.
        "1900-01-01T00:00:00+14:00",
        "2999-12-31T23:59:59-14:00",
        "1899-12-31T23:59:59",
        "3000-01-01T00:00:00",
        # Instants that Python cannot represent.
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59",
        "0000-01-01T00:00:00",
    ],
)
def test_read_time_returns_none_for_an_invalid_time(text: str) -> None:
    assert read_time(text) is None


def test_write_time_contains_the_offset_of_an_ambiguous_hour() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert write_time(first) == "2026-10-25T02:30:00+02:00"
    assert write_time(first + timedelta(hours=1)) == "2026-10-25T02:30:00+01:00"


@given(st.integers(0, int((LAST - FIRST).total_seconds() * 1_000_000)))
def test_read_time_parses_the_output_of_write_time(microseconds: int) -> None:
    moment = FIRST + timedelta(microseconds=microseconds)
    assert read_time(write_time(moment)) == moment


@given(st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})?\Z"))
def test_read_time_never_raises(text: str) -> None:
    moment = read_time(text)
    assert moment is None or read_time(write_time(moment)) == moment


def test_plan_sync_lists_creations_changes_removals_and_unchanged() -> None:
    same, other = build_subscription(org_code=1), build_subscription(org_code=2)
    gone = build_subscription(org_code=3)
    wanted = [build_entry(0, org_code=4), build_entry(1, org_code=2, webhook_url="/b"), build_entry(2, org_code=1)]
    plan = plan_sync(map_by_identity(same, other, gone), wanted, CATALOGUE, NOW)
    assert plan == SyncPlan(
        created=(build_subscription(org_code=4),),
        updated=((other, build_subscription(org_code=2, webhook_url="/b")),),
        deleted=(gone,),
        unchanged=1,
    )
    assert plan.is_change


@pytest.mark.parametrize("change", [{"webhook_url": "/b"}, {"start": START + timedelta(seconds=1)}, {"end": None}])
def test_changed_path_or_time_is_an_update(change: dict[str, Any]) -> None:
    plan = plan_sync(map_by_identity(build_subscription()), [build_entry(**change)], CATALOGUE, NOW)
    assert plan == SyncPlan(updated=((build_subscription(), build_subscription(**change)),))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"start": END, "end": START + timedelta(days=100)}, [(0, "slutDato", 1003)]),
        ({"start": END, "end": END}, []),
        ({"end": None}, []),
        # Today in Copenhagen begins at 23:00 UTC of the day before.
        ({"end": datetime(2026, 2, 28, 22, 59, 59, 999999, UTC)}, [(0, "slutDato", 150000)]),
        ({"end": datetime(2026, 2, 28, 23, tzinfo=UTC)}, []),
        ({"start": END, "end": START}, [(0, "slutDato", 1003), (0, "slutDato", 150000)]),
        ({"entity_type": 999}, [(0, "entityType", 150002)]),
        ({"entity_type": 203}, []),
        ({"entity_type": 204}, [(0, "entityType", 150002)]),
        ({"entity_type": 205}, []),
        ({"org_type": 2}, [(0, "orgType", 150101)]),
        ({"org_type": 2, "entity_type": 204}, [(0, "entityType", 150002), (0, "orgType", 150101)]),
        # Rules skip values that could not be parsed, and check all others.
        ({"start": None, "end": START}, [(0, "slutDato", 150000)]),
        ({"webhook_url": None, "org_type": 2}, [(0, "orgType", 150101)]),
        ({"org_code": None, "entity_type": 999}, [(0, "entityType", 150002)]),
        ({"org_type": None}, []),
        ({"entity_type": None, "org_type": 2}, []),
    ],
)
def test_each_rule_applies_to_a_new_entry(change: dict[str, Any], expected: list[Any]) -> None:
    assert list_error_places(plan_sync({}, [build_entry(**change)], CATALOGUE, NOW)) == expected


def test_date_of_150000_is_that_of_copenhagen() -> None:
    end = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert not plan_sync({}, [build_entry(end=end)], CATALOGUE, NOW).errors
    assert list_error_places(plan_sync({}, [build_entry(end=end)], CATALOGUE, NOW + timedelta(minutes=1))) == [
        (0, "slutDato", 150000)
    ]


def test_unchanged_entry_stays_valid_whatever_time_and_catalogue_do() -> None:
    much_later = END + timedelta(days=10_000)
    assert plan_sync(map_by_identity(build_subscription()), [build_entry()], EMPTY, much_later) == SyncPlan(unchanged=1)


def test_changed_entry_is_checked_by_every_rule() -> None:
    plan = plan_sync(
        map_by_identity(build_subscription()), [build_entry(webhook_url="/b")], EMPTY, END + timedelta(days=2)
    )
    assert list_error_places(plan) == [(0, "entityType", 150002), (0, "slutDato", 150000)]


def test_entry_that_violates_its_contract_is_never_unchanged() -> None:
    plan = plan_sync(map_by_identity(build_subscription()), [build_entry(is_clean=False)], EMPTY, NOW)
    assert list_error_places(plan) == [(0, "entityType", 150002)]


def test_duplicate_identity_is_reported_on_each_entry_after_the_first() -> None:
    wanted = [build_entry(0), build_entry(1, webhook_url="/b"), build_entry(2, org_code=5), build_entry(3)]
    expected = [(1, "entityType", 150103), (3, "entityType", 150103)]
    assert list_error_places(plan_sync({}, wanted, CATALOGUE, NOW)) == expected
    assert list_error_places(plan_sync(map_by_identity(build_subscription()), wanted, CATALOGUE, NOW)) == expected


def test_all_errors_are_reported_together_by_index_field_and_code() -> None:
    wanted = [
        build_entry(0),
        build_entry(1, org_type=2, start=END, end=START),
        build_entry(2, entity_type=999, webhook_url=None, is_clean=False),
        build_entry(3, org_type=2, start=END, end=START),
    ]
    plan = plan_sync({}, wanted, CATALOGUE, NOW)
    of_both = [("orgType", 150101), ("slutDato", 1003), ("slutDato", 150000)]
    assert list_error_places(plan) == [
        *[(1, *error) for error in of_both],
        (2, "entityType", 150002),
        (3, "entityType", 150103),
        *[(3, *error) for error in of_both],
    ]
    assert not plan.is_change
    assert all(isinstance(error.code, ErrorCode) for error in plan.errors)


TIMES = st.one_of(st.none(), st.sampled_from([START, NOW, END, END + timedelta(days=400)]))
ENTRIES = st.lists(
    st.builds(
        Entry,
        index=st.just(0),
        org_type=st.sampled_from([1, 2]),
        org_code=st.integers(0, 3),
        entity_type=st.sampled_from([202, 203, 204, 999]),
        webhook_url=st.sampled_from(["/a", "/b"]),
        start=st.sampled_from([START, END]),
        end=TIMES,
    ),
    max_size=8,
)


def build_subscriptions(entries: list[Entry]) -> dict[Identity, Subscription]:
    found = {}
    for item in entries:
        assert item.identity is not None
        assert item.webhook_url is not None
        assert item.start is not None
        found[item.identity] = Subscription(item.identity, item.webhook_url, item.start, item.end)
    return found


def apply_plan(current: dict[Identity, Subscription], plan: SyncPlan) -> dict[Identity, Subscription]:
    remaining = {identity: item for identity, item in current.items() if item not in plan.deleted}
    return remaining | map_by_identity(*plan.created, *(new for _, new in plan.updated))


@given(ENTRIES, ENTRIES, st.sampled_from([CATALOGUE, EMPTY]), st.integers(0, 1000))
def test_applied_plan_produces_the_wanted_set_and_a_second_plan_is_empty(
    before: list[Entry], wanted: list[Entry], later: Offer, days: int
) -> None:
    current = build_subscriptions(before)
    plan = plan_sync(current, wanted, CATALOGUE, NOW)
    if plan.errors:
        assert not plan.is_change
        return
    made = apply_plan(current, plan)
    assert made == build_subscriptions(wanted)
    assert plan_sync(made, wanted, later, NOW + timedelta(days=days)) == SyncPlan(unchanged=len(wanted))


@given(ENTRIES, ENTRIES)
def test_unchanged_entries_have_no_errors_of_their_own(before: list[Entry], wanted: list[Entry]) -> None:
    current = build_subscriptions(before)
    numbered = [
        Entry(index, item.org_type, item.org_code, item.entity_type, item.webhook_url, item.start, item.end)
        for index, item in enumerate(wanted)
    ]
    for error in plan_sync(current, numbered, EMPTY, END + timedelta(days=900)).errors:
        assert error.index is not None
        item = numbered[error.index]
        assert item.identity is not None
        is_the_same = current.get(item.identity) == build_subscriptions([item])[item.identity]
        assert not is_the_same or error.code is ErrorCode.NAMED_TWICE
