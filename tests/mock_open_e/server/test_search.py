"""The search of the control API: cases, messages and calls by text, case, instance and time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from mock_open_e import MockOpenE
from mock_open_e.behaviour.scenario import Scenario, User
from tests.mock_open_e.posting import post
from tests.mock_servers import running_mock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE = "<attachments><encodedData>aGVq</encodedData><filename>Beslut.pdf</filename><size>3</size></attachments>"


class Clock:
    """A clock that advances by an hour with each reading."""

    def __init__(self) -> None:
        self._hours = -1

    def __call__(self) -> datetime:
        self._hours += 1
        return START + timedelta(hours=self._hours)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the address of a mock with messages that were stored from 12:00 on, and with calls."""
    scenario = Scenario(users=(User("joe01doe", "Joe", "Doe"),))
    mock = MockOpenE(cases={7, 1068}, scenario=scenario, clock=Clock())
    with running_mock(mock) as url:
        mock.plant(7, "When do I hear from you?", files=[("Ritning.PDF", b"a")])
        mock.plant(7, "An internal note", kind="internal", instance="internal", user_id="ann02lee")
        assert post(url, "Your STRASSE is decided", files=FILE).status_code == 200
        assert post(url, "Hello", case=8).status_code == 500
        assert post(url, "Hello again", instance="internal").status_code == 200
        yield url


def get(url: str, path: str, status: int = 200, **query: Any) -> Any:
    response = requests.get(f"{url}/control/{path}", params=query, timeout=5)
    assert response.status_code == status, response.text
    return response.json()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [("external", 7, 1), ("external", 1068, 1), ("internal", 7, 1), ("internal", 1068, 1)]),
        ({"instance": "internal"}, [("internal", 7, 1), ("internal", 1068, 1)]),
        ({"case": 7}, [("external", 7, 1), ("internal", 7, 1)]),
        ({"search": "WHEN do"}, [("external", 7, 1)]),
        ({"search": "straße"}, [("external", 1068, 1)]),
        ({"search": "joe doe"}, [("external", 1068, 1), ("internal", 1068, 1)]),
        ({"search": "ann02lee"}, [("internal", 7, 1)]),
        ({"search": ".pdf"}, [("external", 7, 1), ("external", 1068, 1)]),
        ({"search": "hello", "case": 7}, []),
        ({"fromTime": "2026-03-01T14:00:00+01:00", "toTime": "2026-03-01T13:00:00Z"}, [("internal", 7, 1)]),
        ({"toTime": "2026-03-01T11:59:59Z"}, []),
    ],
)
def test_cases_are_found_by_their_messages(url, query, found):
    cases = get(url, "cases", **query)
    assert [(case["instance"], case["flowInstanceID"], case["matching"]) for case in cases] == found


def test_case_has_only_matching_messages_and_the_number_of_all(url):
    whole = get(url, "cases/external/7", search="hear")
    assert [message["message"] for message in whole["messages"]] == ["When do I hear from you?"]
    assert whole["messages"][0]["stored"] == whole["case"]["newest"] == "2026-03-01T12:00:00+00:00"
    nothing = get(url, "cases/external/7", search="decided")
    assert (nothing["messages"], nothing["case"]["messages"], nothing["case"]["matching"]) == ([], 1, 0)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"case": 1068}, [1, 3]),
        ({"instance": "external"}, [1, 2]),
        ({"search": "your strasse"}, [1]),
        ({"search": "ADDMESSAGE"}, [1, 2, 3]),
        ({"search": "not known here"}, [2]),
        ({"search": "was not found"}, [2]),
        ({"search": "/internal/api"}, [3]),
        ({"search": "hello", "refused": "true"}, [2]),
        ({"before": 3}, [1, 2]),
        ({"before": 3, "limit": 1}, [2]),
        ({"after": 1, "before": 3}, [2]),
        ({"toTime": "2026-03-01T15:00:00Z"}, [1]),
        ({"fromTime": "2026-03-01T23:00:00Z"}, []),
    ],
)
def test_calls_are_found(url, query, numbers):
    assert [call["number"] for call in get(url, "journal", **query)] == numbers


def test_search_refuses_invalid_values_with_every_reason(url):
    for path in ("cases", "cases/external/7", "journal"):
        rule = "must be a time with its offset, such as 2026-02-19T07:57:06+01:00 (in a query, a plus is %2B)"
        assert get(url, path, 400, search="", fromTime="2026-02-19", toTime="2026-02-19T12:00:00")["errors"] == [
            f"fromTime {rule}",
            "search size must be at least 1",
            f"toTime {rule}",
        ]


@pytest.mark.parametrize(
    ("time", "status"),
    [
        *(("2026-02-28T23:59:59.123456789Z", 200), ("2000-02-29T00:00:00.5-13:59", 200), ("2096-02-29T00:00:00Z", 200)),
        *(("2026-04-30T00:00:00Z", 200), ("2026-12-31T23:00:00+13:00", 200), ("2026-02-29T00:00:00Z", 400)),
        *(("2026-04-31T00:00:00Z", 400), ("2026-02-30T00:00:00Z", 400), ("2026-01-01T24:00:00Z", 400)),
    ],
)
def test_times_are_days_that_exist(url, time, status):
    get(url, "journal", status, fromTime=time, toTime=time)
