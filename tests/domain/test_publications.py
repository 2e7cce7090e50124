"""Match messages in doubt with the messages of their case."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.publications import (
    CallTimes,
    CaseMessage,
    Publication,
    fingerprint_sent,
    fingerprint_shown,
    settle,
)

STOCKHOLM = ZoneInfo("Europe/Stockholm")
SENT = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def sent(id_="a", text="Hej", files=(), sender=None, at=SENT, **changes):
    return Publication(id_, at, fingerprint_sent(text, files, sender), **changes)


def shown(id_=1, text="Hej", files=(), sender=None, minute="2026-03-01 12:00"):
    return CaseMessage(id_, fingerprint_shown(text, files, sender), datetime.fromisoformat(minute))


def found(publications, messages, taken=()):
    return settle(publications, messages, taken, STOCKHOLM).found


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"text": "a\nb"}, {"text": "a\r\nb"}),
        ({"text": "a\rb"}, {"text": "a\nb"}),
        ({"text": "a\r\nb"}, {"text": "a\rb"}),
        ({"text": "å €"}, {"text": "å ?"}),
        ({"text": "😀😁 hej"}, {"text": "?? hej"}),
        ({"text": "😀 hej?"}, {"text": "???? hej?"}),
        ({"files": [("a", 1), ("b", 2)]}, {"files": [("b", 2), ("a", 1)]}),
        ({"files": [("€.pdf", 1)]}, {"files": [("?.pdf", 1)]}),
        ({"sender": "Joe01Doe"}, {"sender": "joe01DOE"}),
        ({"sender": "joe01doe"}, {"sender": None}),
        ({"sender": None}, {"sender": "api"}),
        ({}, {"minute": "2026-03-01 13:00"}),
    ],
)
def test_settle_finds_the_copy_that_open_e_may_show(ours, theirs):
    assert found([sent(**ours)], [shown(**theirs)]) == {"a": 1}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"text": "Hej"}, {"text": "hej"}),
        ({"text": "Hej"}, {"text": "Hej "}),
        ({"text": "Hej???"}, {"text": "Hej?"}),
        ({"text": "€"}, {"text": "¤"}),
        ({"text": "😀"}, {"text": "😁"}),
        ({"files": [("a", 1)]}, {"files": [("a", 2)]}),
        ({"files": [("a", 1)]}, {"files": [("a", 1), ("a", 1)]}),
        ({"files": [("a", 1)]}, {"files": []}),
        ({"sender": "joe01doe"}, {"sender": "ann02doe"}),
        ({}, {"minute": "2026-03-01 12:01"}),
        ({}, {"minute": "2026-03-01 14:00"}),
    ],
)
def test_settle_accepts_no_other_message(ours, theirs):
    result = settle([sent(**ours)], [shown(**theirs)], (), STOCKHOLM)
    assert (result.found, result.absent) == ({}, ("a",))


def test_settle_gives_the_id_of_a_message_that_is_shown_twice_to_one_message():
    result = settle([sent("a"), sent("b")], [shown(1), shown(1)], (), STOCKHOLM)
    assert (result.found, result.absent, result.undecidable) == ({"a": 1}, ("b",), ())


def test_settle_skips_taken_ids():
    assert found([sent()], [shown(1), shown(2)], taken={1}) == {"a": 2}


def test_settle_assigns_equal_messages_one_to_one_oldest_first():
    later = SENT + timedelta(seconds=5)
    publications = [sent("c", at=later), sent("b"), sent("a")]
    result = settle(publications, [shown(9), shown(7)], (), STOCKHOLM)
    assert result.found == {"a": 7, "b": 9}
    assert result.absent == ("c",)
    assert result.undecidable == ()


def test_settle_prefers_exact_copies():
    publications = [sent("a", sender="joe01doe"), sent("b", at=SENT + timedelta(seconds=1))]
    assert found(publications, [shown(1)]) == {"b": 1}
    assert found(publications, [shown(1), shown(2, sender="joe01doe")]) == {"a": 2, "b": 1}
    assert found(publications, [shown(1), shown(2)]) == {"b": 1, "a": 2}


def test_settle_reports_found_messages_with_more_copies_than_were_sent():
    result = settle([sent()], [shown(1), shown(2)], (), STOCKHOLM)
    assert result.found == {"a": 1}
    assert result.undecidable == ("a",)


def test_settle_waits_for_the_outcome_of_an_equal_call():
    in_flight = sent("b", at=SENT + timedelta(seconds=1), is_in_flight=True)
    result = settle([sent("a"), in_flight], [shown(1)], (), STOCKHOLM)
    assert (result.found, result.absent, result.waiting) == ({}, (), ("a",))


@pytest.mark.parametrize(
    "other", [{"text": "other"}, {"at": SENT + timedelta(minutes=1)}, {"at": SENT + timedelta(hours=2)}]
)
def test_settle_does_not_wait_for_other_calls(other):
    assert found([sent("a"), sent(**({"id_": "b", "is_in_flight": True} | other))], [shown(1)]) == {"a": 1}


def test_settle_reports_an_absent_message_while_an_equal_call_runs():
    in_flight = sent("b", is_in_flight=True)
    assert settle([sent("a"), in_flight], [], (), STOCKHOLM).absent == ("a",)


@pytest.mark.parametrize(
    ("moment", "minutes"),
    [
        # Spring: 02:00 becomes 03:00 at 01:00 UTC. Autumn: 03:00 becomes 02:00 at 01:00 UTC.
        ("2026-03-29T00:59:59+00:00", ["2026-03-29 00:59", "2026-03-29 01:59"]),
        ("2026-03-29T01:00:00+00:00", ["2026-03-29 01:00", "2026-03-29 03:00"]),
        ("2026-10-25T00:30:00+00:00", ["2026-10-25 00:30", "2026-10-25 02:30"]),
        ("2026-10-25T01:30:00+00:00", ["2026-10-25 01:30", "2026-10-25 02:30"]),
        ("2026-12-31T23:30:00+00:00", ["2026-12-31 23:30", "2027-01-01 00:30"]),
    ],
)
def test_settle_knows_the_minute_in_both_time_zones_around_changes(moment, minutes):
    publication = sent(at=datetime.fromisoformat(moment))
    for minute in minutes:
        assert found([publication], [shown(minute=minute)]) == {"a": 1}
    assert found([publication], [shown(minute="2026-03-29 02:00"), shown(minute="2026-10-25 03:30")]) == {}


def test_settle_assigns_messages_an_hour_apart_whichever_time_zone_is_shown():
    publications = [sent("a"), sent("b", at=SENT + timedelta(hours=1))]
    assert found(publications, [shown(1), shown(2, minute="2026-03-01 13:00")]) == {"a": 1, "b": 2}
    local = [shown(2, minute="2026-03-01 13:00"), shown(1, minute="2026-03-01 14:00")]
    assert found(publications, local) == {"a": 2, "b": 1}


TEXTS = st.sampled_from(["Hej", "Hej då", "€"])
SENDERS = st.sampled_from([None, "joe01doe"])


@given(st.lists(st.tuples(TEXTS, SENDERS, st.integers(0, 90), st.booleans()), max_size=8), st.randoms())
def test_settle_finds_every_message_that_arrived_and_no_id_twice(messages, random):
    publications = [
        sent(str(number), text, sender=sender, at=SENT + timedelta(seconds=seconds))
        for number, (text, sender, seconds, _) in enumerate(messages)
    ]
    arrived = [
        shown(number, text, sender=sender, minute=f"{SENT + timedelta(seconds=seconds):%Y-%m-%d %H:%M}")
        for number, (text, sender, seconds, has_arrived) in enumerate(messages)
        if has_arrived
    ]
    random.shuffle(arrived)
    result = settle(publications, arrived, (), STOCKHOLM)
    assert sorted(result.found.values()) == sorted(each.id for each in arrived)
    assert len(result.absent) == len(publications) - len(arrived)
    assert result.undecidable == ()


def test_call_times_include_the_start_and_the_margin():
    times = CallTimes(timedelta(seconds=35), timedelta(seconds=20))
    assert times.longest_call == timedelta(seconds=45)
    assert times.until_absent == timedelta(seconds=65)
