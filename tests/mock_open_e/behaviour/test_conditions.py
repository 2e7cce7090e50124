"""Conditions of an instance: its clock, its time zone, late messages, ids and messages of other senders."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import requests

from mock_open_e import Conditions, MockOpenE, Scenario, mock_open_e
from tests.mock_open_e.soap import FILE, UTF8, add_message, build_request, build_request_with_file, send

CALLBACK = "http://open-e.test/external/api/callback"
READING = "http://open-e.test/external/api/messageapi/getmessages/flowinstance/1068"
STATUS = build_request(
    '<setStatus xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback">'
    "<flowInstanceID>1068</flowInstanceID><statusID>5</statusID></setStatus>"
)


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = datetime(2026, 2, 19, 8, 0, 30, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def read(mock, query="", instance="external"):
    response = mock.read_back(instance, {}, "getmessages/flowinstance/1068", query=query)
    assert response.status == 200
    return response.body.decode("latin-1")


def added(text):
    """Return the times of messages, without those of their files."""
    return re.findall("<added>([^<]*)</added><flowInstanceID>", text)


def numbers(text):
    return [int(number) for number in re.findall("<messageID>([0-9]+)<", text)]


ATTACHMENT = f"<attachments>{FILE}</attachments>"


def message_added(value):
    return add_message(message=f"<added>{value}</added><message>Hej</message>")


def test_clock_difference_shows_in_times_that_the_server_sets(clock):
    mock = MockOpenE(conditions=Conditions(clock_seconds=-90), clock=clock)
    send(mock, build_request_with_file(FILE))
    send(mock, STATUS)
    mock.plant(1068, "Fråga")
    text = read(mock)
    assert "<size>3</size><added>2026-02-19 07:59</added>" in text
    sent = mock.messages[0]["added"]
    assert added(text)[0] == f"{sent[:10]} {sent[11:16]}", "the sender's time is kept as sent"
    assert added(text)[1] == "2026-02-19 07:59"
    assert [event.date for event in mock.list_events()] == [sent, "2026-02-19T07:59:00+00:00"]


@pytest.mark.parametrize(
    ("sent", "in_stockholm", "as_sent"),
    [
        ("2026-02-19T07:57:06.123Z", "2026-02-19 08:57", "2026-02-19 07:57"),
        ("2026-02-19T23:30:00+00:00", "2026-02-20 00:30", "2026-02-19 23:30"),
        ("2026-07-01T12:00:00-05:00", "2026-07-01 19:00", "2026-07-01 12:00"),
        ("2026-02-19T07:57:06", "2026-02-19 07:57", "2026-02-19 07:57"),
        ("2026-02-19", "2026-02-19 00:00", "2026-02-19 00:00"),
        ("2026-02-19T24:00:00Z", "2026-02-19 24:00", "2026-02-19 24:00"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01 00:00", "0001-01-01 00:00"),
    ],
)
def test_time_zone_decides_how_the_messageapi_shows_times(sent, in_stockholm, as_sent):
    mock = MockOpenE()
    send(mock, message_added(sent))
    assert added(read(mock)) == [as_sent]
    mock.set_conditions(Conditions(time_zone="Europe/Stockholm"), instance="external")
    assert added(read(mock)) == [in_stockholm]
    mock.set_conditions(Conditions(), instance="external")
    assert added(read(mock)) == [as_sent]


def test_time_zone_decides_how_the_messageapi_compares_times(clock):
    mock = MockOpenE(conditions=Conditions(time_zone="Europe/Stockholm"), clock=clock)
    send(mock, add_message(message=f"<added>2026-02-19T07:57:06Z</added><message>Hej</message>{ATTACHMENT}"))
    assert numbers(read(mock, "fromDate=2026-02-19 08:57&toDate=2026-02-19 08:57")) == [1]
    assert numbers(read(mock, "toDate=2026-02-19 08:56")) == []
    assert "<size>3</size><added>2026-02-19 09:00</added>" in read(mock)
    send(mock, STATUS)
    assert mock.list_events()[-1].date == "2026-02-19T09:00:30+01:00"


def test_stale_messageapi_returns_a_message_later_than_it_was_stored(clock):
    mock = MockOpenE(conditions=Conditions(stale_seconds=5), clock=clock)
    send(mock, add_message())
    assert len(mock.messages) == 1
    assert numbers(read(mock)) == []
    assert b"<Messages />" in mock.read_back("external", {}, "getmessage/1").body
    clock.now += timedelta(seconds=4.9)
    assert numbers(read(mock)) == []
    clock.now += timedelta(seconds=0.1)
    assert numbers(read(mock)) == [1]


def test_stale_messageapi_depends_on_the_real_clock_only(clock):
    mock = MockOpenE(conditions=Conditions(stale_seconds=5, clock_seconds=3600), clock=clock)
    send(mock, add_message())
    mock.set_conditions(Conditions(stale_seconds=5, clock_seconds=-3600))
    clock.now += timedelta(seconds=5)
    assert numbers(read(mock)) == [1]


def test_other_senders_take_ids_of_the_whole_instance():
    mock = MockOpenE(conditions=Conditions(taken_ids=3))
    send(mock, add_message())
    send(mock, add_message("<flowInstanceID>7</flowInstanceID>"))
    send(mock, add_message(), instance="internal")
    mock.set_conditions(Conditions(), instance="external")
    send(mock, add_message())
    assert [message["messageID"] for message in mock.messages] == [4, 8, 1_000_004, 9]


def test_planted_message_of_staff_equals_one_of_a_caller_in_the_same_minute():
    mock = MockOpenE()
    send(mock, message_added("2026-02-19T07:57:06Z"))
    mine = mock.messages[0]
    other = mock.plant(1068, mine["message"], kind="manager", user_id="ann02lee", added=mine["added"])
    text = read(mock)
    assert numbers(text) == [1, other.message_id] == [1, 2]
    assert len(set(added(text))) == 1
    assert text.count("<postedByManager>true</postedByManager>") == 2
    assert text.count(f"<message>{mine['message']}</message>") == 2
    assert "<username>ann02lee</username>" in text.partition("<messageID>2<")[2]
    assert [message["messageID"] for message in mock.messages] == [1], "it is not a message of a caller"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"clock_seconds": 90_000}, "clock_seconds must be a number from -86400 to 86400, not 90000"),
        ({"clock_seconds": float("nan")}, "clock_seconds must be a number"),
        ({"time_zone": "Europe/Stokholm"}, "time_zone must be an IANA time zone .* not 'Europe/Stokholm'"),
        ({"time_zone": "../etc/passwd"}, "time_zone must be an IANA time zone"),
        ({"time_zone": ""}, "time_zone must be an IANA time zone"),
        ({"stale_seconds": -1}, "stale_seconds must be a number from 0 to 86400, not -1"),
        ({"taken_ids": 1.5, "stale_seconds": "1"}, "stale_seconds must be .*; taken_ids must be an integer from 0"),
    ],
)
def test_invalid_conditions_are_refused_with_every_reason(wrong, words):
    with pytest.raises(ValueError, match=f"^invalid conditions: {words}"):
        Conditions(**wrong)


def test_conditions_of_a_scenario_are_those_of_each_instance_and_reset_restores_them():
    scenario = Scenario(external=Conditions(taken_ids=1), internal=Conditions(clock_seconds=5))
    mock = MockOpenE(scenario=scenario)
    mock.set_conditions(Conditions(stale_seconds=1))
    assert mock.conditions("external") == mock.conditions("internal") == Conditions(stale_seconds=1)
    mock.reset()
    assert (mock.conditions("external"), mock.conditions("internal")) == (scenario.external, scenario.internal)


@pytest.mark.open_e_mock(conditions=Conditions(stale_seconds=60))
def test_fixture_accepts_conditions(open_e_mock):
    requests.post(CALLBACK, add_message(), headers={"Content-Type": UTF8}, timeout=5)
    assert numbers(requests.get(READING, timeout=5).text) == []
    open_e_mock.set_conditions(Conditions())
    assert numbers(requests.get(READING, timeout=5).text) == [1]


def test_wrong_type_of_conditions_is_refused():
    with (
        pytest.raises(TypeError, match=r"conditions must be a mock_open_e\.Conditions, not 5"),
        mock_open_e(conditions=5),
    ):
        pass
